"""Requests that are small on the wire and costly to decide: refused before they cost anything."""

from __future__ import annotations

import time

import pytest

from govraft.core.machine.policies import policy_id
from govraft.core.model.limits import CONTEXT_VALUES
from govraft.core.model.request import Request
from govraft.core.policy.compiled import CompiledPolicies

SCHEMA = (
    "entity Agent; entity Tool; action use appliesTo"
    " { principal: [Agent], resource: [Tool], context: { items: Set<Long>, nested?: Set<Set<Long>> } };"
)
POLICY = 'permit (principal, action == Action::"use", resource);'


@pytest.fixture(scope="module")
def policies() -> CompiledPolicies:
    return CompiledPolicies.compile(SCHEMA, {policy_id(POLICY).hex(): POLICY})


def ask(policies: CompiledPolicies, context: dict[str, object]) -> tuple[str, tuple[str, ...]]:
    request = Request(principal='Agent::"a"', action='Action::"use"', resource='Tool::"t"', context=context)
    decision = policies.evaluate(request, {})
    return decision.effect, tuple(decision.errors)


def test_the_number_of_values_has_a_limit(policies: CompiledPolicies) -> None:
    """The list itself is one of the values."""
    assert ask(policies, {"items": [1] * (CONTEXT_VALUES - 1)})[0] == "allow"
    effect, errors = ask(policies, {"items": [1] * CONTEXT_VALUES})
    assert (effect, f"more than {CONTEXT_VALUES} values" in errors[0]) == ("invalid", True)


def test_a_request_of_many_values_is_refused_in_no_time(policies: CompiledPolicies) -> None:
    """64 KiB of empty lists took 35 ms to look through, in which nobody else was served."""
    fat: dict[str, object] = {"items": [1], "nested": [[] for _ in range(60_000)]}
    took_s = []
    for _ in range(5):
        began = time.perf_counter()
        effect, _ = ask(policies, fat)
        took_s.append(time.perf_counter() - began)
        assert effect == "invalid"
    assert min(took_s) < 0.005
