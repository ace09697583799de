"""Entity commands: accept, reject and boundary cases."""

from __future__ import annotations

from typing import Any

import pytest

from govraft.core.machine.records import Entity
from govraft.core.model import limits
from govraft.core.model.commands import EntityDelete, EntityFields, EntityPatch, EntityPut

A, B, TEAM = 'Agent::"a"', 'Agent::"b"', 'Team::"t"'


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def patch(bench: Any, uid: str = A, **fields: Any) -> str:
    defaults: dict[str, Any] = {"set": {}, "unset": (), "add_parents": (), "remove_parents": ()}
    code: str = bench.do(bench.command(EntityPatch, uid=uid, **{**defaults, **fields}))
    return code


def test_put_creates_and_replaces(bench: Any) -> None:
    assert bench.put((A, {"level": 1}, (TEAM,)), (B, {}, ())) == "applied"
    assert dict(bench.machine.entities) == {A: Entity(A, {"level": 1}, (TEAM,)), B: Entity(B, {}, ())}
    kept = bench.machine.entities[B]
    assert bench.put((A, {"name": "x"}, ())) == "applied"
    assert bench.machine.entities[A] == Entity(A, {"name": "x"}, ())
    # Readers compare by identity: what did not change is the same object, even when it was put again.
    assert bench.put((B, {}, ())) == "applied"
    assert bench.machine.entities[B] is kept


@pytest.mark.clause("7 no partial governance acceptance")
def test_put_is_all_or_nothing(bench: Any) -> None:
    before = bench.machine.sections["entities"]
    assert bench.put((A, {}, ()), (B, {"x": None}, ())) == "entity_invalid"
    assert bench.machine.sections["entities"] == before
    assert A not in bench.machine.entities


@pytest.mark.parametrize(
    ("uid", "parents", "code"),
    [
        ("Agent", (), "entity_invalid"),
        ('Action::"run"', (), "entity_invalid"),
        (A, ('Action::"run"',), "entity_invalid"),
        (A, ("x",), "entity_invalid"),
        (A, (TEAM, TEAM), "entity_invalid"),
        (A, (TEAM, 'Team::"\\x74"'), "entity_invalid"),
        (A, (A,), "entity_cycle"),
        (A, tuple(f'Team::"{n}"' for n in range(limits.ENTITY_PARENTS)), "applied"),
        (A, tuple(f'Team::"{n}"' for n in range(limits.ENTITY_PARENTS + 1)), "limit_exceeded"),
    ],
)
def test_uids_and_parents_table(bench: Any, uid: str, parents: tuple[str, ...], code: str) -> None:
    assert bench.put((uid, {}, parents)) == code


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (True, "applied"),
        (2**63 - 1, "applied"),
        (-(2**63), "applied"),
        ("text é", "applied"),
        ([], "applied"),
        ([1, "a", {"b": []}], "applied"),
        ({"__entity": {"type": "A::B", "id": 'any"thing'}}, "applied"),
        ([{"__extn": {"fn": "ip", "arg": "10.0.0.1"}}], "applied"),
        ({"__extn": {"fn": "decimal", "arg": "1.5"}}, "applied"),
        ({"type": "A", "id": "x"}, "applied"),
        (deep(limits.ENTITY_DEPTH - 1), "applied"),
        (deep(limits.ENTITY_DEPTH), "limit_exceeded"),
        (None, "entity_invalid"),
        ([None], "entity_invalid"),
        (2**63, "entity_invalid"),
        ({"__entity": "x"}, "entity_invalid"),
        ({"__entity": {"type": "A"}}, "entity_invalid"),
        ({"__entity": {"type": "A", "id": 1}}, "entity_invalid"),
        ({"__entity": {"type": "in", "id": "x"}}, "entity_invalid"),
        ({"__entity": {"type": "A", "id": "x" * limits.ENTITY_UID_CHARS}}, "entity_invalid"),
        ({"__entity": {"type": "A", "id": "x", "more": "y"}}, "entity_invalid"),
        ({"__entity": {"type": "A", "id": "x"}, "more": 1}, "entity_invalid"),
        ({"__extn": {"fn": "exec", "arg": "x"}}, "entity_invalid"),
        ({"__extn": {"fn": "ip", "arg": "x"}, "__entity": {"type": "A", "id": "x"}}, "entity_invalid"),
        ({"__expr": "1 + 1"}, "entity_invalid"),
        ({"a": [{"__expr": "1"}]}, "entity_invalid"),
    ],
)
def test_attributes_table(bench: Any, value: object, code: str) -> None:
    assert bench.put((A, {"x": value}, ())) == code
    if code == "applied":
        assert bench.machine.entities[A].attrs == {"x": value}
        assert bench.put((B, {}, ())) == "applied"
        assert patch(bench, B, set={"y": value}) == "applied"
    else:
        assert bench.put((B, {}, ())) == "applied"
        assert patch(bench, B, set={"y": value}) == code


