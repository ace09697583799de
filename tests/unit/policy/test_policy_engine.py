"""The door to Cedar lets no exception and no half answer through."""

from __future__ import annotations

from typing import Any

import cedarpy
import pytest

from govraft.core.policy import engine
from govraft.errors import InvariantViolation

SCHEMA = "entity U; action g; action a in [g] appliesTo {principal: [U], resource: [U], context: {}};"
REQUEST = {
    "principal": {"type": "U", "id": "u"},
    "action": {"type": "Action", "id": "a"},
    "resource": {"type": "U", "id": "u"},
    "context": "{}",
}


class PanicException(BaseException):  # noqa: N818 - the name that the native module uses
    """Stands for a Rust panic."""


def ask(**changes: object) -> engine.Answer:
    schema = engine.parse_schema(SCHEMA)
    policies = engine.parse_policies({"id": engine.policy_tree("permit (principal, action, resource);")})
    return engine.ask({**REQUEST, **changes}, policies, engine.parse_entities("[]", schema), schema)


def test_allow_names_the_policy() -> None:
    assert ask() == engine.Answer(decided=True, allowed=True, policies=("id",), errors=())


@pytest.mark.parametrize(
    "change",
    [
        {"action": {"type": "Action", "id": "none"}},
        {"principal": {"type": "V", "id": "u"}},
        {"principal": {"type": "((", "id": "u"}},
        {"context": '{"x": 1}'},
        {"context": '{"x": {"__expr": "1"}}'},
        {"context": "{"},
    ],
)
def test_no_decision_is_not_decided(change: dict[str, object]) -> None:
    answer = ask(**change)
    assert not answer.decided
    assert not answer.allowed
    assert answer.errors


def test_unreadable_requests_are_refused() -> None:
    with pytest.raises(engine.EngineError):
        ask(principal=7)


@pytest.mark.clause("5 policy engines")
@pytest.mark.parametrize("error", [ValueError("two\nlines"), PanicException("boom"), RuntimeError(), RecursionError()])
def test_failures_are_contained(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(cedarpy, "is_authorized", fail)
    monkeypatch.setattr(cedarpy, "policies_to_json_str", fail)
    for call in (ask, lambda: engine.policy_tree("permit (principal, action, resource);")):
        with pytest.raises(engine.EngineError) as caught:
            call()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), InvariantViolation("broken")])
def test_what_must_not_be_swallowed_is_not(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    schema = engine.parse_schema(SCHEMA)
    policies, entities = engine.parse_policies({}), engine.parse_entities("[]", schema)
    monkeypatch.setattr(cedarpy, "is_authorized", fail)
    monkeypatch.setattr(cedarpy, "validate_policies", fail)
    with pytest.raises(type(error)):
        engine.ask(REQUEST, policies, entities, schema)
    with pytest.raises(type(error)):
        engine.validate("permit (principal, action, resource);", schema)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "permit (principal, action, resource);" * 2,
        "permit (principal == ?principal, action, resource);",
    ],
)
def test_a_tree_is_one_policy(text: str) -> None:
    with pytest.raises(engine.EngineError):
        engine.policy_tree(text)


def test_actions_of_the_schema() -> None:
    parents = engine.action_parents(engine.parse_schema(SCHEMA))
    assert parents == {("Action", "a"): (("Action", "g"),), ("Action", "g"): ()}


def test_validation_is_strict() -> None:
    schema = engine.parse_schema(SCHEMA)
    head = "permit (principal, action, resource) when "
    assert engine.validate(head + "{ true };", schema) == ()
    assert engine.validate(head + "{ principal.none };", schema)
    assert engine.validate(head + "{ [1, true].contains(1) };", schema)


def test_entities_must_fit_the_schema() -> None:
    schema = engine.parse_schema(SCHEMA)
    with pytest.raises(engine.EngineError):
        engine.parse_entities('[{"uid": {"type": "U", "id": "u"}, "attrs": {"x": 1}, "parents": []}]', schema)
