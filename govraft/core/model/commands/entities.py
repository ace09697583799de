"""Entities: the principals, resources and groups of the governed world."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from govraft.core.model.commands.header import CommandHeader, DomainId, Some
from govraft.core.model.ids import ROOT_DOMAIN

__all__ = ["EntityDelete", "EntityFields", "EntityPatch", "EntityPut"]


class EntityFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entity as a command carries it: uid, attributes in Cedar's JSON value format, uids of the parents."""

    uid: str
    attrs: dict[str, Any]
    parents: tuple[str, ...]


class EntityPut(CommandHeader, frozen=True, kw_only=True):
    """Create or replace entities, all or none.

    Attributes:
        domain: To which they belong from now on.
    """

    entities: Annotated[tuple[EntityFields, ...], Some]
    domain: DomainId = ROOT_DOMAIN


class EntityPatch(CommandHeader, frozen=True, kw_only=True):
    """Change one existing entity.

    Attributes:
        set: Attributes to set, with their values.
        unset: Names of attributes to drop; each must exist.
        add_parents, remove_parents: Uids; added ones must be new, removed ones present.
    """

    uid: str
    set: dict[str, Any]
    unset: tuple[str, ...]
    add_parents: tuple[str, ...]
    remove_parents: tuple[str, ...]


class EntityDelete(CommandHeader, frozen=True, kw_only=True):
    """Delete entities, all or none. Marks on them stay."""

    uids: Annotated[tuple[str, ...], Some]
