"""`govraft check --batch`: a file of requests, and how far the verdicts are what was expected.

An expected deny is met only by a deny on the merits: of the policies and the schema, or of what is known about subject
and resource, decided on a certified state. A node that cannot tell also denies, but that says nothing about the
rules; such a line is asked again, a few times, and then counts as unanswered.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from govraft.cli.exit_codes import DENIED, DONE, UNAVAILABLE
from govraft.cli.expectations import Expectation, read_expectations
from govraft.cli.nodes import choose_client
from govraft.cli.output import Table, emit, note, progress, write_data
from govraft.cli.settings import Settings
from govraft.client.client import Client
from govraft.client.verdicts import Deny, Verdict
from govraft.core.model.reasons import Reason

__all__ = ["check_batch"]

_CHUNK = 250
_REPEATS = 20
_PAUSE_S = 0.25
"""How often in all, and how long before it, lines are asked again that the node could not answer."""
_MISMATCHES_SHOWN = 20


@dataclass(slots=True)
class _Tally:
    """What came back."""

    allowed: int = 0
    denied: int = 0
    expected: int = 0
    matched: int = 0
    unanswered: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    mismatches: list[dict[str, Any]] = field(default_factory=list)

    def count(self, line: Expectation, verdict: Verdict) -> None:
        reason = verdict.reason if isinstance(verdict, Deny) else None
        if reason is None:
            self.allowed += 1
        else:
            self.denied += 1
            self.reasons[reason.value] += 1
        self.unanswered += _is_unanswered(line, verdict)
        if line.expect is None:
            return
        self.expected += 1
        if _meets(line, verdict):
            self.matched += 1
            return
        self.mismatches.append(
            {
                "line": line.number,
                "principal": line.request.principal,
                "action": line.request.action,
                "resource": line.request.resource,
                "expect": line.reason or line.expect,
                "got": "allow" if reason is None else reason.value,
                "message": getattr(verdict, "message", ""),
            }
        )


def _is_answered(verdict: Verdict) -> bool:
    if isinstance(verdict, Deny):
        return verdict.reason.step is not None and verdict.seq > 0
    return bool(verdict)


def _meets(line: Expectation, verdict: Verdict) -> bool:
    # SAFETY: a node that cannot tell proves no rule; test_check.py::test_a_deny_off_the_merits_meets_nothing
    if line.reason is None and not _is_answered(verdict):
        return False
    return line.is_met_by(verdict.reason if isinstance(verdict, Deny) else None)


def check_batch(settings: Settings, path: Path, *, at_least: int, each: bool) -> int:
    """Ask for each line, print a summary.

    Returns:
        0 if all expectations are met (without any: if all are allowed), 3 if some lines were not answered, else 1.
    """
    lines = read_expectations(path)
    tally, started = _Tally(), time.monotonic()
    with choose_client(settings) as client, progress("checking", len(lines)) as advance:
        asker = _Asker(client, at_least)
        for start in range(0, len(lines), _CHUNK):
            chunk = lines[start : start + _CHUNK]
            for line, verdict in zip(chunk, asker.ask(chunk), strict=True):
                tally.count(line, verdict)
                if each:
                    write_data(json.dumps({"line": line.number, **msgspec.to_builtins(verdict)}) + "\n")
            advance(len(chunk))
    if not each:
        _summarize(settings, tally, len(lines), time.monotonic() - started)
    if tally.unanswered:
        note(f"govraft: {tally.unanswered} lines were not answered: {asker.reasons()}")
    if tally.expected:
        met = tally.matched == tally.expected and (tally.expected == len(lines) or not tally.unanswered)
    else:
        met = tally.denied == 0
    if met:
        return DONE
    return UNAVAILABLE if tally.unanswered else DENIED


class _Asker:
    """Asks, and asks again where the denial is about the node, not about the request."""

    def __init__(self, client: Client, at_least: int) -> None:
        self._client = client
        self._at_least = at_least
        self._repeats = _REPEATS
        self._unanswered: Counter[str] = Counter()

    def ask(self, lines: Sequence[Expectation]) -> list[Verdict]:
        """The last verdict on each line."""
        verdicts = self._client.check_many([line.request for line in lines], at_least=self._at_least)
        while (left := _places_unanswered(lines, verdicts)) and self._repeats > 0:
            self._repeats -= 1
            time.sleep(_PAUSE_S)
            again = self._client.check_many([lines[place].request for place in left], at_least=self._at_least)
            for place, verdict in zip(left, again, strict=True):
                verdicts[place] = verdict
        for place in left:
            verdict = verdicts[place]
            self._unanswered[verdict.reason.value if isinstance(verdict, Deny) else _RAN_OUT] += 1
        return verdicts

    def reasons(self) -> str:
        """Why lines were not answered, the most frequent reason first."""
        told = ", ".join(f"{reason} ({count})" for reason, count in self._unanswered.most_common())
        if self._unanswered.keys() & _BUSY:
            told += "; this host is too busy for the lease of its cluster, or the node is"
        return told


_RAN_OUT = "the allow ran out before it was read"
_BUSY = {_RAN_OUT, Reason.LEASE_EXPIRED.value}


def _places_unanswered(lines: Sequence[Expectation], verdicts: Sequence[Verdict]) -> list[int]:
    return [place for place, line in enumerate(lines) if _is_unanswered(line, verdicts[place])]


def _is_unanswered(line: Expectation, verdict: Verdict) -> bool:
    """Whether the node could not tell. A reason that is expected is an answer, whatever it is about."""
    is_expected = isinstance(verdict, Deny) and verdict.reason.value == line.reason
    return not is_expected and not _is_answered(verdict)


def _summarize(settings: Settings, tally: _Tally, total: int, seconds: float) -> None:
    data = {
        "requests": total,
        "allowed": tally.allowed,
        "denied": tally.denied,
        "expected": tally.expected,
        "matched": tally.matched,
        "unanswered": tally.unanswered,
        "reasons": dict(sorted(tally.reasons.items())),
        "seconds": round(seconds, 3),
        "per_second": round(total / max(seconds, 1e-9)),
        "mismatches": tally.mismatches,
    }
    rows: list[Sequence[object]] = [(name, data[name]) for name in ("requests", "allowed", "denied")]
    if tally.expected:
        rows.append(("matched", f"{tally.matched}/{tally.expected}"))
    rows.append(("unanswered", tally.unanswered))
    rows += [(f"denied: {reason}", count) for reason, count in sorted(tally.reasons.items())]
    rows.append(("per second", data["per_second"]))
    for item in tally.mismatches[:_MISMATCHES_SHOWN]:
        asked = f"{item['principal']} {item['action']} {item['resource']}"
        rows.append((f"line {item['line']}", f"expected {item['expect']}, got {item['got']}: {asked}"))
    if len(tally.mismatches) > _MISMATCHES_SHOWN:
        rows.append(("more", f"{len(tally.mismatches) - _MISMATCHES_SHOWN} mismatches, all of them with -o json"))
    emit(settings.output, data, Table(("", "RESULT"), rows))
