"""Evidence of a sample cluster, with the keys to forge it: the same bytes on every machine and in every run.

For tests of verifiers, and for the vectors that a second implementation is held against. The keys are known to
everybody: nothing here proves anything about a real cluster.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from govraft.core.codec.base64_text import to_base64
from govraft.core.codec.envelope import pae, seal
from govraft.core.codec.note import Checkpoint, Note, NoteSignature, cosignature_key_id, cosigned_message, format_note
from govraft.core.convergence.certificate import key_name
from govraft.core.convergence.messages import Ack, Kind, Lease, Probe, Signed, probe_digest, sign
from govraft.core.evidence.chain import encode_chain
from govraft.core.evidence.denial import encode_denial_file
from govraft.core.evidence.epochs import EpochLink
from govraft.core.evidence.equivocation import encode_equivocation_file
from govraft.core.evidence.lineage_export import encode_end, encode_epoch, encode_header, encode_record
from govraft.core.evidence.lineage_proof import EarlierLineage, encode_proof_file
from govraft.core.evidence.permit_file import encode_permit_file
from govraft.core.evidence.receipt import encode_receipt_file
from govraft.core.evidence.sealed import seal_statement
from govraft.core.evidence.statements import (
    DENIAL_TYPE,
    PERMIT_TYPE,
    DenialStatement,
    PermitStatement,
    Statement,
    context_digest,
    request_digest,
)
from govraft.core.evidence.trust import Trust
from govraft.core.evidence.trust_state import bare_electorate
from govraft.core.lineage.leaf import Leaf
from govraft.core.machine.entry import encode_entry
from govraft.core.machine.machine import AppliedEntry, Machine
from govraft.core.machine.snapshot import Snapshot
from govraft.core.model.commands import (
    Command,
    MemberAdd,
    MemberFields,
    MemberPromote,
    MemberRemove,
    Quarantine,
    TargetKind,
    encode_command,
    payload_type,
)
from govraft.core.model.outcome import Applied
from govraft.core.model.reasons import Reason
from govraft.core.model.request import Request
from govraft.core.model.units import WallMs
from govraft.errors import require
from govraft.testing.sample import CREATED, SampleCluster, node_certificate, seeded_key

__all__ = ["FOUNDERS", "SAMPLE_REQUEST", "EvidenceSample"]

FOUNDERS = ("n1", "n2", "n3")
"""The voters of a sample's first epoch."""

SAMPLE_REQUEST = Request('Agent::"ci-bot"', 'Action::"deploy"', 'Service::"payments"', {"env": "prod", "replicas": 3})


