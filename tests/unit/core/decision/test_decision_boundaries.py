"""Boundaries at the moment of a decision."""

from __future__ import annotations

import datetime as dt
from types import SimpleNamespace
from typing import Any

import pytest

from govraft.core.decision.boundaries import check_boundaries
from govraft.core.decision.finding import Charge
from govraft.core.decision.grants import Reach
from govraft.core.machine.boundary_view import BoundariesView, Boundary, boundary_key
from govraft.core.machine.records import encode_record
from govraft.core.model.commands import Rate, Window
from govraft.core.model.reasons import Reason

REACH = Reach(("A", "As"), frozenset({"run", "all"}), frozenset({"T"}), ("shop", "root"))


def at(text: str) -> int:
    return int(dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp() * 1000)


WEDNESDAY = at("2026-11-25T12:00")


def boundary(identifier: str = "b", domain: str = "root", **fields: Any) -> Boundary:
    return Boundary(identifier, domain, 1, 1, (), **fields)


def ask(*boundaries: Boundary, wall: int = WEDNESDAY, context: Any = None, reach: Reach = REACH) -> Any:
    view = BoundariesView()
    for item in boundaries:
        view.note(boundary_key(item.domain, item.id), encode_record(item))
    return check_boundaries(
        SimpleNamespace(state=SimpleNamespace(boundaries=view)), reach, {} if context is None else context, wall=wall
    )


@pytest.mark.parametrize(
    ("when", "ends"),
    [
        ("2026-11-23T09:00", "2026-11-23T17:00"),
        ("2026-11-23T08:59:59.999", None),
        ("2026-11-23T16:59:59.999", "2026-11-23T17:00"),
        ("2026-11-23T17:00", None),
        ("2026-11-27T12:00", "2026-11-27T17:00"),
        ("2026-11-28T12:00", None),
        ("2026-11-29T12:00", "2026-11-30T00:00"),
        ("2026-11-29T23:59:59.999", "2026-11-30T00:00"),
        ("2026-11-30T00:00", None),
        ("1970-01-01T12:00", "1970-01-01T17:00"),
        ("1970-01-03T12:00", None),
    ],
)
def test_windows(when: str, ends: str | None) -> None:
    """Monday to Friday nine to five, and all of Sunday."""
    found = ask(boundary(windows=(Window((0, 1, 2, 3, 4), 540, 1020), Window((6,), 0, 1440))), wall=at(when))
    assert (found.reason, found.expires) == ((None, at(ends)) if ends else (Reason.BOUNDARY_EXCEEDED, None))


def test_of_windows_that_overlap_the_last_end_counts() -> None:
    windows = (Window((2,), 700, 730), Window((2,), 710, 800), Window((2,), 719, 721))
    assert ask(boundary(windows=windows)).expires == at("2026-11-25T13:20")


@pytest.mark.parametrize(
    ("fields", "context", "is_within"),
    [
        ({"regions": ("eu", "us")}, {"region": "eu"}, True),
        ({"regions": ("eu", "us")}, {"region": "eu", "level": "high"}, True),
        ({"regions": ("eu",)}, {}, False),
        ({"regions": ("eu",)}, {"region": "EU"}, False),
        ({"regions": ("eu",)}, {"region": ["eu"]}, False),
        ({"regions": ("eu",)}, {"region": None}, False),
        ({"regions": ("eu",)}, {"region": {"__extn": {"fn": "x", "arg": "eu"}}}, False),
        ({"level_max": 3}, {"level": 3}, True),
        ({"level_max": 3}, {"level": 0}, True),
        ({"level_max": 3}, {"level": 4}, False),
        ({"level_max": 3}, {"level": -1}, False),
        ({"level_max": 3}, {}, False),
        ({"level_max": 3}, {"level": "3"}, False),
        ({"level_max": 3}, {"level": 2.0}, False),
        ({"level_max": 3}, {"level": True}, False),
        ({"level_max": 3, "regions": ("eu",)}, {"level": 3}, False),
        ({"level_max": 3, "regions": ("eu",)}, {"level": 3, "region": "eu"}, True),
    ],
)
def test_context_table(fields: dict[str, Any], context: dict[str, Any], is_within: bool) -> None:
    assert ask(boundary(**fields), context=context).is_allow == is_within


@pytest.mark.parametrize(
    ("fields", "binds"),
    [
        ({}, True),
        ({"subject": "A"}, True),
        ({"subject": "As"}, True),
        ({"subject": "B"}, False),
        ({"action": "run"}, True),
        ({"action": "all"}, True),
        ({"action": "stop"}, False),
        ({"subject": "A", "action": "stop"}, False),
        ({"domain": "shop"}, True),
        ({"domain": "lab"}, False),
    ],
)
def test_whom_it_binds(fields: dict[str, Any], binds: bool) -> None:
    assert ask(boundary(**{"level_max": 0, **fields}), context={"level": 1}).is_allow is not binds


@pytest.mark.clause("2 execution boundaries")
def test_children_only_narrow() -> None:
    tight, loose = boundary(level_max=1), boundary(domain="shop", level_max=9)
    assert not ask(tight, loose, context={"level": 2}).is_allow
    tight, loose = boundary(domain="shop", level_max=1), boundary(level_max=9)
    assert not ask(tight, loose, context={"level": 2}).is_allow
    assert ask(tight, loose, context={"level": 1}).is_allow
    # A child that names the same id takes nothing away from what is above it.
    loose = boundary(domain="shop", level_max=9)
    assert "of `root`" in ask(boundary(level_max=1), loose, context={"level": 2}).message


def test_the_first_end_of_several_boundaries_counts() -> None:
    found = ask(
        boundary("a", windows=(Window((2,), 0, 800),)),
        boundary("b", windows=(Window((2,), 0, 750),)),
        boundary("c", domain="shop", windows=(Window((2,), 0, 900),)),
    )
    assert found.expires == at("2026-11-25T12:30")


def test_rates_are_charged_to_the_subject() -> None:
    found = ask(
        boundary("a", rate=Rate(5, 60), subject="As"),
        boundary("a", domain="shop", rate=Rate(9, 1)),
        boundary("c", rate=Rate(1, 1), subject="B"),
    )
    assert found.charges == (Charge("shop/a/A", 9, 1), Charge("root/a/A", 5, 60))
    assert found.expires is None


def test_nothing_is_charged_for_a_denial() -> None:
    assert ask(boundary("a", rate=Rate(5, 60)), boundary("b", level_max=1)).charges == ()
