"""Lists of targets: one round for an incident, whole or not at all."""

from __future__ import annotations

from typing import Any

import pytest

from govraft.core.model import limits
from govraft.core.model.authority import Assignment, Role
from govraft.core.model.commands import (
    AuthorityAssign,
    ClusterRules,
    DomainCreate,
    EntityFields,
    EntityPut,
    Invalidate,
    Isolate,
    Quarantine,
    Release,
    Revoke,
    TargetKind,
)

A, B, C = (f'Agent::"{name}"' for name in "abc")


@pytest.fixture(autouse=True)
def rules_2(bench: Any) -> None:
    assert bench.do(bench.command(ClusterRules, to=2), "rita", "ruth") == "applied"


def enforce(bench: Any, kind: Any, *targets: str, on: TargetKind = TargetKind.SUBJECT, by: str = "olga") -> str:
    return str(bench.do(bench.command(kind, kind=on, targets=tuple(sorted(targets)), reason="why"), by))


def marks(bench: Any) -> dict[str, set[str]]:
    return {target: set(found) for (_, target), found in bench.machine.marked.items()}


def test_all_are_marked_by_one_command(bench: Any) -> None:
    before = bench.machine.seq
    assert enforce(bench, Revoke, A, B, C) == "applied"
    assert marks(bench) == {A: {"revoked"}, B: {"revoked"}, C: {"revoked"}}
    assert bench.machine.seq == before + 1


@pytest.mark.parametrize(
    ("first", "then", "unchanged"),
    [
        (Quarantine, Quarantine, [A]),
        (Isolate, Quarantine, [A]),
        (Isolate, Isolate, [A]),
        (Revoke, Quarantine, [A]),
        (Revoke, Revoke, [A]),
        (Invalidate, Invalidate, [A]),
        (Quarantine, Revoke, []),
        (Revoke, Release, [A, B]),
        (Quarantine, Release, [B]),
    ],
)
def test_what_one_target_would_be_refused_for_is_left_as_it_is(
    bench: Any, first: Any, then: Any, unchanged: list[str]
) -> None:
    assert enforce(bench, first, A) == "applied"
    stood = marks(bench)[A]
    command = bench.command(then, kind=TargetKind.SUBJECT, targets=(A, B), reason="why")
    applied = bench.apply_envelope(bench.cluster.sign(command, "olga"))
    assert (applied.outcome.code, list(applied.unchanged)) == ("applied", unchanged)
    if A in unchanged:
        assert marks(bench)[A] == stood
    if then is not Release:
        assert B in marks(bench)


def test_applied_though_all_are_unchanged(bench: Any) -> None:
    assert enforce(bench, Quarantine, A, B) == "applied"
    assert enforce(bench, Quarantine, A, B) == "applied"


def test_a_malformed_target_refuses_the_whole(bench: Any) -> None:
    assert enforce(bench, Quarantine, A, "nobody") == "target_invalid"
    assert enforce(bench, Quarantine, "n1", "n9", on=TargetKind.NODE) == "target_unknown"
    assert enforce(bench, Revoke, "root", on=TargetKind.DOMAIN) == "target_invalid"
    assert marks(bench) == {}


def test_two_spellings_are_one_target(bench: Any) -> None:
    assert enforce(bench, Quarantine, A, 'Agent::"\\u{61}"') == "applied"
    assert marks(bench) == {A: {"quarantined"}}


def test_the_limit_counts_each(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MARKS", 2)
    assert enforce(bench, Quarantine, A, B, C) == "limit_exceeded"
    assert marks(bench) == {}
    assert enforce(bench, Quarantine, A, B) == "applied"
    assert enforce(bench, Revoke, A, B) == "applied", "a second mark takes no further place"


def test_who_may_sign_a_list(bench: Any) -> None:
    assert bench.do(bench.command(DomainCreate, id="d", parent="root"), "rita", "ruth") == "applied"
    put = bench.command(EntityPut, entities=(EntityFields(A, {}, ()),), domain="d")
    assert bench.do(put, "olga") == "applied"
    assigned = bench.command(AuthorityAssign, id="oscar", assignments=(Assignment(Role.OPERATOR, "d"),))
    assert bench.do(assigned, "rita", "ruth") == "applied"
    assert enforce(bench, Quarantine, A, B, by="oscar") == "threshold_unmet"
    assert enforce(bench, Quarantine, A, by="oscar") == "applied"
    assert enforce(bench, Isolate, B) == "applied"
    assert enforce(bench, Release, A, B) == "threshold_unmet", "an isolated one takes the roots"
    assert (
        bench.do(bench.command(Release, kind=TargetKind.SUBJECT, targets=(A, B), reason="r"), "rita", "ruth")
        == "applied"
    )
    assert marks(bench) == {}


def test_a_list_of_a_thousand_is_one_entry(bench: Any) -> None:
    names = [f'Agent::"{number:04}"' for number in range(limits.TARGETS)]
    assert enforce(bench, Revoke, *names) == "applied"
    assert len(bench.machine.marked) == limits.TARGETS


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "name one target"),
        ({"id": A, "targets": (A,)}, "name one target"),
        ({"targets": ()}, "1 to"),
        ({"id": A, "targets": ()}, "name one target"),
        ({"targets": (B, A)}, "sorted"),
        ({"targets": (A, A)}, "sorted"),
        ({"targets": tuple(f"{number:05}" for number in range(limits.TARGETS + 1))}, "1 to"),
    ],
)
def test_a_command_names_its_targets_in_one_way(bench: Any, fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        bench.command(Quarantine, kind=TargetKind.SUBJECT, reason="r", **fields)