class EvidenceSample:
    """A short history of a sample cluster, and evidence of every kind about it.

    By default seq 2 to 5 quarantine four subjects, and seq 6 is rejected. All wall times count from `CREATED`.
    """

    def __init__(self, sample: SampleCluster | None = None, *, quarantined: Sequence[int] = (1, 2, 3, 4, 4)) -> None:
        self.sample = sample or SampleCluster()
        self.machine = Machine(self.sample.genesis)
        self.leaves: list[bytes] = [self.machine.genesis_leaf]
        self.entries: list[bytes | None] = [None]
        self.envelopes: list[bytes] = [b""]
        self.links: list[EpochLink] = []
        self.change_leases: dict[int, bytes] = {}
        """By seq: the joint lease of each change of the electorate."""
        for number in quarantined:
            self.quarantine(number)

    # History.

    def quarantine(self, number: int) -> AppliedEntry:
        """Apply a command that quarantines a subject of that number."""
        target = f'Agent::"{number}"'
        command = Quarantine(**self.sample.header(), kind=TargetKind.SUBJECT, id=target, reason="x")
        return self.apply(command, "olga")

    def apply(self, command: Command, *authors: str) -> AppliedEntry:
        """Apply a command that these authorities have signed, a second after the entry before it."""
        return self.apply_envelope(self.sample.sign(command, *authors))

    def apply_envelope(self, envelope: bytes, *, time: int | None = None) -> AppliedEntry:
        """Apply an envelope, stamped `time`; by default a second after the entry before it."""
        stamp = CREATED + 1_000 * len(self.leaves) if time is None else time
        entry = encode_entry(WallMs(stamp), envelope)
        applied = self.machine.apply(entry)
        self.leaves.append(applied.leaf)
        self.entries.append(entry)
        self.envelopes.append(envelope)
        return applied

    # Changes of the electorate.

    def add_observer(self, node: str, *, nodes: Sequence[str] = FOUNDERS) -> None:
        """Add a node, whose key belongs to its name; certified by `nodes`."""
        key = self.sample.node_keys[node] = seeded_key(f"node {node}")
        fields = MemberFields(
            id=node,
            public_key=to_base64(key.public_key().public_bytes_raw()),
            certificate=to_base64(node_certificate(node, key)),
            address=f"127.0.0.1:{7000 + int(node[1:])}",
        )
        self._change(MemberAdd(**self.sample.header(), member=fields), nodes, also=node)

    def promote(self, node: str, *, nodes: Sequence[str] = FOUNDERS) -> None:
        """Make an observer a voter; certified by `nodes`."""
        self._change(MemberPromote(**self.sample.header(), id=node), nodes)

    def remove(self, node: str, *, nodes: Sequence[str] = FOUNDERS) -> None:
        """Remove a node; certified by `nodes`."""
        self._change(MemberRemove(**self.sample.header(), id=node, reason="x"), nodes)

    def _change(self, command: Command, nodes: Sequence[str], also: str | None = None) -> None:
        kind, payload = payload_type(command), encode_command(command)
        keys = [self.sample.authority_keys["rita"], self.sample.authority_keys["ruth"]]
        keys += [] if also is None else [self.sample.node_keys[also]]
        message = pae(kind, payload)
        applied = self.apply_envelope(
            seal(kind, payload, [(key.public_key().public_bytes_raw(), key.sign(message)) for key in keys])
        )
        require(applied.outcome == Applied(), f"the sample's change of members was refused: {applied.outcome.code}")
        seq = self.machine.seq
        self.change_leases[seq] = self.lease(seq, nodes=nodes)
        self.links.append(
            EpochLink(
                self.machine.epoch,
                applied.leaf,
                dict(self.machine.records("electorate")),
                self.certificate(seq, nodes=nodes),
                tuple(self.machine.lineage.inclusion_proof(seq - 1, seq)),
            )
        )

    # What nodes sign.

    def sign(self, node: str, message: bytes) -> bytes:
        """A node's signature."""
        return self.sample.node_keys[node].sign(message)

    def public_key(self, node: str) -> bytes:
        """A node's public key."""
        return self.sample.node_keys[node].public_key().public_bytes_raw()

    def checkpoint(self, seq: int | None = None, root: bytes | None = None) -> Checkpoint:
        """The checkpoint of a seq; by default of the newest."""
        seq = self.machine.seq if seq is None else seq
        return Checkpoint(self.sample.genesis.origin, seq, root or self.machine.lineage.root(seq))

    def certificate(
        self, seq: int | None = None, *, nodes: Sequence[str] = ("n1", "n2"), root: bytes | None = None
    ) -> bytes:
        """A certificate that these nodes have cosigned."""
        body = self.checkpoint(seq, root).encode()
        return format_note(Note(body, tuple(self.cosignature(node, body) for node in nodes)))

    def cosignature(self, node: str, body: bytes, time_s: int = CREATED // 1000 + 60) -> NoteSignature:
        """A node's line over a checkpoint."""
        name = key_name(self.sample.genesis.origin, node)
        key_id = cosignature_key_id(name, self.public_key(node))
        return NoteSignature(name, key_id, time_s, self.sign(node, cosigned_message(body, time_s)))

    def _message(self, kind: Kind, body: bytes, node: str) -> Signed:
        cluster = bytes.fromhex(self.sample.genesis.cluster_id)
        return sign(kind, body, signer=node, cluster=cluster, signing=lambda message: self.sign(node, message))

    def probe(self, seq: int, *, leader: str = "n1", root: bytes | None = None, **later: Any) -> Signed:
        """A leader's probe of a seq, that grants nothing; of format 2 if it has a `wall`."""
        leaf = self.machine.leaf(seq)
        sections = {} if leaf is None else dict(leaf.sections)
        epoch = self.machine.epoch if leaf is None else leaf.epoch
        probe = Probe(epoch, 1, 1, leader, self.checkpoint(seq, root), sections, later.pop("grants", {}), **later)
        return self._message(Kind.PROBE, probe.encode(), leader)

    def ack(
        self,
        node: str,
        probe: Signed,
        *,
        time_s: int = CREATED // 1000 + 60,
        outstanding: Sequence[str] = (),
        cosignature: bytes | None = None,
    ) -> Signed:
        """A node's ack of a probe."""
        content = Probe.decode(probe.body)
        checkpoint = content.checkpoint
        ack = Ack(
            probe=probe_digest(probe),
            round=content.round,
            seq=checkpoint.seq,
            root=checkpoint.root,
            node=node,
            nonce=hashlib.sha256(node.encode()).digest()[:16],
            outstanding=tuple(outstanding),
            time_s=time_s,
            cosignature=cosignature or self.cosignature(node, checkpoint.encode(), time_s).signature,
        )
        return self._message(Kind.ACK, ack.encode(), node)

    def lease(
        self,
        seq: int | None = None,
        *,
        nodes: Sequence[str] = ("n1", "n2"),
        times_s: Sequence[int] | None = None,
        outstanding: Sequence[str] = (),
        uncosigned: Sequence[str] = (),
        **later: Any,
    ) -> bytes:
        """A lease message of the first of these nodes on a seq, carried by their acks; `later` goes into the probe.

        The acks of `uncosigned` have zeros for a cosignature.
        """
        seq = self.machine.seq if seq is None else seq
        times = times_s or [CREATED // 1000 + 60] * len(nodes)
        probe = self.probe(seq, leader=nodes[0], **later)
        acks = [
            self.ack(
                node,
                probe,
                time_s=time_s,
                outstanding=outstanding,
                cosignature=bytes(64) if node in uncosigned else None,
            )
            for node, time_s in zip(nodes, times, strict=True)
        ]
        body = self.checkpoint(seq).encode()
        lines = [self.cosignature(node, body, time_s) for node, time_s in zip(nodes, times, strict=True)]
        lease = Lease(probe, tuple(acks), format_note(Note(body, tuple(lines))))
        return self._message(Kind.LEASE, lease.encode(), nodes[0]).encode()

    # Statements.

    def permit_statement(self, request: Request = SAMPLE_REQUEST, **changes: Any) -> PermitStatement:
        """A statement about the newest state, which holds from `CREATED` + 100 s for two minutes."""
        fields: dict[str, Any] = {
            "cluster": self.sample.genesis.cluster_id,
            "epoch": self.machine.epoch,
            "seq": self.machine.seq,
            "state_root": self.machine.state_root.hex(),
            "decision": "n1-0-1",
            "principal": request.principal,
            "action": request.action,
            "resource": request.resource,
            "context_digest": context_digest(request.context),
            "request_digest": request_digest(request),
            "policies": (hashlib.sha256(b"policy").hexdigest(),),
            "issued": CREATED + 100_000,
            "not_after": CREATED + 220_000,
            "single_use": False,
            "audience": None,
        }
        return PermitStatement.make(**(fields | changes))

    def seal(self, payload_type: str, statement: Statement, nodes: Sequence[str]) -> bytes:
        """The envelope of a statement that these nodes have signed."""
        message = pae(payload_type, statement.encode())
        return seal_statement(
            payload_type, statement, {self.public_key(node): self.sign(node, message) for node in nodes}
        )

    def permit_envelope(
        self, statement: PermitStatement | None = None, *, nodes: Sequence[str] = ("n1", "n2")
    ) -> bytes:
        """A permit that these nodes have signed."""
        return self.seal(PERMIT_TYPE, statement or self.permit_statement(), nodes)

    def permit(
        self,
        statement: PermitStatement | None = None,
        *,
        nodes: Sequence[str] = ("n1", "n2"),
        envelope: bytes | None = None,
        certificate: bytes | None = None,
        leaf: bytes | None = None,
        proof: Sequence[bytes] | None = None,
        links: Sequence[dict[str, Any]] | None = None,
    ) -> bytes:
        """A permit file; each part of it can be another one."""
        statement = statement or self.permit_statement()
        seq = min(statement.seq, self.machine.seq)
        return encode_permit_file(
            envelope or self.permit_envelope(statement, nodes=nodes),
            leaf=self.leaves[seq - 1] if leaf is None else leaf,
            proof=self.machine.lineage.inclusion_proof(seq - 1, seq) if proof is None else proof,
            certificate=certificate or self.certificate(seq),
            links=self.chain() if links is None else links,
        )

    def denial_statement(self, request: Request = SAMPLE_REQUEST, **changes: Any) -> DenialStatement:
        """Node n1's word that it denied a request on the newest state."""
        fields: dict[str, Any] = {
            "cluster": self.sample.genesis.cluster_id,
            "epoch": self.machine.epoch,
            "seq": self.machine.seq,
            "state_root": self.machine.state_root.hex(),
            "node": "n1",
            "permit": None,
            "request_digest": request_digest(request),
            "principal": request.principal,
            "action": request.action,
            "resource": request.resource,
            "reason": Reason.POLICY_DENIED,
            "message": "no policy permits it",
            "time": CREATED + 100_000,
            "decision": "n1-0-2",
        }
        return DenialStatement(**(fields | changes))

    def denial(self, statement: DenialStatement | None = None, *, nodes: Sequence[str] | None = None) -> bytes:
        """A denial file; signed by the node that it names, or by these."""
        statement = statement or self.denial_statement()
        envelope = self.seal(DENIAL_TYPE, statement, [statement.node] if nodes is None else nodes)
        return encode_denial_file(envelope, links=self.chain())

    def receipt(self, at: int = 3, **changes: Any) -> dict[str, Any]:
        """The object of a receipt file for the command of a seq, certified at the newest; fields can be other ones."""
        lease = changes.pop("lease", None)
        envelope = changes.pop("envelope", self.envelopes[at - 1])
        leaf = Leaf.decode(self.leaves[at - 1])
        fields = {
            "command_id": f"c{at - 1}",
            "outcome": leaf.outcome,
            "seq": at,
            "certified_seq": self.machine.seq,
            "leaf": self.leaves[at - 1],
            "proof": self.machine.lineage.inclusion_proof(at - 1, self.machine.seq),
            "lease": self.lease() if lease is None else lease,
        }
        cluster = self.sample.genesis.cluster_id
        return encode_receipt_file(
            SimpleNamespace(**(fields | changes)), cluster=cluster, envelope=envelope, links=self.chain()
        )

    def equivocation(self, node: str = "n3", *, first: bytes | None = None, second: bytes | None = None) -> bytes:
        """Evidence that a node signed two roots for the newest seq; each half can be another one."""
        seq = self.machine.seq
        honest = self.ack(node, self.probe(seq)).encode()
        lying = self.ack(node, self.probe(seq, root=bytes(32))).encode()
        return encode_equivocation_file(
            honest if first is None else first,
            lying if second is None else second,
            cluster=self.sample.genesis.cluster_id,
            links=self.chain(),
        )

    def proof(self, seq: int = 3, since: int = 0, **changes: Any) -> bytes:
        """A proof file for the leaf of a seq, and that the lineage begins with an earlier one."""
        lineage, newest = self.machine.lineage, self.machine.seq
        fields: dict[str, Any] = {
            "leaf": self.leaves[seq - 1],
            "proof": lineage.inclusion_proof(seq - 1, newest),
            "certificate": self.certificate(),
            "earlier": EarlierLineage(since, lineage.root(since), lineage.consistency_proof(since, newest))
            if since
            else None,
            "links": self.chain(),
        }
        return encode_proof_file(**(fields | changes))

    def snapshot(self, seq: int | None = None, **changes: Any) -> bytes:
        """A snapshot of the state at a seq, by default the newest, under a certificate of the newest."""
        newest = self.machine.seq
        seq = newest if seq is None else seq
        machine = Machine(self.sample.genesis)
        for entry in self.entries[1:seq]:
            machine.apply(entry or b"")
        fields: dict[str, Any] = {
            "seq": seq,
            "index": seq,
            "time": machine.time,
            "sections": machine.copy_records(),
            "leaf": self.leaves[seq - 1],
            "proof": self.machine.lineage.inclusion_proof(seq - 1, newest),
            "certificate": self.certificate(),
            "epochs": self.links,
        }
        return Snapshot.make(**(fields | changes)).encode()

    def chain(self) -> list[dict[str, Any]]:
        """The links to the current epoch, as files carry them."""
        return encode_chain(self.sample.genesis, self.links)

    def export(self, nodes: Sequence[str] = ("n1", "n2"), *, certificate: bytes | None = None) -> bytes:
        """A lineage export, certified by `nodes`."""
        return b"".join(self.export_lines(certificate or self.certificate(nodes=nodes)))

    def export_lines(self, certificate: bytes) -> list[bytes]:
        """Its lines; the last one holds this certificate."""
        lines = [encode_header(self.sample.genesis, last=self.machine.seq)]
        changes = {Leaf.decode(link.leaf).seq: link for link in self.links}
        for seq, (leaf, entry) in enumerate(zip(self.leaves, self.entries, strict=True), 1):
            lines.append(encode_record(seq, leaf, entry))
            if seq in changes:
                lines.append(encode_epoch(changes[seq].epoch, self.change_leases[seq]))
        return [*lines, encode_end(certificate)]

    def trust(self, seq: int | None = None) -> Trust:
        """The trust state of the current electorate at a seq, by default the newest."""
        machine, seq = self.machine, self.machine.seq if seq is None else seq
        return Trust(machine.cluster_id, bare_electorate(machine.electorate), seq, machine.lineage.root(seq))
