"""A small electorate whose signatures are hashes, and the messages its members may send."""

import hashlib

from govraft.core.codec.note import (
    Checkpoint,
    Note,
    NoteSignature,
    cosignature_key_id,
    cosigned_message,
    format_note,
)
from govraft.core.convergence.certificate import VerifiedLease, key_name, verify_lease
from govraft.core.convergence.messages import Ack, Kind, Lease, Probe, Signed, probe_digest, sign
from govraft.core.convergence.timing import LeaseTiming
from govraft.core.model.electorate import Electorate, Member, QuorumRule
from govraft.core.model.units import WallMs

TIME_S = 1_700_000_000


def fake_sign(key: bytes, message: bytes) -> bytes:
    return hashlib.sha512(key + message).digest()


class World:
    origin = "govraft.dev/" + "0" * 64
    cluster = bytes(32)
    wall = WallMs(TIME_S * 1000)
    timing = LeaseTiming(lease_ms=1000, drift_ppm=10_000, skew_ms=500)
    sections = {"policies": bytes(32), "entities": bytes(31) + b"\1"}

    def __init__(self, voters: str = "abc", observers: str = "", rule: QuorumRule = QuorumRule.MAJORITY) -> None:
        members = [
            Member(name, hashlib.sha256(name.encode()).digest(), b"", name in voters, "") for name in voters + observers
        ]
        self.electorate = Electorate(1, rule, tuple(members))

    def key(self, node: str) -> bytes:
        member = self.electorate.find(node)
        return hashlib.sha256(node.encode()).digest() if member is None else member.public_key

    @staticmethod
    def is_valid(key: bytes, signature: bytes, message: bytes) -> bool:
        return signature == fake_sign(key, message)

    def signing(self, node: str):
        return lambda message: fake_sign(self.key(node), message)

    def sign(self, kind: Kind, body: bytes, node: str) -> Signed:
        return sign(kind, body, signer=node, cluster=self.cluster, signing=self.signing(node))

    @staticmethod
    def root(seq: int) -> bytes:
        return hashlib.sha256(b"root %d" % seq).digest()

    @staticmethod
    def nonce(number: int) -> bytes:
        return number.to_bytes(16, "big")

    def checkpoint(self, seq: int) -> Checkpoint:
        return Checkpoint(self.origin, seq, self.root(seq))

    def probe(self, seq: int = 1, *, leader: str = "a", signer: str | None = None, **changes) -> Signed:
        fields = {
            "epoch": 1,
            "term": 1,
            "round": 1,
            "leader": leader,
            "checkpoint": self.checkpoint(seq),
            "sections": self.sections,
            "grants": {},
            "wall": self.wall,
        }
        return self.sign(Kind.PROBE, Probe(**(fields | changes)).encode(), signer or leader)

    def cosignature(self, node: str, checkpoint: Checkpoint, time_s: int = TIME_S) -> bytes:
        return fake_sign(self.key(node), cosigned_message(checkpoint.encode(), time_s))

    def ack(self, node: str, probe: Signed, *, signer: str | None = None, **changes) -> Signed:
        content = Probe.decode(probe.body)
        fields = {
            "probe": probe_digest(probe),
            "round": content.round,
            "seq": content.checkpoint.seq,
            "root": content.checkpoint.root,
            "node": node,
            "nonce": self.nonce(99),
            "outstanding": (),
            "time_s": TIME_S,
        } | changes
        # Whoever says anything cosigns what it says.
        said = Checkpoint(self.origin, fields["seq"], fields["root"])
        fields.setdefault("cosignature", self.cosignature(node, said, fields["time_s"]))
        return self.sign(Kind.ACK, Ack(**fields).encode(), signer or node)

    def line(self, node: str, checkpoint: Checkpoint, time_s: int = TIME_S) -> NoteSignature:
        name = key_name(self.origin, node)
        key_id = cosignature_key_id(name, self.key(node))
        return NoteSignature(name, key_id, time_s, self.cosignature(node, checkpoint, time_s))

    def note(self, seq: int, nodes: str) -> bytes:
        checkpoint = self.checkpoint(seq)
        return format_note(Note(checkpoint.encode(), tuple(self.line(node, checkpoint) for node in nodes)))

    def lease(self, probe: Signed, acks: list[Signed], *, note: bytes | None = None, signer: str = "a") -> Signed:
        seq = Probe.decode(probe.body).checkpoint.seq
        body = Lease(probe, tuple(acks), self.note(seq, "ab") if note is None else note).encode()
        return self.sign(Kind.LEASE, body, signer)

    def verify(self, lease: Signed) -> VerifiedLease:
        return verify_lease(lease, self.electorate, self.origin, self.cluster, self.timing, is_valid=self.is_valid)
