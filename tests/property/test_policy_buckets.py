"""Buckets and slices never change a decision: random bundles, worlds and requests against the whole, unfiltered set.

The reference gives Cedar every policy and every entity. Compared are the effect, the determining policies and the
presence of errors. Policies are built so that errors happen: overflow, and references to entities that do not exist.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, NamedTuple

import cedarpy
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from govraft.core.model.request import Request
from govraft.core.policy import engine
from govraft.core.policy.compiled import CompiledPolicies

SCHEMA = """
entity G in [G];
entity U in [G] = {n: Long, friend: U, teams: Set<G>, meta: {lead: U, home: G}};
entity R in [G] = {owner: U, n: Long, home: G};
action top;
action mid in [top];
action a in [mid] appliesTo {principal: [U], resource: [R], context: {x: Long, by: U, info: {by: U}}};
action b in [top] appliesTo {principal: [U], resource: [R], context: {x: Long, by: U, info: {by: U}}};
action c appliesTo {principal: [U], resource: [R], context: {x: Long, by: U, info: {by: U}}};
"""
HANDLE = cedarpy.Schema.from_str(SCHEMA)


class Entity(NamedTuple):
    uid: str
    attrs: dict[str, Any]
    parents: tuple[str, ...]


def uid(kind: str, numbers: st.SearchStrategy[int]) -> st.SearchStrategy[str]:
    return numbers.map(lambda number: f'{kind}::"{number}"')


NUMBERS = st.integers(0, 5)
USERS, GROUPS, RESOURCES = (uid(kind, NUMBERS) for kind in "UGR")
ACTIONS = st.sampled_from(["a", "b", "c"])


def reference(text: str) -> dict[str, Any]:
    kind, name = text.split("::")
    return {"__entity": {"type": kind, "id": json.loads(name)}}


def head(variable: str, kind: str, own: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.just(variable),
        own.map(lambda text: f"{variable} == {text}"),
        own.map(lambda text: f"{variable} in {text}"),
        GROUPS.map(lambda text: f"{variable} in {text}"),
        st.just(f"{variable} is {kind}"),
        GROUPS.map(lambda text: f"{variable} is {kind} in {text}"),
    )


ACTION_HEADS = st.sampled_from(
    ["action"]
    + [f'action == Action::"{name}"' for name in "abc"]
    + [f'action in Action::"{name}"' for name in ("a", "mid", "top")]
    + ['action in [Action::"a", Action::"c"]', 'action in [Action::"mid"]']
)


@st.composite
def people(draw: st.DrawFn, depth: int = 2) -> str:
    """An expression of type U."""
    start = draw(st.one_of(st.sampled_from(["principal", "resource.owner", "context.by", "context.info.by"]), USERS))
    if depth and draw(st.integers(0, 5)) == 0:
        start = f"(if {draw(conditions(depth=0))} then {start} else {draw(people(depth=0))})"
    if depth and draw(st.integers(0, 5)) == 0:
        start = "{friend: " + start + "}.friend"
    return start + "".join(draw(st.lists(st.sampled_from([".friend", ".meta.lead"]), max_size=2)))


@st.composite
def conditions(draw: st.DrawFn, depth: int = 1) -> str:
    """An expression of type Bool."""
    who = draw(people(depth=depth))
    other, group = draw(people(depth=depth)), draw(GROUPS)
    number = draw(st.sampled_from(["0", "1", "2", "9223372036854775807"]))
    plain = draw(
        st.sampled_from(
            [
                f"{who}.n + {number} > 2",
                f"context.x + {number} > 2",
                f"{who} == {other}",
                f"{who} in {group}",
                f"{who} in {other}",
                f"{who} in [{group}, {other}.meta.home]",
                f"{who} in {other}.teams",
                f"{who} in resource.home",
                f"{who}.teams.contains({group})",
                f"{who}.meta == {other}.meta",
                f"{group} in {who}.meta.home",
                f"resource in {group}",
                f"{who} is U in {other}.meta.home",
                f"{who} has n",
                'action in Action::"top"',
                "true",
            ]
        )
    )
    if depth:
        return draw(st.sampled_from(["{0}", "!({0})", "{0} && {1}", "{0} || {1}"])).format(
            plain, draw(conditions(depth=0))
        )
    return plain


@st.composite
def policies(draw: st.DrawFn) -> str:
    effect = draw(st.sampled_from(["permit", "permit", "permit", "forbid"]))
    heads = draw(head("principal", "U", USERS)), draw(ACTION_HEADS), draw(head("resource", "R", RESOURCES))
    clause = draw(st.sampled_from(["when", "unless"]))
    return f"{effect} ({', '.join(heads)}) {clause} {{ {draw(conditions())} }};"


@st.composite
def worlds(draw: st.DrawFn) -> dict[str, Entity]:
    made: dict[str, Entity] = {}

    def above(number: int) -> tuple[str, ...]:  # Only groups with a greater number: no cycles.
        return tuple(f'G::"{up}"' for up in range(number, 6) if draw(st.integers(0, 3)) == 0)

    for number in range(6):
        if draw(st.integers(0, 4)):
            name = f'U::"{number}"'
            links = {"lead": reference(draw(USERS)), "home": reference(draw(GROUPS))}
            teams = [reference(team) for team in draw(st.lists(GROUPS, max_size=2, unique=True))]
            attrs = {"n": draw(st.integers(0, 3)), "friend": reference(draw(USERS)), "teams": teams, "meta": links}
            made[name] = Entity(name, attrs, above(0))
        if draw(st.integers(0, 4)):
            name = f'G::"{number}"'
            made[name] = Entity(name, {}, above(number + 1))
        if draw(st.integers(0, 4)):
            name = f'R::"{number}"'
            attrs = {"owner": reference(draw(USERS)), "n": 1, "home": reference(draw(GROUPS))}
            made[name] = Entity(name, attrs, above(0))
    return made


@st.composite
def requests(draw: st.DrawFn) -> Request:
    context = {"x": draw(st.integers(0, 3)), "by": reference(draw(USERS)), "info": {"by": reference(draw(USERS))}}
    return Request(draw(USERS), f'Action::"{draw(ACTIONS)}"', draw(RESOURCES), context)


def whole(
    trees: dict[str, dict[str, Any]], world: dict[str, Entity], request: Request
) -> tuple[str, frozenset[str], bool]:
    """What Cedar says when nothing is left out."""

    def pair(text: str) -> dict[str, Any]:
        found: dict[str, Any] = reference(text)["__entity"]
        return found

    document = [
        {"uid": pair(entity.uid), "attrs": entity.attrs, "parents": [pair(up) for up in entity.parents]}
        for entity in world.values()
    ]
    result = cedarpy.is_authorized(
        {
            "principal": request.principal,
            "action": request.action,
            "resource": request.resource,
            "context": request.context,
        },
        engine.parse_policies(trees),
        cedarpy.Entities.from_json_str(json.dumps(document), HANDLE),
        HANDLE,
    )
    return result.decision.value, frozenset(result.diagnostics.reasons), bool(result.diagnostics.errors)


@settings(
    max_examples=120,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
@given(
    st.lists(policies(), min_size=1, max_size=8, unique=True), worlds(), st.lists(requests(), min_size=1, max_size=8)
)
def test_nothing_left_out_changes_a_decision(texts: list[str], world: dict[str, Entity], asked: list[Request]) -> None:
    # An action or resource that no policy can meet makes the type checker refuse it: such a policy decides nothing.
    bundle = {hashlib.sha256(text.encode()).hexdigest(): text for text in texts if not engine.validate(text, HANDLE)}
    trees = {policy_id: engine.policy_tree(text) for policy_id, text in bundle.items()}
    compiled = CompiledPolicies.compile(SCHEMA, bundle)
    for request in asked:
        decision, reasons, failed = whole(trees, world, request)
        found = compiled.evaluate(request, world)
        event(f"{found.effect} of {min(len(bundle), 4)}+ policies")
        assert bool(found.errors) == failed
        assert frozenset(found.policies) == reasons
        assert (found.effect == "allow") == (decision == "Allow" and not failed)
        if found.effect == "deny":
            assert decision == "Deny"
        assert compiled.evaluate(request, dict(world)) == found  # From the cache.
