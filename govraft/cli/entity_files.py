"""Entities as users write them: uids as text or as Cedar's JSON objects; and how many fit into one command.

Cedar's own files often list the actions too. The schema says what these are: they are compared with it, and go nowhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from govraft.cli.input_files import read_json_objects
from govraft.cli.policy_plan import PAYLOAD_BYTES
from govraft.core.codec.canonical import pack_json
from govraft.core.model.commands import EntityFields
from govraft.core.model.ids import EntityUid, canonical_uid, is_action_type, parse_uid
from govraft.core.model.limits import ENTITIES_PER_COMMAND
from govraft.core.policy.declared_actions import DeclaredActions
from govraft.errors import InputError

__all__ = ["EntityFiles", "batches", "read_entities"]


class EntityFiles(NamedTuple):
    """What entity files hold: entities, and actions, which only the schema can define."""

    entities: list[EntityFields]
    actions: list[EntityFields]

    def check_actions(self, schema: str | None) -> None:
        """Compare the actions with those of the schema.

        Args:
            schema: In Cedar syntax; None if there is none to compare with.

        Raises:
            InputError: They say something else; the message names the difference.
        """
        if not self.actions:
            return
        if schema is None:
            raise InputError(
                f"`{self.actions[0].uid}` is an action, which the schema defines, and no schema is active to compare"
                " it with: publish one first, or leave the actions out"
            )
        declared = DeclaredActions(schema)
        for action in self.actions:
            difference = declared.difference(action.uid, action.attrs, action.parents)
            if difference:
                raise InputError(f"`{action.uid}` is not as the schema has it: {difference}", code="action_differs")


def read_entities(paths: Iterable[Path], domain: str) -> EntityFiles:
    """The entities in files: each a JSON array, as Cedar has it, or JSON Lines.

    Args:
        paths: Where they are.
        domain: What they are to be in. What `govraft entity list` wrote names the domain of each entity.

    Raises:
        InputError: A file holds something else, or an entity of another domain, or one uid appears twice.
    """
    found: dict[str, EntityFields] = {}
    for path in paths:
        for number, fields in read_json_objects(path):
            entity = _entity(fields, domain, f"`{path}`, entity {number}")
            if entity.uid in found:
                raise InputError(f"`{path}`, entity {number}: `{entity.uid}` appears twice")
            found[entity.uid] = entity
    if not found:
        raise InputError("there is no entity in the file")
    files = EntityFiles([], [])
    for uid, entity in found.items():
        (files.actions if is_action_type(parse_uid(uid).type) else files.entities).append(entity)
    return files


def _entity(fields: dict[str, Any], domain: str, where: str) -> EntityFields:
    attrs, parents = fields.get("attrs", {}), fields.get("parents", [])
    unknown = fields.keys() - {"uid", "attrs", "parents", "tags", "domain"}
    if unknown or fields.get("tags"):
        raise InputError(
            f"{where}: has `{', '.join(sorted(unknown)) or 'tags'}`: only uid, attrs and parents are known"
        )
    if fields.get("domain", domain) != domain:
        own = fields["domain"]
        raise InputError(f"{where}: it is of the domain `{own}`, not `{domain}`: put each domain by itself")
    if not isinstance(attrs, dict) or not isinstance(parents, list):
        raise InputError(f"{where}: `attrs` must be an object and `parents` a list")
    try:
        return EntityFields(_uid(fields.get("uid")), attrs, tuple(_uid(parent) for parent in parents))
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _uid(value: object) -> str:
    if isinstance(value, dict) and value.keys() == {"__entity"}:
        value = value["__entity"]
    if isinstance(value, str):
        return canonical_uid(value)
    if isinstance(value, dict) and value.keys() == {"type", "id"} and all(isinstance(v, str) for v in value.values()):
        return canonical_uid(str(EntityUid(value["type"], value["id"])))
    raise InputError('write a uid as "Type::\\"id\\"" or as {"type": …, "id": …}')


def batches(entities: Iterable[EntityFields]) -> Iterator[tuple[EntityFields, ...]]:
    """The entities in order, in groups that fit into one command each.

    Raises:
        InputError: An attribute value that cannot be sent.
    """
    current: list[EntityFields] = []
    room = PAYLOAD_BYTES
    for entity in entities:
        size = len(pack_json(msgspec.to_builtins(entity))) + 1
        if current and (size > room or len(current) >= ENTITIES_PER_COMMAND):
            yield tuple(current)
            current, room = [], PAYLOAD_BYTES
        current.append(entity)
        room -= size
    if current:
        yield tuple(current)
