"""Heads and reach of policies, read from Cedar's own trees."""

from __future__ import annotations

import pytest

from govraft.core.policy.buckets import Buckets, keys_of
from govraft.core.policy.engine import policy_tree
from govraft.core.policy.scopes import ANY, entity_reference, read_reach, read_scope


@pytest.mark.parametrize(
    ("head", "keys"),
    [
        ("principal", (ANY,)),
        ('principal == U::"a"', (("eq", "U", "a"),)),
        ('principal in G::"a"', (("in", "G", "a"),)),
        ("principal is N::U", (("is", "N::U", ""),)),
        ('principal is U in G::"a"', (("is", "U", ""),)),
    ],
)
def test_principal_heads(head: str, keys: object) -> None:
    assert read_scope(policy_tree(f"permit ({head}, action, resource);")).principal == keys


@pytest.mark.parametrize(
    ("head", "keys"),
    [
        ("action", (ANY,)),
        ('action == Action::"a"', (("eq", "Action", "a"),)),
        ('action in Action::"a"', (("in", "Action", "a"),)),
        ('action in [Action::"a", Action::"b"]', (("in", "Action", "a"), ("in", "Action", "b"))),
        ("action in []", ()),
    ],
)
def test_action_heads(head: str, keys: object) -> None:
    assert read_scope(policy_tree(f"permit (principal, {head}, resource);")).action == keys


@pytest.mark.parametrize(
    "head",
    [
        None,
        {},
        {"op": "new"},
        {"op": "=="},
        {"op": "in", "slot": "?principal"},
        {"op": "is"},
        {"op": "==", "entity": {"type": 1}},
    ],
)
def test_unknown_head_matches_anything(head: object) -> None:
    assert read_scope({"principal": head}).principal == (ANY,)


def reach(condition: str) -> tuple[set[str], set[str]]:
    found = read_reach(policy_tree(f"permit (principal, action, resource) when {{ {condition} }};"))
    return {name for _, name in found.literals}, set(found.attributes)


@pytest.mark.parametrize(
    ("condition", "literals", "attributes"),
    [
        ('principal == U::"a"', set(), set()),
        ('principal in U::"a"', set(), set()),
        ('principal in [U::"a", U::"b"]', set(), set()),
        ('[U::"a"].contains(principal)', set(), set()),
        ('U::"a" in U::"b"', {"a"}, set()),
        ('U::"a".n == 1', {"a"}, {"n"}),
        ('U::"a" has n', {"a"}, set()),
        ('principal.o.n == U::"a".m', {"a"}, {"o", "n", "m"}),
        ('principal in U::"a".o', {"a"}, {"o"}),
        ('principal is U in U::"a".o', {"a"}, {"o"}),
        ('(if true then U::"a" else U::"b").n == 1', {"a", "b"}, {"n"}),
        ('(if true then U::"a" else U::"b") == principal', {"a", "b"}, set()),
        ('{x: U::"a"}.x.n == 1', {"a"}, {"x", "n"}),
        ('{"==": U::"a"}["=="].n == 1', {"a"}, {"==", "n"}),
        ('{"in": U::"a"}["in"].n == 1', {"a"}, {"in", "n"}),
        ('{"Set": U::"a"}["Set"].n == 1', {"a"}, {"Set", "n"}),
        ('{"Value": U::"a"}["Value"].n == 1', {"a"}, {"Value", "n"}),
        ('{"Record": U::"a"}["Record"].n == 1', {"a"}, {"Record", "n"}),
        ('[U::"a".o].contains(principal)', {"a"}, {"o"}),
        ("principal has o.n && principal.o.n == 1", set(), {"o", "n"}),
    ],
)
def test_reach(condition: str, literals: set[str], attributes: set[str]) -> None:
    found = reach(condition)
    assert literals <= found[0]
    assert attributes <= found[1]


def test_reach_leaves_out_what_is_only_compared() -> None:
    assert reach('principal == U::"a" && principal in [U::"b"] && [U::"c"].contains(resource)') == (set(), set())


@pytest.mark.parametrize("value", [1, "U", [], {}, {"type": "U"}, {"type": 1, "id": "a"}, {"type": "a b", "id": "a"}])
def test_no_reference(value: object) -> None:
    assert entity_reference(value) is None


def test_buckets_follow_groups_of_actions() -> None:
    texts = {
        "all": "permit (principal, action, resource);",
        "group": 'permit (principal, action in Action::"g", resource);',
        "list": 'permit (principal, action in [Action::"b", Action::"top"], resource);',
        "other": 'permit (principal, action == Action::"b", resource);',
        "principal": 'permit (principal in G::"x", action, resource);',
        "resource": "permit (principal, action, resource is R);",
    }
    parents = {("Action", "a"): [("Action", "g")], ("Action", "g"): [("Action", "top")], ("Action", "b"): []}
    buckets = Buckets({name: read_scope(policy_tree(text)) for name, text in texts.items()}, parents)
    user, resource = keys_of(("U", "u"), []), keys_of(("S", "s"), [])
    assert buckets.candidates(user, ("Action", "a"), resource) == {"all", "group", "list"}
    assert buckets.candidates(user, ("Action", "b"), resource) == {"all", "list", "other"}
    assert buckets.candidates(user, ("Action", "unknown"), resource) == {"all"}
    member = keys_of(("U", "u"), [("G", "x")])
    assert buckets.candidates(member, ("Action", "unknown"), keys_of(("R", "r"), [])) == {
        "all",
        "principal",
        "resource",
    }
