"""Which entities a request can look into: the part of the entity map that Cedar must be given.

A slice starts at the principal, the resource, the entities in the context and the literals of the candidate policies.
From each entity it follows all parents (for `in`) and those attributes that some policy reads. Nothing else can
be reached: Cedar has no way from a set to its elements, none from an entity to its children, and no attribute is read
without its name standing in a policy. tests/property/test_policy_buckets.py compares every decision with the full map.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import msgspec

from govraft.core.model import limits
from govraft.core.model.ids import EntityUid, is_action_type, parse_uid
from govraft.core.policy.scopes import UidPair, entity_reference
from govraft.errors import DecodeError, LimitExceededError

__all__ = [
    "Entity",
    "Slice",
    "ancestors_of",
    "references",
    "slice_entities",
    "still_holds",
    "uid_pair",
    "uid_text",
]


class Entity(Protocol):
    """An entity of the governed world, as the machine keeps it.

    Never changed in place: a change makes a new object, and no change keeps the old one. `uid` and `parents` are
    canonical uid texts; `attrs` is a plain dict in Cedar's JSON format.
    """

    @property
    def uid(self) -> str: ...
    @property
    def attrs(self) -> dict[str, Any]: ...
    @property
    def parents(self) -> Iterable[str]: ...


class Slice(NamedTuple):
    """Entities that a request can reach.

    Attributes:
        consulted: Every uid looked up, with what was found; the slice holds as long as these lookups give the same.
        document: The found entities in Cedar's JSON format.
    """

    consulted: tuple[tuple[str, Entity | None], ...]
    document: str


def still_holds(consulted: tuple[tuple[str, Entity | None], ...], entities: Mapping[str, Entity]) -> bool:
    """Whether each lookup would find the very same object as before.

    Identity, not equality: in Python `True == 1`, so an attribute could change its type unseen.
    """
    lookup = entities.get
    for uid, entity in consulted:  # noqa: SIM110 - a loop costs half of what a generator does, on every check
        if lookup(uid) is not entity:
            return False
    return True


@lru_cache(maxsize=4_096)
def uid_pair(text: str) -> UidPair:
    """(type, id) of a uid's text form. Raises `DecodeError`."""
    uid = parse_uid(text)
    return uid.type, uid.id


@lru_cache(maxsize=4_096)
def uid_text(pair: UidPair) -> str:
    """The canonical text form of (type, id), the key of the entity map."""
    return str(EntityUid(*pair))


def references(value: object, attributes: frozenset[str]) -> set[UidPair]:
    """Entities that a value leads to by reading attributes of these names.

    Args:
        value: A context or an entity's attributes, in Cedar's JSON format.
        attributes: Names that policies read.
    """
    found: set[UidPair] = set()
    stack = [value]
    while stack:
        item = stack.pop()
        if not isinstance(item, dict):
            continue  # Also lists: an element of a set cannot be taken out of it.
        reference = entity_reference(item)
        if reference is not None:
            found.add(reference)
        stack.extend(child for name, child in item.items() if name in attributes)
    return found


def ancestors_of(uid: UidPair, entities: Mapping[str, Entity]) -> set[UidPair]:
    """All entities above one, at any distance. Ends on cycles too.

    Raises:
        LimitExceededError: There are more than `SLICE_ENTITIES`.
    """
    found: set[UidPair] = set()
    stack = [uid]
    while stack:
        entity = entities.get(uid_text(stack.pop()))
        for parent in entity.parents if entity is not None else ():
            pair = uid_pair(parent)
            if pair not in found:
                found.add(pair)
                stack.append(pair)
        _check_size(found)
    return found


def slice_entities(starts: Iterable[UidPair], attributes: frozenset[str], entities: Mapping[str, Entity]) -> Slice:
    """Everything that policies reading only `attributes` can look into from `starts`.

    Raises:
        LimitExceededError: More than `SLICE_ENTITIES` are reachable.
        DecodeError: A stored uid is malformed.
    """
    seen: set[UidPair] = set(starts)
    stack = sorted(seen)
    consulted: list[tuple[str, Entity | None]] = []
    rendered: list[dict[str, Any]] = []
    while stack:
        pair = stack.pop()
        key = uid_text(pair)
        entity = entities.get(key)
        consulted.append((key, entity))
        # The schema alone says what an action is: an action in the entity map would compete with it.
        if entity is None or is_action_type(pair[0]):
            continue
        parents = [uid_pair(parent) for parent in entity.parents]
        rendered.append({"uid": _uid_json(pair), "attrs": entity.attrs, "parents": [_uid_json(up) for up in parents]})
        new = references(entity.attrs, attributes).union(parents) - seen
        seen |= new
        stack.extend(new)
        _check_size(seen)
    try:
        return Slice(tuple(consulted), msgspec.json.encode(rendered).decode())
    except (TypeError, ValueError, RecursionError) as error:
        raise DecodeError(f"a stored entity is not plain JSON: {error}") from error


def _uid_json(pair: UidPair) -> dict[str, str]:
    return {"type": pair[0], "id": pair[1]}


def _check_size(found: set[UidPair]) -> None:
    if len(found) > limits.SLICE_ENTITIES:
        raise LimitExceededError(
            f"more than {limits.SLICE_ENTITIES} entities can be reached: read fewer attributes that lead to entities"
        )
