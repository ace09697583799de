"""Boundaries: every way to set one, and to take it away."""

from __future__ import annotations

from typing import Any

import pytest

from govraft.core.machine.boundary_view import BoundariesView
from govraft.core.machine.domain_view import DOMAIN_PREFIX, Domain
from govraft.core.machine.state import Changes
from govraft.core.model import limits
from govraft.core.model.commands import BoundaryRemove, BoundarySet, Rate, Window

WORK = Window((0, 1, 2, 3, 4), 540, 1020)


@pytest.fixture
def shop(bench: Any) -> Any:
    changes = Changes()
    changes.put("domains", DOMAIN_PREFIX + "shop", Domain("shop", "root", 1, 1, ()))
    bench.machine.state.commit(changes)
    return bench


def put(bench: Any, identifier: str = "b", *authors: str, **fields: Any) -> str:
    code: str = bench.do(bench.command(BoundarySet, id=identifier, **fields), *authors)
    return code


def remove(bench: Any, identifier: str = "b", *authors: str, **fields: Any) -> str:
    code: str = bench.do(bench.command(BoundaryRemove, id=identifier, **fields), *authors)
    return code


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"level_max": 3}, "applied"),
        ({"level_max": 0}, "applied"),
        ({"level_max": -1}, "payload_malformed"),
        ({"level_max": 1_001}, "payload_malformed"),
        ({}, "boundary_invalid"),
        ({"subject": 'Agent::"a"'}, "boundary_invalid"),
        ({"regions": ("eu", "us")}, "applied"),
        ({"regions": ("eu", "eu")}, "boundary_invalid"),
        ({"regions": ("",)}, "payload_malformed"),
        ({"regions": tuple(map(str, range(limits.BOUNDARY_REGIONS)))}, "applied"),
        ({"regions": tuple(map(str, range(limits.BOUNDARY_REGIONS + 1)))}, "payload_malformed"),
        ({"rate": Rate(1, 1)}, "applied"),
        ({"rate": Rate(0, 1)}, "payload_malformed"),
        ({"rate": Rate(1, 0)}, "payload_malformed"),
        ({"rate": Rate(1, 86_401)}, "payload_malformed"),
        ({"windows": (WORK,)}, "applied"),
        ({"windows": (Window((0,), 0, 1_440),)}, "applied"),
        ({"windows": (Window((0,), 0, 1_441),)}, "payload_malformed"),
        ({"windows": (Window((7,), 0, 1),)}, "payload_malformed"),
        ({"windows": (Window((), 0, 1),)}, "payload_malformed"),
        ({"windows": (Window((0, 0), 0, 1),)}, "boundary_invalid"),
        ({"windows": (Window((1, 0), 0, 1),)}, "boundary_invalid"),
        ({"windows": (WORK, Window((0,), 5, 5))}, "boundary_invalid"),
        ({"windows": (WORK,) * (limits.BOUNDARY_WINDOWS + 1)}, "payload_malformed"),
        ({"level_max": 1, "subject": 'Action::"run"'}, "boundary_invalid"),
        ({"level_max": 1, "subject": "x"}, "boundary_invalid"),
        ({"level_max": 1, "action": 'Agent::"a"'}, "boundary_invalid"),
        ({"level_max": 1, "action": 'Fleet::Action::"a"', "subject": 'Group::"g"'}, "applied"),
        ({"level_max": 1, "domain": "shop"}, "applied"),
        ({"level_max": 1, "domain": "moon"}, "domain_unknown"),
        ({"level_max": 1, "id": "a/b"}, "payload_malformed"),
    ],
)
def test_set_table(shop: Any, fields: dict[str, Any], code: str) -> None:
    fields = dict(fields)
    assert put(shop, fields.pop("id", "b"), **fields) == code
    assert len(shop.machine.state.boundaries) == (code == "applied")


def test_a_boundary_says_what_and_by_whom(shop: Any) -> None:
    assert put(shop, regions=("us", "eu"), subject='Agent::"\\u{61}"', domain="shop") == "applied"
    found = shop.machine.state.boundaries.of("shop")["b"]
    assert (found.subject, found.regions, found.action) == ('Agent::"a"', ("eu", "us"), None)
    assert (found.seq, found.time, found.authors) == (shop.machine.seq, shop.time, ("olga",))


def test_who_may_set_and_remove(shop: Any) -> None:
    assert put(shop, "b", "pat", level_max=1) == "threshold_unmet"
    assert put(shop, "b", "oscar", level_max=1) == "applied"
    assert remove(shop, "b", "pat") == "threshold_unmet"
    assert remove(shop, "b", "olga") == "applied"


def test_set_again_replaces(shop: Any) -> None:
    assert put(shop, level_max=1) == "applied"
    assert put(shop, rate=Rate(5, 60)) == "applied"
    found = shop.machine.state.boundaries.of("root")["b"]
    assert (found.level_max, found.rate) == (None, Rate(5, 60))
    assert len(shop.machine.state.boundaries) == 1


def test_an_id_is_its_domains_own(shop: Any) -> None:
    before = shop.machine.sections["boundaries"]
    assert put(shop, level_max=1) == "applied"
    assert remove(shop, domain="shop") == "boundary_unknown"
    assert put(shop, level_max=2, domain="shop") == "applied"
    assert [item.level_max for item in shop.machine.state.boundaries.binding(("shop", "root"))] == [2, 1]
    assert remove(shop) == "applied"
    assert remove(shop) == "boundary_unknown"
    assert remove(shop, domain="shop") == "applied"
    assert shop.machine.sections["boundaries"] == before
    assert remove(shop, domain="moon") == "domain_unknown"


def test_limits(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BOUNDARIES_OF_DOMAIN", 2)
    monkeypatch.setattr(limits, "BOUNDARIES", 3)
    assert put(shop, "a", level_max=1) == "applied"
    assert put(shop, "b", level_max=1) == "applied"
    assert put(shop, "c", level_max=1) == "limit_exceeded"
    assert put(shop, "b", level_max=2) == "applied"
    assert put(shop, "a", level_max=1, domain="shop") == "applied"
    assert put(shop, "b", level_max=1, domain="shop") == "limit_exceeded"
    assert put(shop, "a", level_max=2, domain="shop") == "applied"
    assert remove(shop, "a") == "applied"
    assert put(shop, "b", level_max=1, domain="shop") == "applied"


def test_a_restored_view_gives_the_same_order(shop: Any) -> None:
    for name in ("c", "a", "b"):
        assert put(shop, name, level_max=1) == "applied"
    records = shop.machine.records("boundaries")
    view = BoundariesView()
    for key in sorted(records, reverse=True):
        view.note(key, records[key])
    expected = [item.id for item in shop.machine.state.boundaries.binding(("root",))]
    assert [item.id for item in view.binding(("root",))] == expected == ["a", "b", "c"]
