"""Audit a decision log: hold each record against the state at its seq, and all of them against the anchors.

The lineage is replayed from the genesis; whenever the machine reaches a seq, the records that name it are evaluated
again. What an anchor covers cannot have been changed, removed or added since; what is evaluated again was also right.

A report is good only if all of this holds:

1. the export reads, and no record of its stretch is missing or out of place;
2. each record is of the log's node, and what it says follows from the state that it names (`reevaluation`);
3. at each anchor of this log in the lineage, the records give the anchored root;
4. the head in the file extends them, and is no shorter than the last anchor;
5. each anchor that the file names is in the lineage.

Source: interfaces.md, "Decision log".
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import msgspec

from govraft.core.decision.policy_shelf import PolicyShelf
from govraft.core.evidence.decision_export import (
    ExportEnd,
    ExportHeader,
    begin_frontier,
    decode_end,
    decode_header,
    verify_head,
)
from govraft.core.evidence.decisions import DecisionRecord, GapRecord, Record, decode_line
from govraft.core.evidence.evidence import Use, weigh
from govraft.core.evidence.lineage_export import ProvenLineage, prove_lineage
from govraft.core.evidence.reevaluation import Judgement, judge, judge_stateless
from govraft.core.evidence.trust_state import TrustState
from govraft.core.lineage.tree import hash_leaf
from govraft.core.machine.anchor_view import Anchor
from govraft.core.machine.machine import Machine
from govraft.core.model.genesis import Genesis
from govraft.errors import GovraftError, LineageError, VerificationError

__all__ = ["AuditReport", "DecisionFile", "Mismatch", "replay_decisions"]

MISMATCHES_KEPT = 10_000

Advance = Callable[[int], object]


class DecisionFile(Protocol):
    """An export that can be read from any place."""

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Every line without its end, with the place from which `line` reads it again."""
        ...

    def line(self, place: int) -> bytes:
        """The line at a place."""
        ...


class Mismatch(msgspec.Struct, frozen=True):
    """A record that is not as it should be.

    Attributes:
        index: Place in the log.
        decision: Id of the decision, empty where there is none.
        problem: `verdict`, `state`, `request`, `record`, `node`, `missing` or `malformed`.
        recorded: What the record says.
        expected: What it should say.
    """

    index: int
    decision: str
    problem: str
    recorded: str
    expected: str


class AuditReport(msgspec.Struct):
    """What an audit found.

    Attributes:
        node, log: Whose log, and its id.
        first, last: The stretch that was audited; `last` is not included.
        seq: To which the lineage was replayed.
        counts: Records by how far they could be checked; see `reevaluation`. `gap` counts gap records.
        dropped: Decisions that were never recorded, as the gap records say.
        anchored: Up to which record the lineage vouches that nothing was changed.
        anchor_seq: Of the anchor that does, 0 for none.
        chain: What is wrong with the log as a whole; empty if nothing is.
        mismatch_count: How many records are wrong.
        mismatches: Those, in the order of the log; the first 10,000.
        trust: What stands for the lineage; see `evidence.weigh`.
    """

    node: str
    log: str
    first: int
    last: int
    seq: int
    counts: dict[str, int]
    dropped: int
    anchored: int
    anchor_seq: int
    chain: list[str]
    mismatch_count: int
    mismatches: list[Mismatch]
    trust: str

    @property
    def is_clean(self) -> bool:
        """Whether everything is as it should be."""
        return not self.chain and not self.mismatch_count


class _Log:
    """One pass over the file: what is in which place, and what is wrong with it already."""

    def __init__(self, header: ExportHeader) -> None:
        self.header = header
        self.end: ExportEnd | None = None
        self.hashes = bytearray()
        self.places = array("Q")
        self.seqs = array("Q")
        self.expected = header.first
        self.is_whole = True
        self.counts: dict[str, int] = {}
        self.dropped = 0
        self.mismatch_count = 0
        self.mismatches: list[Mismatch] = []

    def blame(self, index: int, decision: str, problem: str, recorded: str, expected: str) -> None:
        self.mismatch_count += 1
        if len(self.mismatches) < MISMATCHES_KEPT:
            self.mismatches.append(Mismatch(index, decision, problem, recorded[:512], expected[:512]))

    def count(self, kind: str, number: int = 1) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + number


