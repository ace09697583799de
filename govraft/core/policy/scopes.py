"""What a policy's syntax tree says about where it can apply and which entities it can look into.

`read_scope` reads the head (`principal`, `action`, `resource`); `read_reach` reads the conditions. Both serve to
leave things out of an evaluation, so both must err on the side of keeping too much.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from govraft.core.model.ids import is_entity_type

__all__ = ["ANY", "Key", "Reach", "Scope", "UidPair", "entity_reference", "read_reach", "read_scope"]

UidPair = tuple[str, str]
"""An entity uid as (type, id)."""

Key = tuple[str, str, str]
"""What a scope asks of an entity: ("any", "", ""), ("is", type, ""), ("eq", type, id) or ("in", type, id)."""

ANY: Key = ("any", "", "")


class Scope(NamedTuple):
    """A policy's head. It can match only a request for which each part holds one of these keys."""

    principal: tuple[Key, ...]
    action: tuple[Key, ...]
    resource: tuple[Key, ...]


class Reach(NamedTuple):
    """What a policy's conditions can look into.

    Attributes:
        literals: Entities named in the conditions whose attributes or ancestors may be asked for.
        attributes: Names of attributes that are read; no other attribute can lead to a further entity.
    """

    literals: frozenset[UidPair]
    attributes: frozenset[str]


def read_scope(tree: Mapping[str, Any]) -> Scope:
    """The head of a policy in Cedar's JSON form. A head this code does not know reads as "applies anywhere"."""
    return Scope(*(_scope_keys(tree.get(part)) for part in ("principal", "action", "resource")))


def _scope_keys(head: object) -> tuple[Key, ...]:
    # SAFETY: what is not understood must widen to ANY; test_policy_scopes.py::test_unknown_head_matches_anything.
    if not isinstance(head, Mapping):
        return (ANY,)
    operator = head.get("op")
    if operator == "is" and isinstance(head.get("entity_type"), str):
        # `is T in E` is read as `is T`: the group only narrows it further.
        return (("is", head["entity_type"], ""),)
    if operator not in {"==", "in"}:
        return (ANY,)
    targets = head["entities"] if "entities" in head else [head.get("entity")]
    pairs = [entity_reference(target) for target in targets]
    kind = "eq" if operator == "==" else "in"
    return tuple((kind, *pair) for pair in pairs if pair is not None) if None not in pairs else (ANY,)


def entity_reference(value: object) -> UidPair | None:
    """The entity that a JSON value refers to, in either spelling: `{"__entity": {…}}` or bare `{"type", "id"}`."""
    if not isinstance(value, dict):
        return None
    inner = value.get("__entity", value)
    if isinstance(inner, dict):
        type_name, name = inner.get("type"), inner.get("id")
        if isinstance(type_name, str) and isinstance(name, str) and is_entity_type(type_name):
            return type_name, name
    return None


def read_reach(tree: Mapping[str, Any]) -> Reach:
    """The reach of a policy in Cedar's JSON form.

    Cedar looks into an entity only to read an attribute, for `has`, or for ancestors on the left of `in`. An entity
    that is merely compared, is an element of a set, or stands on the right of `in` is never looked into.
    """
    literals: set[UidPair] = set()
    attributes: set[str] = set()
    stack: list[Any] = list(tree.get("conditions", ()))
    while stack:
        node = stack.pop()
        if isinstance(node, list):
            stack.extend(node)
        elif isinstance(node, Mapping):
            for operator, operand in node.items():
                reference = entity_reference(operand) if operator == "Value" else None
                if reference is not None:
                    literals.add(reference)
                if operator == "." and isinstance(operand, Mapping):
                    attributes.add(str(operand.get("attr")))
                stack.extend(_looked_into(operator, operand))
    return Reach(frozenset(literals), frozenset(attributes))


def _looked_into(operator: str, operand: Any) -> Iterable[object]:
    """The parts of one node that may hold an entity that is looked into."""
    if operator == "Record":
        return list(operand.values())  # Its keys are names chosen by the author, not operators.
    if operator in {"==", "!="}:
        return [side for side in operand.values() if not _is_literal(side)]
    if operator == "in" and "left" in operand:
        return [operand["left"], *(side for side in [operand.get("right")] if not _is_literal(side))]
    if operator == "Set":
        return [element for element in operand if not _is_literal(element)]
    return [operand]


def _is_literal(node: object) -> bool:
    return isinstance(node, Mapping) and node.keys() == {"Value"} and entity_reference(node["Value"]) is not None
