"""Decoded forms of the sections, kept in step with them: what handlers, the gate and the CLI read.

A view learns of a change only through `note`, with the bytes that were stored (None for a removed key), so it never
knows anything that the digests do not cover.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping

import msgspec

from govraft.core.machine.anchor_view import ANCHOR_PREFIX, AnchorsView
from govraft.core.machine.permit_view import PERMIT_PREFIX, PermitsView
from govraft.core.machine.records import (
    COMMAND_PREFIX,
    ENTITY_PREFIX,
    GONE_PREFIX,
    MARK_PREFIX,
    Entity,
    KnownCommand,
    Mark,
)
from govraft.core.model.ids import ROOT_DOMAIN

__all__ = ["AuditView", "EntitiesView"]

_decode_domain = msgspec.msgpack.Decoder(str).decode
_decode_entity = msgspec.msgpack.Decoder(Entity).decode
_decode_marks = msgspec.msgpack.Decoder(dict[str, Mark]).decode
_decode_command = msgspec.msgpack.Decoder(KnownCommand).decode


class EntitiesView:
    """Entities, who has whom as a parent, and the marks of enforcement."""

    def __init__(self) -> None:
        self.entities: dict[str, Entity] = {}
        self.children: dict[str, dict[str, None]] = {}
        """Uids of the entities that name a uid as their parent; a dict, because its order is that of the changes."""
        self.counts: Counter[str] = Counter()
        """How many entities belong to a domain, deleted ones that stay in it too; domains without any are not in it."""
        self.gone: dict[str, str] = {}
        """Domains of deleted entities by uid."""
        self.marks: dict[str, dict[str, Mark]] = {}
        """By key of the section."""

    def note(self, key: str, value: bytes | None) -> None:
        """Take over a change of the section."""
        if key.startswith(MARK_PREFIX):
            if value is None:
                self.marks.pop(key, None)
            else:
                self.marks[key] = _decode_marks(value)
            return
        if key.startswith(GONE_PREFIX):
            self._note_gone(key[len(GONE_PREFIX) :], value)
            return
        uid = key[len(ENTITY_PREFIX) :]
        old = self.entities.pop(uid, None)
        if old is not None:
            self._leave(old.domain)
        for parent in old.parents if old is not None else ():
            below = self.children[parent]
            del below[uid]
            if not below:
                del self.children[parent]
        if value is not None:
            entity = self.entities[uid] = _decode_entity(value)
            self.counts[entity.domain] += 1
            for parent in entity.parents:
                self.children.setdefault(parent, {})[uid] = None

    def domain(self, uid: str) -> str:
        """The domain of an entity, or where it was when it was deleted; the root for one that never was.

        Args:
            uid: Canonical.
        """
        entity = self.entities.get(uid)
        return self.gone.get(uid, ROOT_DOMAIN) if entity is None else entity.domain

    def _note_gone(self, uid: str, value: bytes | None) -> None:
        old = self.gone.pop(uid, None)
        if old is not None:
            self._leave(old)
        if value is not None:
            domain = self.gone[uid] = _decode_domain(value)
            self.counts[domain] += 1

    def _leave(self, domain: str) -> None:
        self.counts[domain] -= 1
        if not self.counts[domain]:
            del self.counts[domain]


class AuditView:
    """Known commands, and which of them expires next."""

    def __init__(self) -> None:
        self._commands: dict[str, KnownCommand] = {}
        self._expiries: list[tuple[int, str]] = []
        self.permits = PermitsView()
        self.anchors = AnchorsView()

    @property
    def commands(self) -> Mapping[str, KnownCommand]:
        """Remembered commands by id, expired ones too while they wait to be removed."""
        return self._commands

    def known(self, command_id: str, time: int) -> KnownCommand | None:
        """The command of that id, unless it has expired: then its id is free again."""
        known = self._commands.get(command_id)
        return None if known is None or known.not_after <= time else known

    def expired(self, time: int, count: int) -> list[str]:
        """Ids of at most `count` commands whose time is over, the longest expired first."""
        found: dict[str, None] = {}
        while self._expiries and self._expiries[0][0] <= time and len(found) < count:
            not_after, command_id = heapq.heappop(self._expiries)
            known = self._commands.get(command_id)
            # An id that was used again after its expiry has left its old place in the heap behind.
            if known is not None and known.not_after == not_after:
                found[command_id] = None
        return list(found)

    def note(self, key: str, value: bytes | None) -> None:
        """Take over a change of the section."""
        if key.startswith(PERMIT_PREFIX):
            self.permits.note(key, value)
            return
        if key.startswith(ANCHOR_PREFIX):
            self.anchors.note(key, value)
            return
        command_id = key[len(COMMAND_PREFIX) :]
        if value is None:
            self._commands.pop(command_id, None)
            return
        known = self._commands[command_id] = _decode_command(value)
        heapq.heappush(self._expiries, (known.not_after, command_id))
