"""`govraft check --batch`: a file of requests, and how far the verdicts are what was expected.

An expected deny is met only by a deny on the merits: of the policies and the schema, or of what is known about subject
and resource, decided on a certified state. A node that cannot tell also denies, but that says nothing about the
rules; such a line counts as unanswered.
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
from govraft.cli.input_files import read_json_objects
from govraft.cli.nodes import choose_client
from govraft.cli.output import Table, emit, progress, write_data
from govraft.cli.settings import Settings
from govraft.client.verdicts import Deny, Verdict
from govraft.core.model.reasons import Reason
from govraft.core.model.request import Request
from govraft.errors import InputError

__all__ = ["MERITS", "check_batch"]

MERITS = frozenset(
    {
        Reason.ATTESTATION_EXPIRED,
        Reason.ATTESTATION_MISSING,
        Reason.BOUNDARY_EXCEEDED,
        Reason.GRANT_EXPIRED,
        Reason.GRANT_MISSING,
        Reason.INVALIDATED,
        Reason.POLICY_DENIED,
        Reason.POLICY_ERROR,
        Reason.QUARANTINED,
        Reason.REQUEST_INVALID,
        Reason.REVOKED,
    }
)
"""Reasons that answer the question itself, if the verdict names the certified state that it rests on."""

_FIELDS = frozenset({"principal", "action", "resource", "context", "expect", "reason", "rule", "comment"})
_CHUNK = 250
_MISMATCHES_SHOWN = 20


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    request: Request
    expect: str | None
    reason: str | None


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

    def count(self, line: _Line, verdict: Verdict) -> None:
        reason = verdict.reason if isinstance(verdict, Deny) else None
        if reason is None:
            self.allowed += 1
        else:
            self.denied += 1
            self.reasons[reason.value] += 1
        self.unanswered += not _is_answered(verdict) and (reason is None or reason.value != line.reason)
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
        return verdict.reason in MERITS and verdict.seq > 0
    return bool(verdict)


def _meets(line: _Line, verdict: Verdict) -> bool:
    if line.expect == "allow":
        return not isinstance(verdict, Deny) and _is_answered(verdict)
    if not isinstance(verdict, Deny):
        return False
    # SAFETY: a node that cannot tell proves no rule; test_check.py::test_a_deny_off_the_merits_meets_nothing
    return verdict.reason.value == line.reason if line.reason else _is_answered(verdict)


def check_batch(settings: Settings, path: Path, *, at_least: int, each: bool) -> int:
    """Ask for each line, print a summary.

    Returns:
        0 if all expectations are met (without any: if all are allowed), 3 if some lines were not answered, else 1.
    """
    lines = [_line(number, fields, path) for number, fields in read_json_objects(path)]
    if not lines:
        raise InputError(f"`{path}` holds no requests")
    tally, started = _Tally(), time.monotonic()
    with choose_client(settings) as client, progress("checking", len(lines)) as advance:
        for start in range(0, len(lines), _CHUNK):
            chunk = lines[start : start + _CHUNK]
            verdicts = client.check_many([line.request for line in chunk], at_least=at_least)
            for line, verdict in zip(chunk, verdicts, strict=True):
                tally.count(line, verdict)
                if each:
                    write_data(json.dumps({"line": line.number, **msgspec.to_builtins(verdict)}) + "\n")
            advance(len(chunk))
    if not each:
        _summarize(settings, tally, len(lines), time.monotonic() - started)
    if tally.expected:
        met = tally.matched == tally.expected and (tally.expected == len(lines) or not tally.unanswered)
    else:
        met = tally.denied == 0
    if met:
        return DONE
    return UNAVAILABLE if tally.unanswered else DENIED


def _line(number: int, fields: dict[str, Any], path: Path) -> _Line:
    where = f"`{path}`, line {number}"
    # A misspelt `expect` must not drop an expectation unnoticed.
    strange = sorted(fields.keys() - _FIELDS)
    if strange:
        raise InputError(f"{where}: `{strange[0]}` is not known; use {', '.join(sorted(_FIELDS))}")
    known = {name: fields.get(name) for name in ("principal", "action", "resource")}
    context, expect, reason = fields.get("context", {}), fields.get("expect"), fields.get("reason")
    if not all(isinstance(value, str) for value in known.values()) or not isinstance(context, dict):
        raise InputError(f"{where}: needs `principal`, `action` and `resource` as text, `context` as an object")
    if expect not in (None, "allow", "deny") or not isinstance(reason, str | None):
        raise InputError(f"{where}: `expect` is allow or deny, `reason` a reason code")
    if reason is not None and reason not in Reason.__members__.values():
        raise InputError(f"{where}: `{reason}` is no reason code")
    return _Line(number, Request(**known, context=context), expect or ("deny" if reason else None), reason)  # type: ignore[arg-type]


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