def replay_decisions(
    file: DecisionFile,
    lineage: Iterable[bytes],
    genesis: Genesis,
    *,
    advance_records: Advance | None = None,
    advance_lineage: Advance | None = None,
    trust: TrustState | None = None,
) -> AuditReport:
    """Audit an export of a decision log against a lineage export, from the genesis alone.

    Args:
        file: The decisions.
        lineage: Lines of the lineage export, read once.
        genesis: Trusted.
        advance_records: Told of each record that was judged.
        advance_lineage: Told of each line of the lineage that was replayed.
        trust: To say whether the lineage is shown to lie in the trusted history.

    Raises:
        VerificationError: The lineage is not proven, or the file is no decision export of this cluster, or
            the lineage is of another history than the trusted one (code `conflict`).
    """
    log = _read(file, genesis)
    order = sorted(range(len(log.places)), key=log.seqs.__getitem__)
    auditor = _Auditor(file, log, order, advance_records or (lambda _: None))
    proven = prove_lineage(lineage, genesis, advance_lineage, auditor.visit, trust=trust)
    return auditor.finish(proven, weigh(proven.shown, Use(at=0, trust=trust, is_past=True)))


def _read(file: DecisionFile, genesis: Genesis) -> _Log:
    lines = file.lines()
    _, first = next(lines, (0, b""))
    header = decode_header(first)
    if header.cluster != genesis.cluster_id:
        raise VerificationError("the decisions are of another cluster than the genesis", code="wrong_cluster")
    log = _Log(header)
    previous = next(lines, None)
    for following in lines:
        if previous is not None:
            _take(log, *previous)
        previous = following
    if previous is None:
        raise VerificationError("the export is cut off after its first line", code="evidence_malformed")
    log.end = decode_end(previous[1])
    _miss(log, header.last)
    return log


def _take(log: _Log, place: int, line: bytes) -> None:
    try:
        record, leaf = decode_line(line)
    except GovraftError as error:
        log.blame(log.expected, "", "malformed", str(error), "a record")
        log.is_whole = False
        log.expected += 1
        return
    if record.index < log.expected or record.index >= log.header.last:
        log.blame(record.index, _decision(record), "record", f"out of place, {log.expected} is next", "its own place")
        log.is_whole = False
        return
    _miss(log, record.index)
    log.expected = record.index + 1
    if log.is_whole:
        log.hashes += hash_leaf(leaf)
    if record.node != log.header.node:
        log.blame(record.index, _decision(record), "node", record.node, log.header.node)
    elif isinstance(record, GapRecord):
        log.count("gap")
        log.dropped += record.dropped
    elif record.seq == 0:
        _settle(log, record, judge_stateless(record))
    else:
        log.places.append(place)
        log.seqs.append(record.seq)


def _miss(log: _Log, until: int) -> None:
    """Every record before `until` that did not come is missing."""
    for index in range(log.expected, until):
        log.blame(index, "", "missing", "nothing", "a record")
        log.is_whole = False
        if log.mismatch_count > MISMATCHES_KEPT:
            log.mismatch_count += until - index - 1
            break
    log.expected = max(log.expected, until)


def _settle(log: _Log, record: DecisionRecord, found: Judgement) -> None:
    if found.problem:
        log.blame(record.index, record.decision, found.problem, found.recorded, found.expected)
    else:
        log.count(found.kind)


def _decision(record: Record) -> str:
    return record.decision if isinstance(record, DecisionRecord) else ""


