"""The only door to the native Cedar engine.

Two rules hold here and nowhere else:

1. Nothing of `cedarpy` leaks: each of its failures, a panic of its native code included, becomes an `EngineError`.
2. An answer is taken at its word only when it is a plain `Allow` or `Deny`; whatever else comes back is no decision.

Callers pass only what `hazards` let through: a deep text does not raise here, it kills the process.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import cedarpy

from govraft.errors import InputError

__all__ = [
    "Answer",
    "EngineError",
    "EntitySet",
    "PolicySet",
    "Schema",
    "action_parents",
    "ask",
    "entity_types",
    "explain_entities",
    "parse_entities",
    "parse_policies",
    "parse_schema",
    "policy_tree",
    "validate",
]

Schema = cedarpy.Schema
PolicySet = cedarpy.PolicySet
EntitySet = cedarpy.Entities

_NAMESPACE = re.compile(r"namespace (\S+) \{$")
_ENTITY = re.compile(r"\s*entity (\w+)")
_NO_QUESTION = {"principal": 'A::""', "action": 'A::""', "resource": 'A::""', "context": "{}"}
_ALLOW = cedarpy.Decision.Allow
_DENY = cedarpy.Decision.Deny


class EngineError(InputError):
    """The native engine refused its input, or failed on it."""

    default_code = "engine_refused"


class Answer(NamedTuple):
    """What Cedar said. `decided` is False when it could not even form the request."""

    decided: bool
    allowed: bool
    policies: tuple[str, ...]
    errors: tuple[str, ...]


@contextmanager
def _contained(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise EngineError(f"{what}: {_one_line(error)}") from error
    except BaseException as error:
        # A Rust panic arrives as a BaseException whose class cannot be imported.
        if type(error).__name__ != "PanicException":
            raise
        raise EngineError(f"{what}: the policy engine panicked: {_one_line(error)}") from error


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:1000] or type(error).__name__


def parse_schema(text: str) -> Schema:
    """Parse a schema in Cedar syntax. Raises `EngineError`."""
    with _contained("schema does not parse"):
        return Schema.from_str(text)


def policy_tree(text: str) -> dict[str, Any]:
    """The syntax tree, in Cedar's JSON form, of a text that must hold exactly one static policy.

    Raises:
        EngineError: It does not parse, or holds none, several, or a template.
    """
    with _contained("policy does not parse"):
        parsed = json.loads(cedarpy.policies_to_json_str(text))
        policies, templates = parsed["staticPolicies"], parsed["templates"]
    if templates or len(policies) != 1:
        raise EngineError("a policy text must hold exactly one policy and no template: split it")
    tree: dict[str, Any] = next(iter(policies.values()))
    return tree


def parse_policies(trees: dict[str, dict[str, Any]]) -> PolicySet:
    """A policy set whose policies carry the ids that key `trees`. Raises `EngineError`."""
    with _contained("policies do not load"):
        document = {"templates": {}, "staticPolicies": trees, "templateLinks": []}
        return PolicySet.from_json_str(json.dumps(document))


def validate(text: str, schema: Schema) -> tuple[str, ...]:
    """What the strict type checker says against policies in Cedar syntax; empty when they are well typed.

    Raises:
        EngineError: The text does not parse.
    """
    with _contained("policies do not validate"):
        result = cedarpy.validate_policies(text, schema)
        errors = tuple(" ".join(str(error).split()) for error in result.errors)
        return errors if errors or result.validation_passed else ("the policies are not well typed",)


def parse_entities(document: str, schema: Schema) -> EntitySet:
    """Entities in Cedar's JSON format, checked against the schema, with the schema's actions added.

    Raises:
        EngineError: They do not parse, do not fit the schema, or form a cycle.
    """
    with _contained("entities do not load"):
        return EntitySet.from_json_str(document, schema)


def explain_entities(document: str, schema: Schema) -> str:
    """What Cedar finds wrong with entities that do not load: which of them, which attribute, which type.

    The loader of `parse_entities` keeps that to itself; a question over the same text does not. These words are for
    people who hand entities in: decisions keep those of the loader. Empty if nothing is found.
    """
    with _contained("entities do not load"):
        errors = cedarpy.is_authorized(_NO_QUESTION, "", document, schema).diagnostics.errors
    _, found, words = "".join(errors[:1]).partition(f"{document}: ")
    return " ".join(words.split())[:1000] if found else ""


def action_parents(schema: Schema) -> dict[tuple[str, str], tuple[tuple[str, str], ...]]:
    """Each action that the schema declares, as (type, id), with the action groups directly above it."""
    with _contained("schema has no readable actions"):
        entities = json.loads(str(EntitySet.from_json_str("[]", schema)))
        return {
            (entity["uid"]["type"], entity["uid"]["id"]): tuple((up["type"], up["id"]) for up in entity["parents"])
            for entity in entities
        }


def entity_types(schema: Schema) -> set[str]:
    """The names of the entity types that the schema declares, read from the form in which Cedar prints it."""
    with _contained("schema has no readable entity types"):
        found, namespace = set(), ""
        for line in str(schema).splitlines():
            opened = _NAMESPACE.match(line)
            declared = _ENTITY.match(line)
            if opened:
                namespace = f"{opened[1]}::"
            elif line == "}":
                namespace = ""
            elif declared:
                found.add(namespace + declared[1])
        return found


def ask(request: dict[str, Any], policies: PolicySet, entities: EntitySet, schema: Schema) -> Answer:
    """Let Cedar decide one request.

    Args:
        request: `principal`, `action`, `resource` as `{"type", "id"}`, `context` as JSON text.
        policies: Parsed, by id.
        entities: Parsed, all that the policies can look into.
        schema: Parsed; it types the request.

    Raises:
        EngineError: The engine failed. No decision was made.
    """
    try:
        result = cedarpy.is_authorized(request, policies, entities, schema)
        decision, diagnostics = result.decision, result.diagnostics
        errors = tuple(diagnostics.errors)
        # SAFETY: only these two are decisions; test_policy_engine.py::test_no_decision_is_not_decided fails without it.
        return Answer(decision is _ALLOW or decision is _DENY, decision is _ALLOW, tuple(diagnostics.reasons), errors)
    except Exception as error:
        raise EngineError(f"request cannot be evaluated: {_one_line(error)}") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise EngineError(f"the policy engine panicked: {_one_line(error)}") from error
