"""Grants at the moment of a decision."""

from __future__ import annotations

import itertools
import random
from types import SimpleNamespace
from typing import Any

import pytest

from govraft.core.decision.grants import Reach, check_grant
from govraft.core.machine.grant_view import GRANT_PREFIX, Grant, GrantsView
from govraft.core.machine.records import Mark, encode_record
from govraft.core.model.reasons import Reason

REACH = Reach(("A", "As"), frozenset({"run", "all"}), frozenset({"T", "Ts"}), ("till", "shop", "root"))
MARK = Mark("why", (), 1, 1)


def grant(identifier: str = "g", **fields: Any) -> Grant:
    given = {
        "holder": "A",
        "actions": ("run",),
        "resources": ("T",),
        "not_before": 100,
        "not_after": 200,
        "depth": 3,
        "seq": 1,
        "time": 1,
        "authors": (),
        "domain": "shop",
    }
    return Grant(identifier, **{**given, **fields})


def machine_with(*grants: Grant) -> Any:
    view = GrantsView()
    for item in grants:
        view.note(GRANT_PREFIX + item.id, encode_record(item))
    return SimpleNamespace(state=SimpleNamespace(grants=view))


def ask(*grants: Grant, wall: int = 150, reach: Reach = REACH) -> Any:
    return check_grant(machine_with(*grants), reach, wall=wall)


@pytest.mark.parametrize(
    ("wall", "reason", "expires"),
    [
        (99, Reason.GRANT_MISSING, None),
        (100, None, 200),
        (199, None, 200),
        (200, Reason.GRANT_EXPIRED, None),
        (10_000, Reason.GRANT_EXPIRED, None),
    ],
)
def test_time_table(wall: int, reason: Reason | None, expires: int | None) -> None:
    found = ask(grant(), wall=wall)
    assert (found.reason, found.expires) == (reason, expires)


@pytest.mark.parametrize(
    ("fields", "is_met"),
    [
        ({}, True),
        ({"holder": "As"}, True),
        ({"holder": "B"}, False),
        ({"actions": ("all",)}, True),
        ({"actions": ("stop", "walk")}, False),
        ({"actions": ("stop", "run")}, True),
        ({"resources": ("Ts",)}, True),
        ({"resources": ("U",)}, False),
        ({"domain": "till"}, True),
        ({"domain": "root"}, True),
        ({"domain": "lab"}, False),
        ({"revoked": MARK}, False),
    ],
)
def test_cover_table(fields: dict[str, Any], is_met: bool) -> None:
    found = ask(grant(**fields))
    assert found.reason is (None if is_met else Reason.GRANT_MISSING)


def test_without_any_grant() -> None:
    assert ask().reason is Reason.GRANT_MISSING


def chain(**top: Any) -> list[Grant]:
    """p → q → g, each as wide as it may be, but for what `top` says of p."""
    return [
        grant("p", **{"holder": "X", **top}),
        grant("q", holder="Y", parent="p", depth=2),
        grant("g", parent="q", depth=1),
    ]


@pytest.mark.clause("2 authorization inheritance")
def test_a_revocation_cascades() -> None:
    assert ask(*chain()).reason is None
    assert ask(*chain(revoked=MARK)).reason is Reason.GRANT_MISSING


@pytest.mark.parametrize(
    ("top", "reason"),
    [
        ({"not_after": 150}, Reason.GRANT_EXPIRED),
        ({"not_after": 151}, None),
        ({"not_before": 151}, Reason.GRANT_MISSING),
        ({"actions": ("stop",)}, Reason.GRANT_MISSING),
        ({"resources": ("U",)}, Reason.GRANT_MISSING),
        ({"domain": "lab"}, Reason.GRANT_MISSING),
    ],
)
def test_every_link_must_count_now(top: dict[str, Any], reason: Reason | None) -> None:
    """Cut short, moved, or out of the group by now: what came of it is narrowed with it."""
    found = ask(*chain(**top))
    assert found.reason is reason
    if reason is None:
        assert found.expires == 151


def test_the_longest_of_several_says_until_when() -> None:
    assert ask(grant("a"), grant("b", not_after=180), grant("c", not_after=170, holder="As")).expires == 200
    assert ask(grant("a", not_after=150), grant("b", not_after=180)).expires == 180
    assert ask(grant("a", not_after=150), grant("b", not_before=151)).reason is Reason.GRANT_EXPIRED


def test_an_ended_grant_that_is_revoked_too_is_missing() -> None:
    assert ask(grant(revoked=MARK), wall=300).reason is Reason.GRANT_MISSING


def reference(grants: dict[str, Grant], reach: Reach, wall: int) -> bool:
    """The rule said again, as dumbly as can be."""

    def counts(item: Grant) -> bool:
        return (
            item.revoked is None
            and item.not_before <= wall < item.not_after
            and bool(set(item.actions) & reach.actions)
            and bool(set(item.resources) & reach.resources)
            and item.domain in reach.path
            and (item.parent is None or counts(grants[item.parent]))
        )

    return any(item.holder in reach.principals and counts(item) for item in grants.values())


def test_random_forests_agree_with_the_reference() -> None:
    rng, seen = random.Random(7), set()
    for _ in range(400):
        grants: dict[str, Grant] = {}
        for number in range(rng.randint(1, 8)):
            grants[str(number)] = grant(
                str(number),
                holder=rng.choice(["A", "As", "B"]),
                actions=tuple(rng.sample(["run", "all", "stop"], rng.randint(1, 3))),
                resources=tuple(rng.sample(["T", "Ts", "U"], rng.randint(1, 3))),
                not_before=rng.randint(90, 120),
                not_after=rng.randint(121, 200),
                domain=rng.choice(["root", "shop", "till", "lab"]),
                parent=rng.choice([None, *grants]),
                revoked=MARK if rng.random() < 0.1 else None,
            )
        for wall in (100, 125, 160):
            found = ask(*grants.values(), wall=wall)
            assert found.is_allow == reference(grants, REACH, wall)
            if found.is_allow:
                assert reference(grants, REACH, found.expires - 1)
                assert not reference(grants, REACH, found.expires) or any(
                    item.not_before > wall for item in grants.values()
                )
            seen.add(found.reason)
    assert seen == {None, Reason.GRANT_MISSING, Reason.GRANT_EXPIRED}


def test_no_order_of_the_records_matters() -> None:
    items = chain()
    assert {ask(*order).expires for order in itertools.permutations(items)} == {200}
