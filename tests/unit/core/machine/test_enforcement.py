"""Enforcement: every transition of the table, every kind of target."""

from __future__ import annotations

from typing import Any

import pytest

from govraft.core.model import limits
from govraft.core.model.commands import Quarantine, Release, Revoke, TargetKind
from govraft.core.model.limits import REASON_CHARS

AGENT = 'Agent::"a"'
Q, R, X = Quarantine, Release, Revoke


def enforce(
    bench: Any, kind: Any, target: str = AGENT, on: TargetKind = TargetKind.SUBJECT, reason: str = "why"
) -> str:
    code: str = bench.do(bench.command(kind, kind=on, id=target, reason=reason))
    return code


@pytest.mark.parametrize(
    ("steps", "codes", "marks"),
    [
        ([Q], ["applied"], {"quarantined"}),
        ([R], ["not_quarantined"], set()),
        ([X], ["applied"], {"revoked"}),
        ([Q, Q], ["applied", "already_quarantined"], {"quarantined"}),
        ([Q, R], ["applied", "applied"], set()),
        ([Q, R, Q], ["applied"] * 3, {"quarantined"}),
        ([Q, X], ["applied", "applied"], {"quarantined", "revoked"}),
        ([X, Q], ["applied", "already_revoked"], {"revoked"}),
        ([X, R], ["applied", "not_quarantined"], {"revoked"}),
        ([X, X], ["applied", "already_revoked"], {"revoked"}),
        ([Q, X, Q], ["applied", "applied", "already_revoked"], {"quarantined", "revoked"}),
        ([Q, X, R], ["applied"] * 3, {"revoked"}),
        ([Q, X, X], ["applied", "applied", "already_revoked"], {"quarantined", "revoked"}),
    ],
)
def test_transitions(bench: Any, steps: list[Any], codes: list[str], marks: set[str]) -> None:
    assert [enforce(bench, step) for step in steps] == codes
    assert set(bench.machine.marks("subject", AGENT)) == marks
    assert bench.machine.has_marks == bool(marks)
    assert set(bench.machine.marked) == ({("subject", AGENT)} if marks else set())


def test_a_mark_says_why_who_and_when(bench: Any) -> None:
    assert enforce(bench, X, reason="leaked key") == "applied"
    mark = bench.machine.marks("subject", AGENT)["revoked"]
    assert (mark.reason, mark.authors, mark.seq, mark.time) == ("leaked key", ("olga",), 2, bench.time)


def test_a_release_restores_the_digest(bench: Any) -> None:
    before = bench.machine.sections["entities"]
    assert enforce(bench, Q) == "applied"
    assert bench.machine.sections["entities"] != before
    assert enforce(bench, R) == "applied"
    assert bench.machine.sections["entities"] == before


@pytest.mark.parametrize(
    ("on", "target", "code"),
    [
        (TargetKind.SUBJECT, "Agent", "target_invalid"),
        (TargetKind.SUBJECT, "", "target_invalid"),
        (TargetKind.SUBJECT, 'Action::"run"', "target_invalid"),
        (TargetKind.RESOURCE, 'Fleet::Action::"run"', "target_invalid"),
        (TargetKind.RESOURCE, 'Tool::"t"', "applied"),
        (TargetKind.ACTION, 'Tool::"t"', "target_invalid"),
        (TargetKind.ACTION, 'Fleet::Action::"run"', "applied"),
        (TargetKind.NODE, "n1", "applied"),
        (TargetKind.NODE, "n9", "target_unknown"),
        (TargetKind.NODE, AGENT, "target_unknown"),
    ],
)
def test_targets(bench: Any, on: TargetKind, target: str, code: str) -> None:
    assert enforce(bench, X, target, on) == code
    if code == "applied":
        assert "revoked" in bench.machine.marks(on.value, target)


def test_spellings(bench: Any) -> None:
    """Whoever spells an id differently means the same target."""
    assert enforce(bench, X, 'Agent::"\\u{61}"') == "applied"
    assert "revoked" in bench.machine.marks("subject", AGENT)
    assert "revoked" in bench.machine.marks("subject", 'Agent::"\\x61"')
    assert enforce(bench, X, AGENT) == "already_revoked"


def test_kinds_do_not_mix(bench: Any) -> None:
    assert enforce(bench, X, AGENT, TargetKind.SUBJECT) == "applied"
    assert bench.machine.marks("resource", AGENT) == {}
    assert enforce(bench, Q, AGENT, TargetKind.RESOURCE) == "applied"
    assert set(bench.machine.marks("resource", AGENT)) == {"quarantined"}


def test_slashes_in_ids_do_not_confuse_targets(bench: Any) -> None:
    assert enforce(bench, X, 'Agent::"a/b"') == "applied"
    assert set(bench.machine.marked) == {("subject", 'Agent::"a/b"')}


def test_limits(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert enforce(bench, Q, reason="x" * REASON_CHARS) == "applied"
    assert enforce(bench, R, reason="x" * (REASON_CHARS + 1)) == "limit_exceeded"
    monkeypatch.setattr(limits, "MARKS", 1)
    assert enforce(bench, X, 'Agent::"b"') == "limit_exceeded"
    # One that is marked already can always be marked further.
    assert enforce(bench, X) == "applied"
