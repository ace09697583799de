"""Properties of decision exports: what was decided otherwise, or never, is not found clean."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import msgspec

from fuzzing.target import Target, expect
from govraft.core.codec.canonical import pack_json
from govraft.core.codec.envelope import pae, seal
from govraft.core.decision.evaluator import evaluate
from govraft.core.decision.policy_shelf import PolicyShelf
from govraft.core.evidence.decision_export import ExportAnchor, encode_end, encode_header
from govraft.core.evidence.decisions import NO_MASK, Noted, decode_line, encode_noted, gap_fields, request_fields
from govraft.core.evidence.lineage_export import encode_end as encode_lineage_end
from govraft.core.evidence.lineage_export import encode_header as encode_lineage_header
from govraft.core.evidence.lineage_export import encode_record
from govraft.core.evidence.replay import replay_decisions
from govraft.core.lineage.block_tree import BlockTree
from govraft.core.model.commands import AuditAnchor, PolicyActivate, PolicyPublish, encode_command, payload_type
from govraft.core.model.request import Request
from govraft.errors import GovraftError, VerificationError
from govraft.testing.evidence_sample import EvidenceSample
from govraft.testing.sample import CREATED

__all__ = ["TARGETS"]

_LOG = "0a" * 16
_RUN = 'Action::"run"'
_SCHEMA = """
entity Agent; entity Tool;
action "run", "stop" appliesTo { principal: [Agent], resource: [Tool], context: { n?: Long } };
"""
_PERMIT = 'permit(principal, action == Action::"run", resource) unless { context has n && context.n > 100 };'


class _Audited:
    """A node that decided a few times, and anchored its log in between."""

    def __init__(self) -> None:
        self.sample = EvidenceSample(quarantined=())
        header = self.sample.sample.header
        publish = PolicyPublish(**header(), version=1, expected="", schema=_SCHEMA, policies=(_PERMIT,), removed=())
        self.sample.apply(publish, "pat")
        self.machine, self.shelf = self.sample.machine, PolicyShelf()
        digest = self.machine.policy_versions[-1].digest
        self.sample.apply(PolicyActivate(**header(), version=1, digest=digest), "pat")
        self.leaves: list[bytes] = []
        for number, action in ((1, "run"), (101, "run"), (1, "stop")):
            self._ask(number, action)
        self._note(Noted(gap_fields("n1", self._time(), 3)))
        self._anchor()
        self.sample.quarantine(1)
        for number in (1, 2):
            self._ask(number, "run")

    def _time(self) -> int:
        return CREATED + 1_000 * self.machine.seq + len(self.leaves)

    def _ask(self, number: int, action: str) -> None:
        request = Request('Agent::"1"', f'Action::"{action}"', 'Tool::"t"', {"n": number})
        found = evaluate(self.machine, self.shelf, request, node_id="n1", wall=self._time())
        fields = {
            "node": "n1",
            "time": self._time(),
            "decision": f"n1-0-{len(self.leaves)}",
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
        self._note(Noted(fields, msgspec.msgpack.encode(request_fields(request))))

    def _note(self, noted: Noted) -> None:
        self.leaves.append(encode_noted(noted, len(self.leaves), NO_MASK))

    def tree(self) -> BlockTree:
        """Over all records."""
        tree = BlockTree(lambda _block: self.leaves)
        for leaf in self.leaves:
            tree.append(leaf)
        return tree

    def _anchor(self) -> None:
        tree, key = self.tree(), self.sample.sample.node_keys["n1"]
        command = AuditAnchor(
            **self.sample.sample.header(), node="n1", log=_LOG, size=tree.size, root=tree.root().hex(), proof=()
        )
        kind, payload = payload_type(command), encode_command(command)
        self.sample.apply_envelope(
            seal(kind, payload, [(key.public_key().public_bytes_raw(), key.sign(pae(kind, payload)))])
        )
        self.anchor = ExportAnchor(tree.size, tree.root(), self.machine.seq)

    def decisions(self, first: int = 0) -> bytes:
        """The export."""
        tree = self.tree()
        head = encode_header(
            cluster=self.sample.sample.genesis.cluster_id,
            node="n1",
            log=_LOG,
            first=first,
            last=tree.size,
            before=tree.subtrees(first),
        )
        lines = [pack_json(msgspec.msgpack.decode(leaf)) + b"\n" for leaf in self.leaves[first:]]
        anchors = [self.anchor] if first < self.anchor.size else []
        return b"".join([head, *lines, encode_end(size=tree.size, root=tree.root(), proof=[], anchors=anchors)])

    def lineage(self) -> list[bytes]:
        """The export of the lineage."""
        genesis, pairs = self.sample.sample.genesis, zip(self.sample.leaves, self.sample.entries, strict=True)
        records = [encode_record(seq, leaf, entry) for seq, (leaf, entry) in enumerate(pairs, 1)]
        header = encode_lineage_header(genesis, last=self.machine.seq)
        return [header, *records, encode_lineage_end(self.sample.certificate())]


@cache
def _audited() -> _Audited:
    return _Audited()


@cache
def _lineage() -> list[bytes]:
    return _audited().lineage()


class _Lines:
    """`DecisionFile` of lines in memory."""

    def __init__(self, data: bytes) -> None:
        self._lines = data.split(b"\n")
        if self._lines[-1] == b"":
            self._lines.pop()

    def lines(self) -> Iterator[tuple[int, bytes]]:
        return iter(enumerate(self._lines))

    def line(self, place: int) -> bytes:
        return self._lines[place]


def _line(data: bytes) -> bool:
    try:
        record, leaf = decode_line(data)
    except GovraftError:
        return False
    expect(pack_json(msgspec.msgpack.decode(leaf)) == data, "a line of another record than its leaf")
    expect(record.index == json.loads(data)["index"], "two readers see two places")
    return True


def _export(data: bytes) -> bool:
    """Clean means: an allow in it is one that was given, and what is vouched for is what was recorded."""
    genesis = _audited().sample.sample.genesis
    try:
        report = replay_decisions(_Lines(data), _lineage(), genesis)
    except VerificationError:
        return False
    if not report.is_clean:
        return False
    lines = _Lines(data).lines()
    next(lines)
    records: list[dict[str, Any]] = [json.loads(line) for _, line in lines][:-1]
    expect(len(records) == report.last - report.first, "a record that is missing")
    own = [msgspec.msgpack.decode(leaf) for leaf in _audited().leaves]
    if report.log == _LOG and report.anchored > report.first and report.node == "n1":
        expect(records[: report.anchored - report.first] == own[report.first : report.anchored], "vouched for another")
    for record in records:
        if record.get("verdict") == "allow" and not record["masked"]:
            asked = record["request"]
            allowed = asked["action"] == _RUN and asked["context"].get("n", 0) <= 100
            expect(allowed, "an allow of what the policies deny")
    return True


def _line_seeds() -> list[bytes]:
    return [pack_json(msgspec.msgpack.decode(leaf)) for leaf in _audited().leaves]


TARGETS = (
    Target(
        "decision-record",
        "lines of decision exports",
        _line,
        _line_seeds,
        "json",
        ("govraft.core.evidence.decisions",),
    ),
    Target(
        "decision-export",
        "decision exports, audited against the lineage: nothing is clean that was decided otherwise",
        _export,
        lambda: [_audited().decisions(), _audited().decisions(2), _audited().decisions(5)],
        "lines",
        tuple(f"govraft.core.evidence.{name}" for name in ("replay", "reevaluation", "decision_export")),
        length_max=16_000,
    ),
)
