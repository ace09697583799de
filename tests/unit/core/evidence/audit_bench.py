"""A certified history with a policy, a node that decides on it, its decision log, and exports of both."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import msgspec

from govraft.core.codec.canonical import pack, pack_json, unpack_json
from govraft.core.codec.envelope import pae, seal
from govraft.core.codec.note import Checkpoint, Note, NoteSignature, cosignature_key_id, cosigned_message, format_note
from govraft.core.convergence.certificate import key_name
from govraft.core.decision.evaluator import evaluate
from govraft.core.decision.policy_shelf import PolicyShelf
from govraft.core.evidence.decision_export import ExportAnchor, encode_end, encode_header
from govraft.core.evidence.decisions import Mask, Noted, encode_noted, gap_fields, request_fields
from govraft.core.evidence.lineage_export import encode_end as encode_lineage_end
from govraft.core.evidence.lineage_export import encode_header as encode_lineage_header
from govraft.core.evidence.lineage_export import encode_record
from govraft.core.lineage.block_tree import BlockTree
from govraft.core.machine.entry import encode_entry
from govraft.core.machine.machine import Machine
from govraft.core.model.commands import (
    AuditAnchor,
    Command,
    PolicyActivate,
    PolicyPublish,
    Quarantine,
    TargetKind,
    encode_command,
    payload_type,
)
from govraft.core.model.reasons import Reason
from govraft.core.model.request import Request
from govraft.core.model.units import WallMs
from govraft.testing.sample import CREATED, SampleCluster

SCHEMA = """
entity Agent; entity Tool;
action "run", "stop" appliesTo { principal: [Agent], resource: [Tool], context: { n?: Long, email?: String } };
"""
PERMIT = 'permit(principal, action == Action::"run", resource) unless { context has n && context.n > 100 };'
LOG = "0a" * 16


class AuditBench:
    """Whoever `asks` adds a record; `anchor` and the commands add entries."""

    def __init__(self, masks: tuple[str, ...] = ()) -> None:
        self.sample = SampleCluster()
        self.genesis = self.sample.genesis
        self.machine = Machine(self.genesis)
        self.shelf = PolicyShelf()
        self.mask = Mask(masks, bytes(range(32)))
        self.leaves: list[tuple[bytes, bytes | None]] = [(self.machine.genesis_leaf, None)]
        self.records: list[bytes] = []
        self.anchors: list[ExportAnchor] = []
        self.time = CREATED + 1_000
        publish = PolicyPublish(**self.header(), version=1, expected="", schema=SCHEMA, policies=(PERMIT,), removed=())
        self.command(publish, "pat")
        digest = self.machine.policy_versions[-1].digest
        self.command(PolicyActivate(**self.header(), version=1, digest=digest), "pat")

    def header(self) -> dict[str, Any]:
        return self.sample.header()

    def command(self, command: Command, *authors: str) -> None:
        self.apply(self.sample.sign(command, *authors))

    def apply(self, envelope: bytes) -> None:
        self.time += 10
        entry = encode_entry(WallMs(self.time), envelope)
        applied = self.machine.apply(entry)
        assert applied.outcome.code == "applied", applied.outcome
        self.leaves.append((applied.leaf, entry))

    def quarantine(self, agent: str) -> None:
        target = f'Agent::"{agent}"'
        command = Quarantine(**self.header(), kind=TargetKind.SUBJECT, id=target, reason="x")
        self.command(command, "olga")

    # Deciding.

    def ask(self, agent: str = "a", action: str = "run", /, **fields: Any) -> None:
        """Decide as a node does, and record it; `fields` replace what is noted."""
        context = fields.pop("context", {"n": 1})
        request = Request(f'Agent::"{agent}"', f'Action::"{action}"', 'Tool::"t"', context)
        self.time += 1
        found = evaluate(self.machine, self.shelf, request, node_id="n1", wall=self.time)
        noted = {
            "node": "n1",
            "time": self.time,
            "decision": f"n1-life-{len(self.records)}",
            "source": "check",
            "seq": self.machine.seq,
            "state_root": self.machine.state_root.hex(),
            "verdict": "allow" if found.reason is None else "deny",
            "reason": "" if found.reason is None else found.reason.value,
            "message": found.message,
            "policies": list(found.policies),
            "errors": list(found.errors),
            "latency_us": 7,
            "trace": "",
        }
        self.note(Noted({**noted, **fields}, msgspec.msgpack.encode(request_fields(request))))

    def deny_standing(self, reason: Reason = Reason.LEASE_EXPIRED, **fields: Any) -> None:
        standing = {"verdict": "deny", "reason": reason.value, "message": "m", "seq": 0, "state_root": ""}
        self.ask(policies=[], errors=[], **{**standing, **fields})

    def gap(self, dropped: int) -> None:
        self.note(Noted(gap_fields("n1", self.time, dropped)))

    def note(self, noted: Noted) -> None:
        self.records.append(encode_noted(noted, len(self.records), self.mask))

    def tree(self) -> BlockTree:
        tree = BlockTree(lambda block: self.records[block * 256 : (block + 1) * 256])
        for leaf in self.records:
            tree.append(leaf)
        return tree

    def anchor(self, log: str = LOG) -> None:
        tree, last = self.tree(), self.machine.anchors.get("n1")
        proof = tree.consistency_proof(last.size, tree.size) if last is not None and last.log == log else []
        command = AuditAnchor(
            **self.header(),
            node="n1",
            log=log,
            size=tree.size,
            root=tree.root().hex(),
            proof=tuple(base64.b64encode(node).decode() for node in proof),
        )
        kind, payload, key = payload_type(command), encode_command(command), self.sample.node_keys["n1"]
        self.apply(seal(kind, payload, [(key.public_key().public_bytes_raw(), key.sign(pae(kind, payload)))]))
        if log == LOG:
            self.anchors.append(ExportAnchor(tree.size, tree.root(), self.machine.seq))

    def tamper(self, index: int, /, **changes: Any) -> None:
        """Change a record and leave the log as if it had always been so."""
        fields = msgspec.msgpack.decode(self.records[index])
        self.records[index] = pack({**fields, **changes})

    # Exports.

    def decisions(self, first: int = 0, last: int | None = None) -> list[bytes]:
        tree = self.tree()
        end = tree.size if last is None else last
        anchors = [anchor for anchor in self.anchors if first < anchor.size <= end]
        later = [anchor for anchor in self.anchors if anchor.size > end][:1]
        anchors += [item._replace(proof=tree.consistency_proof(end, item.size)) for item in later]
        head = encode_header(
            cluster=self.genesis.cluster_id, node="n1", log=LOG, first=first, last=end, before=tree.subtrees(first)
        )
        lines = [pack_json(msgspec.msgpack.decode(leaf)) + b"\n" for leaf in self.records[first:end]]
        proof = tree.consistency_proof(end, tree.size)
        return [head, *lines, encode_end(size=tree.size, root=tree.root(), proof=proof, anchors=anchors)]

    def lineage(self) -> list[bytes]:
        machine = self.machine
        records = [encode_record(seq, leaf, entry) for seq, (leaf, entry) in enumerate(self.leaves, 1)]
        header = encode_lineage_header(self.genesis, last=machine.seq)
        return [header, *records, encode_lineage_end(self.certificate())]

    def certificate(self) -> bytes:
        origin, machine = self.genesis.origin, self.machine
        body = Checkpoint(origin, machine.seq, machine.root).encode()
        signatures = []
        for node, key in list(self.sample.node_keys.items())[:2]:
            name, public = key_name(origin, node), key.public_key().public_bytes_raw()
            signature = key.sign(cosigned_message(body, 7))
            signatures.append(NoteSignature(name, cosignature_key_id(name, public), 7, signature))
        return format_note(Note(body, tuple(signatures)))


class Lines:
    """`DecisionFile` of lines in memory."""

    def __init__(self, lines: list[bytes]) -> None:
        self._lines = [line.rstrip(b"\n") for line in lines]

    def lines(self) -> Iterator[tuple[int, bytes]]:
        return iter(enumerate(self._lines))

    def line(self, place: int) -> bytes:
        return self._lines[place]


def edited(line: bytes, **changes: Any) -> bytes:
    """A line of an export with some of its fields changed, and nothing else."""
    return pack_json({**unpack_json(line.rstrip(b"\n"), max_bytes=2**20), **changes}) + b"\n"
