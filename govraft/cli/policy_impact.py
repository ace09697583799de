"""Recorded decisions, made again under other policies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from govraft.cli.policy_world import Candidate, CandidateShelf, PolicyWorld
from govraft.core.decision.evaluator import evaluate
from govraft.core.decision.finding import Finding
from govraft.core.evidence.decision_export import LINE_BYTES_MAX, decode_end, decode_header
from govraft.core.evidence.decisions import DecisionRecord, decode_line, request_of
from govraft.core.evidence.lineage_export import prove_lineage
from govraft.core.machine.machine import Machine
from govraft.core.model.genesis import Genesis
from govraft.core.model.reasons import Reason, Step
from govraft.core.model.request import Request
from govraft.errors import InputError

__all__ = ["Impact", "compare_now", "compare_on_lineage", "count_records"]

Advance = Callable[[], object]

_STEPS = {reason.value: reason.step for reason in Reason}


class Impact(NamedTuple):
    """What would be otherwise.

    Attributes:
        counts: Records by what became of them: `same`, `changed`, and those that could not be compared.
        changes: The changed ones.
    """

    counts: Counter[str]
    changes: list[dict[str, Any]]

    def note(self, record: DecisionRecord, request: Request, finding: Finding) -> None:
        """Take a record down with what it would be."""
        recorded, now = record.reason or "allow", "allow" if finding.reason is None else finding.reason.value
        if (record.verdict == "allow") == finding.is_allow:
            self.counts["same"] += 1
            return
        self.counts["changed"] += 1
        asked = {"principal": request.principal, "action": request.action, "resource": request.resource}
        change = {"index": record.index, "decision": record.decision, "time": record.time, "seq": record.seq, **asked}
        policies = {"recorded_policies": record.policies, "policies": list(finding.policies)}
        self.changes.append({**change, "recorded": recorded, "now": now, "message": finding.message, **policies})


def count_records(decisions: Path) -> int:
    """How many records a decision export holds, all kinds. Raises `InputError` if it cannot be read."""
    return max(0, sum(1 for _ in _lines(decisions)) - 2)


def compare_now(decisions: Path, world: PolicyWorld, advance: Advance) -> Impact:
    """Ask the policies of a world for each record.

    Raises:
        VerificationError: The file is no decision export.
    """
    impact = Impact(Counter(), [])
    for record, request in _comparable(decisions, impact.counts):
        advance()
        tried = world.ask(request)
        step = _STEPS.get(record.reason)
        if step is Step.MARKS:
            impact.counts["same"] += 1
        elif tried.is_conditional or (step is Step.CONDITIONS and tried.finding.is_allow):
            impact.counts["undecided"] += 1
        else:
            impact.note(record, request, tried.finding)
    return impact


def compare_on_lineage(
    decisions: Path, lineage: Path, genesis: Genesis, candidate: Candidate, advance: Advance
) -> Impact:
    """Decide each record again on the state on which it was decided, as if the candidate had been active.

    Raises:
        VerificationError: The file is no decision export, or the lineage is not proven.
        InputError: A file cannot be read.
    """
    impact, shelf = Impact(Counter(), []), CandidateShelf(candidate)
    waiting = sorted(_comparable(decisions, impact.counts), key=lambda item: item[0].seq, reverse=True)

    def visit(machine: Machine) -> None:
        while waiting and waiting[-1][0].seq <= machine.seq:
            record, request = waiting.pop()
            advance()
            impact.note(record, request, evaluate(machine, shelf, request, node_id=record.node, wall=record.time))

    prove_lineage(_lines(lineage), genesis, visit=visit)
    impact.counts["beyond the lineage"] += len(waiting)
    impact.changes.sort(key=lambda item: item["index"])
    return Impact(+impact.counts, impact.changes)


def _comparable(path: Path, counts: Counter[str]) -> Iterator[tuple[DecisionRecord, Request]]:
    """The records that say something about policies, with their requests; the others are counted."""
    lines = _lines(path)
    decode_header(next(lines, b""))
    last = b""
    for line in lines:
        if last:
            found = _read(last, counts)
            if found is not None:
                yield found
        last = line
    decode_end(last)


def _read(line: bytes, counts: Counter[str]) -> tuple[DecisionRecord, Request] | None:
    record, _ = decode_line(line)
    if not isinstance(record, DecisionRecord):
        counts["gaps"] += 1
        return None
    request = None if record.masked else request_of(record)
    if request is None:
        counts["masked" if record.masked else "unreadable"] += 1
    elif record.verdict == "deny" and (record.seq == 0 or _STEPS.get(record.reason) is None):
        counts["denied for the node's reasons"] += 1
    else:
        return record, request
    return None


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as source:
            while line := source.readline(LINE_BYTES_MAX + 1):
                if len(line) > LINE_BYTES_MAX:
                    raise InputError(f"`{path}` has a line over {LINE_BYTES_MAX} bytes", code="file_too_large")
                yield line.rstrip(b"\n")
    except OSError as error:
        raise InputError(f"`{path}` cannot be read: {error.strerror}", code="file_unreadable") from error
