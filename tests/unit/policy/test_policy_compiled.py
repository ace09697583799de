"""Decisions: allow only when Cedar allows and nothing failed, always on the entities of now."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from govraft.core.model import limits
from govraft.core.model.request import Request
from govraft.core.policy import engine, slicing
from govraft.core.policy.bounded_cache import BoundedCache
from govraft.core.policy.compiled import CompiledPolicies, Decision, PolicyCompileError
from govraft.errors import InvariantViolation

SCHEMA = """
entity G in [G];
entity U in [G] = {n: Long, flag: Bool, friend: U, meta: {lead: U}};
entity R = {owner: U};
action group;
action a in [group] appliesTo {principal: [U], resource: [R], context: {x: Long, by?: U, "note"?: String}};
action b appliesTo {principal: [U], resource: [R], context: {}};
"""


class Entity(msgspec.Struct, frozen=True):
    uid: str
    attrs: dict[str, Any] = {}
    parents: tuple[str, ...] = ()


def ref(name: str) -> dict[str, Any]:
    return {"__entity": {"type": "U", "id": name}}


def world(*entities: Entity) -> dict[str, Entity]:
    return {entity.uid: entity for entity in entities}


def user(name: str, n: int = 1, *parents: str, **attrs: Any) -> Entity:
    links = {"friend": ref("w"), "meta": {"lead": ref("w")}}
    return Entity(f'U::"{name}"', {"n": n, "flag": False, **links, **attrs}, parents)


WORLD = world(
    user("u", 1, 'G::"g"', friend=ref("v")),
    user("v", 2),
    user("w", 3),
    Entity('G::"g"', {}, ('G::"h"',)),
    Entity('G::"h"'),
    Entity('R::"r"', {"owner": ref("v")}),
)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def compiled(*texts: str, schema: str = SCHEMA) -> CompiledPolicies:
    return CompiledPolicies.compile(schema, {digest(text): text for text in texts})


def when(condition: str, effect: str = "permit") -> str:
    return f'{effect} (principal, action == Action::"a", resource) when {{ {condition} }};'


def request(
    principal: str = 'U::"u"', action: str = 'Action::"a"', resource: str = 'R::"r"', **context: Any
) -> Request:
    return Request(principal, action, resource, {"x": 1, **context})


ANYTHING = "permit (principal, action, resource);"
OVERFLOW = "context.x + 9223372036854775807 > 0"


def decide(*texts: str, entities: Mapping[str, Entity] = WORLD, **context: Any) -> Decision:
    return compiled(*texts).evaluate(request(**context), entities)


def test_nothing_permits() -> None:
    assert decide() == Decision("deny")


def test_allow_reports_content_digests() -> None:
    assert decide(ANYTHING) == Decision("allow", (digest(ANYTHING),))


def test_a_forbid_overrides() -> None:
    forbid = when("context.x == 1", "forbid")
    assert decide(ANYTHING, forbid) == Decision("deny", (digest(forbid),))
    assert decide(ANYTHING, forbid, x=2).effect == "allow"


def test_erroring_forbid_denies() -> None:
    found = decide(ANYTHING, when(OVERFLOW, "forbid"))
    assert found.effect == "error"
    assert found.errors
    assert digest(when(OVERFLOW, "forbid")) in found.errors[0]


def test_erroring_permit_denies_even_beside_another() -> None:
    assert decide(ANYTHING, when(OVERFLOW)).effect == "error"
    assert decide(when(OVERFLOW)).effect == "error"


def test_a_forbid_stands_beside_an_error() -> None:
    forbid = when("true", "forbid")
    found = decide(ANYTHING, when(OVERFLOW), forbid)
    assert (found.effect, found.policies, len(found.errors)) == ("deny", (digest(forbid),), 1)


def test_an_error_of_another_action_does_not_matter() -> None:
    other = f'permit (principal, action == Action::"b", resource) when {{ 1 + {2**63 - 1} > 0 }};'
    assert decide(ANYTHING, other).effect == "allow"


@pytest.mark.parametrize(
    "condition",
    [
        'principal in G::"g"',
        'principal in G::"h"',
        'action in Action::"group"',
        "principal.friend.n == 2",
        "principal.friend.friend.n == 3",
        "principal.friend.meta.lead.n == 3",
        "resource.owner.friend.n == 3",
        'U::"w".n == 3',
        'U::"u" in G::"h"',
        "context.by.n == 2",
        "context.by.friend.n == 3",
    ],
)
def test_slices_reach_far_enough(condition: str) -> None:
    present = "context has by && " if "context.by" in condition else ""
    assert decide(when(present + condition), by=ref("v")).effect == "allow"


@pytest.mark.parametrize("spelling", [ref("v"), {"type": "U", "id": "v"}])
def test_both_spellings_of_a_reference_in_the_context(spelling: dict[str, Any]) -> None:
    text = when("context has by && context.by.n == 2")
    assert decide(text, by=spelling).effect == "allow"
    assert decide(text, by={**ref("w")}).effect == "deny"


@pytest.mark.parametrize(
    "asked",
    [
        request(action='Action::"none"'),
        request(principal='R::"r"'),
        request(principal='X::"u"'),
        request(principal="u"),
        request(principal='U::"' + "x" * limits.ENTITY_UID_CHARS + '"'),
        request(principal=7),  # type: ignore[arg-type]
        request(principal=["U"]),  # type: ignore[arg-type]
        request(x="1"),
        request(x=True),
        request(x=1.5),
        request(x=None),
        request(x=2**63),
        request(y=1),
        request(note="\ud800"),
        request(note="x" * limits.REQUEST_BYTES),
        request(by={"__entity": {"type": "R", "id": "r"}}),
        request(by=[[[[[[]]]]]] * 3),
        Request('U::"u"', 'Action::"a"', 'R::"r"'),
        Request('U::"u"', 'Action::"a"', 'R::"r"', []),  # type: ignore[arg-type]
        Request('U::"u"', 'Action::"a"', 'R::"r"', None),  # type: ignore[arg-type]
    ],
)
def test_invalid_requests(asked: Request) -> None:
    found = compiled(ANYTHING).evaluate(asked, WORLD)
    assert found.effect == "invalid"
    assert found.errors


@pytest.mark.parametrize(
    "context",
    [
        {"a": 1.5, "b": None},
        {"a": {"__expr": "x"}, "b": 2**70},
        {"a": {"b": [None, {"z": 1.5, "y": 2**64}]}, "b": {"c": 1.5}},
        {"x": 1, "by": {"__extn": {"fn": "nosuch", "arg": "1"}}},
        {"x": "text", "note": 3},
        {"x": 1, "zz": 1, "aa": {"z": 1, "y": 2}},
    ],
)
def test_the_order_of_a_context_changes_no_word_of_the_answer(context: dict[str, Any]) -> None:
    asked, other = (Request('U::"u"', 'Action::"a"', 'R::"r"', spelling) for spelling in (context, backwards(context)))
    decision = compiled(ANYTHING).evaluate(asked, WORLD)
    assert decision.effect == "invalid"
    assert decision == compiled(ANYTHING).evaluate(other, WORLD)


def backwards(value: Any) -> Any:
    """The same value, each map in it in the other order."""
    if isinstance(value, list):
        return [backwards(item) for item in value]
    return {k: backwards(v) for k, v in reversed(value.items())} if isinstance(value, dict) else value


def test_deep_context_is_refused_before_the_engine() -> None:
    value: Any = 1
    for _ in range(100_000):
        value = {"a": value}
    assert compiled(ANYTHING).evaluate(request(by=value), WORLD).effect == "invalid"
    while isinstance(value, dict):  # Freed level by level: letting go of it at once would recurse.
        value = value["a"]


@pytest.mark.parametrize(
    "broken",
    [
        user("u", 1, extra=1),
        user("u", "1"),  # type: ignore[arg-type]
        Entity('U::"u"', {"n": 1}),
        user("u", 1, 'R::"r"'),
        user("u", 1, "nonsense"),
        user("u", 1, friend=object()),
    ],
)
def test_entities_that_do_not_fit_deny(broken: Entity) -> None:
    assert decide(ANYTHING, entities={**WORLD, broken.uid: broken}).effect == "error"


def test_cycles_deny() -> None:
    looped = {**WORLD, 'G::"h"': Entity('G::"h"', {}, ('G::"g"',))}
    assert decide(ANYTHING, entities=looped).effect == "error"


def test_an_action_in_the_entity_map_is_ignored() -> None:
    text = 'permit (principal, action in Action::"group", resource);'
    smuggled = {**WORLD, 'Action::"b"': Entity('Action::"b"', {}, ('Action::"group"',))}
    assert compiled(text).evaluate(Request('U::"u"', 'Action::"b"', 'R::"r"'), smuggled).effect == "deny"


def test_changed_entity_is_seen() -> None:
    bundle = compiled(when("principal.friend.n == 2"), when('principal in G::"h"', "forbid"))
    state = {**WORLD, 'G::"g"': Entity('G::"g"')}
    assert bundle.evaluate(request(), state).effect == "allow"
    state['U::"v"'] = user("v", 5)
    assert bundle.evaluate(request(), state).effect == "deny"
    state['U::"v"'] = user("v", 2)
    assert bundle.evaluate(request(), state).effect == "allow"
    state['G::"g"'] = WORLD['G::"g"']
    assert bundle.evaluate(request(), state).effect == "deny"
    del state['G::"g"']
    assert bundle.evaluate(request(), state).effect == "allow"
    del state['U::"v"']
    assert bundle.evaluate(request(), state).effect == "error"


def test_a_change_of_type_is_seen() -> None:
    bundle = compiled(ANYTHING)
    state: dict[str, Entity] = dict(WORLD)
    assert bundle.evaluate(request(), state).effect == "allow"
    state['U::"u"'] = user("u", True, 'G::"g"', friend=ref("v"))  # Equal to what was there, says Python.
    assert state['U::"u"'] == WORLD['U::"u"']
    assert bundle.evaluate(request(), state).effect == "error"


def test_a_slice_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SLICE_ENTITIES", 3)
    assert decide(when("principal.friend.n == 2")).effect == "error"


def test_caches_stay_within_their_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SLICES_CACHED", 10)
    monkeypatch.setattr(limits, "SLICES_CACHED_ENTITIES", 25)
    bundle = compiled(ANYTHING)
    for number in range(50):
        bundle.evaluate(request(principal=f'U::"{number}"'), WORLD)
        assert len(bundle.caches.slices) <= 10
        assert bundle.caches.slices.weight <= 25


def test_hidden_failures_of_the_engine_deny(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = compiled(ANYTHING)

    def fail(*_: object) -> None:
        raise engine.EngineError("broken")

    monkeypatch.setattr(engine, "ask", fail)
    assert bundle.evaluate(request(), WORLD) == Decision("error", errors=("broken",))


# --- Compiling ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("nonsense;", "policy_invalid"),
        ("permit (principal, action, resource) when { principal.none };", "policy_invalid"),
        ('permit (principal in X::"x", action, resource);', "policy_invalid"),
        ("permit (principal, action, resource) when { true" + " && true" * 100 + " };", "policy_invalid"),
        ("permit (principal, action, resource) when { " + "(" * 40 + "true" + ")" * 40 + " };", "policy_too_deep"),
        (ANYTHING + ANYTHING, "policy_malformed"),
        ("permit (principal == ?principal, action, resource);", "policy_template"),
    ],
)
def test_a_bad_policy_is_named(text: str, code: str) -> None:
    with pytest.raises(PolicyCompileError) as caught:
        compiled(ANYTHING, text)
    assert caught.value.code == code
    assert digest(text)[:12] in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("schema", ["nonsense", "entity U = {", "type A = Set<A>;", "entity U in [None];"])
def test_a_bad_schema(schema: str) -> None:
    with pytest.raises(PolicyCompileError):
        compiled(schema=schema)


def test_ids_must_be_digests() -> None:
    with pytest.raises(PolicyCompileError, match="SHA-256"):
        CompiledPolicies.compile(SCHEMA, {"a" * 64: ANYTHING})


def test_too_many_policies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "POLICIES", 1)
    with pytest.raises(PolicyCompileError) as caught:
        compiled(ANYTHING, when("true"))
    assert caught.value.code == "limit_exceeded"


def test_compiling_on_top_of_an_earlier_bundle() -> None:
    first = compiled(ANYTHING, when("true"))
    forbid = when("context.x == 1", "forbid")
    texts = {digest(text): text for text in (ANYTHING, forbid)}
    second = CompiledPolicies.compile(SCHEMA, texts, previous=first)
    assert len(second) == 2
    assert second.evaluate(request(), WORLD) == Decision("deny", (digest(forbid),))
    assert first.evaluate(request(), WORLD).effect == "allow"
    with pytest.raises(PolicyCompileError):
        CompiledPolicies.compile(SCHEMA, {digest(ANYTHING): forbid}, previous=first)


def test_old_policies_are_checked_against_a_new_schema() -> None:
    first = compiled(when("principal.flag"))
    with pytest.raises(PolicyCompileError):
        CompiledPolicies.compile(
            SCHEMA.replace("flag: Bool, ", ""),
            {digest(text): text for text in [when("principal.flag")]},
            previous=first,
        )


def test_compiled_text_decides_as_the_text() -> None:
    # The tree that is loaded went through JSON; strings that JSON must escape are the risk.
    text = when('context has note && context.note == "a\\"\\\\\\n\\u{1F600}*" && context.note like "a*\\*"')
    assert decide(text, note='a"\\\n😀*').effect == "allow"
    assert decide(text, note='a"\\\n😀').effect == "deny"


# --- The cache ----------------------------------------------------------------------------------------------


def test_cache_lets_go_of_the_least_recently_used() -> None:
    cache: BoundedCache[str, int] = BoundedCache(count_max=2, weight_max=10)
    cache.put("a", 1, weight=1)
    cache.put("b", 2, weight=1)
    assert cache.get("a") == 1
    cache.put("c", 3, weight=1)
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == (1, None, 3)


def test_cache_holds_its_weight() -> None:
    cache: BoundedCache[str, int] = BoundedCache(count_max=9, weight_max=10)
    cache.put("a", 1, weight=6)
    cache.put("a", 2, weight=5)
    assert (len(cache), cache.weight, cache.get("a")) == (1, 5, 2)
    cache.put("b", 3, weight=6)
    assert (len(cache), cache.weight, cache.get("a")) == (1, 6, None)
    cache.put("c", 4, weight=11)
    assert (len(cache), cache.weight, cache.get("c")) == (1, 6, None)
    cache.forget("none")
    assert cache.weight == 6
    with pytest.raises(InvariantViolation):
        BoundedCache(count_max=0, weight_max=1)


def test_references_do_not_follow_sets_or_unread_attributes() -> None:
    value = {"a": ref("x"), "b": [ref("y")], "c": {"a": ref("z")}, "d": ref("q")}
    assert slicing.references(value, frozenset({"a", "b", "c"})) == {("U", "x"), ("U", "z")}