@pytest.mark.parametrize("name", ["__entity", "__extn", "__expr"])
def test_escapes_are_no_attribute_names(bench: Any, name: str) -> None:
    assert bench.put((A, {name: {"type": "A", "id": "x"}}, ())) == "entity_invalid"


def test_uids_are_canonical(bench: Any) -> None:
    assert bench.put(('Agent::"\\u{61}"', {}, ('Team::"\\x74"',))) == "applied"
    assert bench.machine.entities[A] == Entity(A, {}, (TEAM,))
    assert bench.put((A, {}, ()), ('Agent::"\\x61"', {}, ())) == "entity_invalid"
    assert patch(bench, 'Agent::"\\x61"', set={"x": 1}) == "applied"
    assert bench.do(bench.command(EntityDelete, uids=('Agent::"\\x61"',))) == "applied"
    assert not bench.machine.entities


def test_parents_have_one_order(bench: Any) -> None:
    assert bench.put((A, {}, ('T::"2"', 'T::"1"', 'T::"3"'))) == "applied"
    assert bench.machine.entities[A].parents == ('T::"1"', 'T::"2"', 'T::"3"')
    before = bench.machine.sections["entities"]
    assert bench.put((A, {}, ('T::"3"', 'T::"2"', 'T::"1"'))) == "applied"
    assert bench.machine.sections["entities"] == before


def test_patch(bench: Any) -> None:
    assert bench.put((A, {"x": 1, "y": 2}, (TEAM,))) == "applied"
    assert (
        patch(bench, set={"x": 3, "z": 4}, unset=("y",), add_parents=('Team::"u"',), remove_parents=(TEAM,))
        == "applied"
    )
    assert bench.machine.entities[A] == Entity(A, {"x": 3, "z": 4}, ('Team::"u"',))


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "entity_invalid"),
        ({"uid": B, "set": {"x": 1}}, "entity_unknown"),
        ({"uid": "nobody", "set": {"x": 1}}, "entity_invalid"),
        ({"unset": ("missing",)}, "entity_invalid"),
        ({"unset": ("x", "x")}, "entity_invalid"),
        ({"set": {"x": 1}, "unset": ("x",)}, "entity_invalid"),
        ({"add_parents": (TEAM,)}, "entity_invalid"),
        ({"remove_parents": ('Team::"u"',)}, "entity_invalid"),
        ({"add_parents": (A,)}, "entity_cycle"),
        ({"add_parents": ('Team::"u"', 'Team::"u"')}, "entity_invalid"),
        ({"set": {"x": 1}}, "applied"),
    ],
)
def test_patch_table(bench: Any, fields: dict[str, Any], code: str) -> None:
    assert bench.put((A, {"x": 1}, (TEAM,))) == "applied"
    assert patch(bench, **fields) == code


def test_delete(bench: Any) -> None:
    assert bench.put((A, {}, (TEAM,)), (B, {}, ()), (TEAM, {}, ())) == "applied"
    before = bench.machine.sections["entities"]
    for uids, code in [((A, 'Agent::"c"'), "entity_unknown"), ((A, A), "entity_invalid"), (("x",), "entity_invalid")]:
        assert bench.do(bench.command(EntityDelete, uids=uids)) == code
    assert bench.machine.sections["entities"] == before
    assert bench.do(bench.command(EntityDelete, uids=(A, TEAM))) == "applied"
    assert list(bench.machine.entities) == [B]
    assert bench.put((A, {}, (TEAM,)), (TEAM, {}, ())) == "applied"
    assert bench.machine.sections["entities"] == before


def test_limits(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fits = limits.ENTITY_BYTES - 100
    assert bench.put((A, {"x": "y" * fits}, ())) == "applied"
    assert patch(bench, set={"z": "y" * 200}) == "limit_exceeded"
    assert bench.put((B, {"x": "y" * limits.ENTITY_BYTES}, ())) == "limit_exceeded"
    monkeypatch.setattr(limits, "ENTITIES", 2)
    assert bench.put((B, {}, ())) == "applied"
    assert bench.put((TEAM, {}, ())) == "limit_exceeded"
    assert bench.put((A, {}, ()), (B, {}, ())) == "applied"
    monkeypatch.setattr(limits, "ENTITIES_PER_COMMAND", 1)
    both = tuple(EntityFields(uid, {}, ()) for uid in (A, B))
    assert bench.do(bench.command(EntityPut, entities=both)) == "limit_exceeded"
    assert bench.do(bench.command(EntityDelete, uids=(A, B))) == "limit_exceeded"
