"""Two electorates, one after the other. `b'` is the id `b` under another key."""

import hashlib

from unit.convergence.convergence_world import TIME_S, World

from govraft.core.codec.note import Checkpoint, NoteSignature, cosignature_key_id
from govraft.core.convergence.certificate import key_name, verify_certificate, verify_lease
from govraft.core.convergence.messages import Kind, Lease, Probe, Signed, sign
from govraft.core.model.electorate import Electorate, Member, QuorumRule


def identifier(name: str) -> str:
    return name.rstrip("'")


class Joint(World):
    """The members of `old` and of `new`, as space-separated names; those after `/` are observers."""

    def __init__(self, old: str, new: str, rule: QuorumRule = QuorumRule.MAJORITY) -> None:
        super().__init__()
        self.old, self.new = (self.make(epoch, text, rule) for epoch, text in enumerate((old, new), 1))
        self.both = (self.old, self.new)

    def make(self, epoch: int, text: str, rule: QuorumRule) -> Electorate:
        voters, _, observers = text.partition("/")
        named = [(name, True) for name in voters.split()] + [(name, False) for name in observers.split()]
        return Electorate(epoch, rule, tuple(Member(identifier(n), self.key(n), b"", v, "") for n, v in named))

    def key(self, node: str) -> bytes:
        return hashlib.sha256(node.encode()).digest()

    def sign(self, kind: Kind, body: bytes, node: str) -> Signed:
        return sign(kind, body, signer=identifier(node), cluster=self.cluster, signing=self.signing(node))

    def probe(self, seq: int = 5, *, leader: str = "a", **changes) -> Signed:
        fields = {"epoch": 2, "leader": identifier(leader), "signer": leader} | changes
        return super().probe(seq, **fields)

    def ack(self, node: str, probe: Signed, **changes) -> Signed:
        content = Probe.decode(probe.body).checkpoint
        said = Checkpoint(self.origin, changes.get("seq", content.seq), changes.get("root", content.root))
        given = {"cosignature": self.cosignature(node, said, changes.get("time_s", TIME_S)), "signer": node}
        return super().ack(identifier(node), probe, **(given | changes))

    def line(self, node: str, checkpoint, time_s: int = TIME_S) -> NoteSignature:
        name = key_name(self.origin, identifier(node))
        key_id = cosignature_key_id(name, self.key(node))
        return NoteSignature(name, key_id, time_s, self.cosignature(node, checkpoint, time_s))

    def note_of(self, names: str, seq: int = 5) -> bytes:
        return self.note(seq, names.split())

    def lease_of(
        self, names: str, *, note: str | None = None, signer: str = "a", others: str = "", **outstanding
    ) -> Signed:
        """A lease of the acks of `names`; `b=("c",)` gives that one an outstanding holder, `others` ack another probe."""
        probe, other = self.probe(leader=signer), self.probe(leader=signer, round=2)
        acks = [self.ack(name, probe, outstanding=outstanding.get(name, ())) for name in names.split()]
        acks += [self.ack(name, other) for name in others.split()]
        lease = Lease(probe, tuple(acks), self.note_of(note if note is not None else names))
        return self.sign(Kind.LEASE, lease.encode(), signer)

    def certify(self, text: bytes, electorates=None):
        return verify_certificate(text, electorates or self.both, self.origin, is_valid=self.is_valid)

    def judge(self, lease: Signed, electorates=None):
        return verify_lease(
            lease, electorates or self.both, self.origin, self.cluster, self.timing, is_valid=self.is_valid
        )