class _Auditor:
    """Judges the records of each seq when the lineage has come there, and the chain when it is at its end."""

    def __init__(self, file: DecisionFile, log: _Log, order: list[int], advance: Advance) -> None:
        self._file = file
        self._log = log
        self._order = order
        self._next = 0
        self._advance = advance
        self._shelf = PolicyShelf()
        self._anchors: list[Anchor] = []

    def visit(self, machine: Machine) -> None:
        """Judge the records of the machine's seq."""
        header, log = self._log.header, self._log
        anchor = machine.anchors.get(header.node)
        if anchor is not None and anchor.log == header.log and anchor.seq == machine.seq:
            self._anchors.append(anchor)
        while self._next < len(self._order) and log.seqs[self._order[self._next]] <= machine.seq:
            record = self._record(self._order[self._next])
            _settle(log, record, judge(record, machine, self._shelf))
            self._next += 1
            self._advance(1)

    def _record(self, place: int) -> DecisionRecord:
        record, _ = decode_line(self._file.line(self._log.places[place]))
        if not isinstance(record, DecisionRecord) or record.seq != self._log.seqs[place]:
            raise VerificationError("the file changes while it is read: copy it first", code="evidence_malformed")
        return record

    def finish(self, proven: ProvenLineage, trust: str) -> AuditReport:
        """Whatever is left names a seq that the lineage does not have."""
        log, seq = self._log, proven.checkpoint.seq
        for place in self._order[self._next :]:
            record = self._record(place)
            expected = f"at most seq {seq}, where the lineage ends: export it after the decisions"
            log.blame(record.index, record.decision, "state", f"seq {record.seq}", expected)
        chain, anchored = self._check_chain()
        return AuditReport(
            node=log.header.node,
            log=log.header.log,
            first=log.header.first,
            last=log.header.last,
            seq=seq,
            counts=dict(sorted(log.counts.items())),
            dropped=log.dropped,
            anchored=log.header.first if anchored is None else min(anchored.size, log.header.last),
            anchor_seq=0 if anchored is None else anchored.seq,
            chain=chain,
            mismatch_count=log.mismatch_count,
            mismatches=sorted(log.mismatches, key=lambda item: item.index),
            trust=trust,
        )

    def _check_chain(self) -> tuple[list[str], Anchor | None]:
        """What is wrong with the log as a whole, and the last anchor that covers the file or a part of it."""
        log, end = self._log, self._log.end
        if not log.is_whole or end is None:
            return ["records are missing or unreadable: no anchor can be held against the rest"], None
        problems: list[str] = []
        covered, root = self._check_anchors(problems)
        try:
            verify_head(log.header, end, root)
        except LineageError as error:
            # SAFETY: test_audit_replay.py::test_a_head_that_does_not_extend_the_records_is_found
            problems.append(f"the head of {end.size} records does not extend those of the file: {error}")
        known = {(item.size, item.root.hex(), item.seq) for item in self._anchors}
        problems += [
            f"the anchor of {item.size} records that the file names is not in the lineage at seq {item.seq}"
            for item in end.anchors
            if (item.size, item.root, item.seq) not in known
        ]
        longest = max(self._anchors, key=lambda item: item.size, default=None)
        # SAFETY: test_audit_replay.py::test_a_log_that_was_cut_is_found
        if longest is not None and longest.size > end.size:
            problems.append(f"seq {longest.seq} anchors {longest.size} records, the log has only {end.size}")
        if not problems:
            later = [item for item in self._anchors if item.size > log.header.last and self._is_proven(item)]
            covered = later[0] if later else covered
        return problems, None if problems else covered

    def _check_anchors(self, problems: list[str]) -> tuple[Anchor | None, bytes]:
        """Hold the records against the anchors within the file; the root at its end."""
        log, tree = self._log, begin_frontier(self._log.header)
        covered: Anchor | None = None
        by_size = {item.size: item for item in self._anchors}
        for index in range(log.header.first, log.header.last):
            place = (index - log.header.first) * 32
            tree.append_hash(bytes(log.hashes[place : place + 32]))
            anchor = by_size.get(tree.size)
            # SAFETY: test_audit_replay.py::test_a_record_that_was_changed_with_the_whole_chain_is_found
            if anchor is not None and anchor.root != tree.root() and not problems:
                since = log.header.first if covered is None else covered.size
                problems.append(f"records {since} to {anchor.size - 1} are not those anchored at seq {anchor.seq}")
            if anchor is not None and not problems:
                covered = anchor
        return covered, tree.root()

    def _is_proven(self, anchor: Anchor) -> bool:
        """Whether the file proves that this anchor extends it; `verify_head` has verified its proofs."""
        end = self._log.end
        named = (anchor.size, anchor.root.hex(), anchor.seq)
        return end is not None and any((item.size, item.root, item.seq) == named for item in end.anchors)
