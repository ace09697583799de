"""Decoded forms of the sections, kept in step with them: what handlers, the gate and the CLI read.

A view learns of a change only through `note`, with the bytes that were stored (None for a removed key), so it never
knows anything that the digests do not cover.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping

import msgspec

from govraft.core.machine.records import (
    ACTIVE_KEY,
    COMMAND_PREFIX,
    ENTITY_PREFIX,
    MARK_PREFIX,
    POLICY_PREFIX,
    SCHEMA_PREFIX,
    VERSION_PREFIX,
    ActivePolicies,
    Entity,
    KnownCommand,
    Mark,
    PolicyBundle,
    PolicyVersion,
)

__all__ = ["AuditView", "EntitiesView", "PoliciesView"]

_decode_version = msgspec.msgpack.Decoder(PolicyVersion).decode
_decode_active = msgspec.msgpack.Decoder(ActivePolicies).decode
_decode_text = msgspec.msgpack.Decoder(str).decode
_decode_entity = msgspec.msgpack.Decoder(Entity).decode
_decode_marks = msgspec.msgpack.Decoder(dict[str, Mark]).decode
_decode_command = msgspec.msgpack.Decoder(KnownCommand).decode


class PoliciesView:
    """Published versions, the texts that they share, and the active one."""

    def __init__(self) -> None:
        self.versions: dict[int, PolicyVersion] = {}
        self.active: ActivePolicies | None = None
        self.policy_uses: Counter[bytes] = Counter()
        self.schema_uses: Counter[bytes] = Counter()
        self._policies: dict[str, str] = {}
        self._schemas: dict[str, str] = {}
        self._active_bundle: PolicyBundle | None = None

    @property
    def latest(self) -> PolicyVersion | None:
        """The latest published version."""
        return self.versions[max(self.versions)] if self.versions else None

    @property
    def active_bundle(self) -> PolicyBundle | None:
        """The active version with its texts; the same object until another version is activated."""
        if self._active_bundle is None and self.active is not None:
            self._active_bundle = self.bundle(self.active.version)
        return self._active_bundle

    def bundle(self, version: int) -> PolicyBundle | None:
        """A published version with its texts, or None when it is not kept."""
        record = self.versions.get(version)
        if record is None:
            return None
        policies = {policy_id.hex(): self._policies[policy_id.hex()] for policy_id in record.policy_ids}
        return PolicyBundle(version, record.digest, self._schemas[record.schema_digest.hex()], policies)

    def note(self, key: str, value: bytes | None) -> None:
        """Take over a change of the section."""
        if key == ACTIVE_KEY:
            self.active = None if value is None else _decode_active(value)
            self._active_bundle = None
        elif key.startswith(VERSION_PREFIX):
            self._note_version(int(key[len(VERSION_PREFIX) :]), value)
        else:
            prefix = POLICY_PREFIX if key.startswith(POLICY_PREFIX) else SCHEMA_PREFIX
            texts = self._policies if prefix == POLICY_PREFIX else self._schemas
            name = key[len(prefix) :]
            if value is None:
                texts.pop(name, None)
            else:
                texts[name] = _decode_text(value)

    def _note_version(self, version: int, value: bytes | None) -> None:
        old = self.versions.pop(version, None)
        if old is not None:
            self.policy_uses.subtract(old.policy_ids)
            self.schema_uses[old.schema_digest] -= 1
            self.policy_uses, self.schema_uses = +self.policy_uses, +self.schema_uses
        if value is not None:
            record = self.versions[version] = _decode_version(value)
            self.policy_uses.update(record.policy_ids)
            self.schema_uses[record.schema_digest] += 1


class EntitiesView:
    """Entities, who has whom as a parent, and the marks of enforcement."""

    def __init__(self) -> None:
        self.entities: dict[str, Entity] = {}
        self.children: dict[str, dict[str, None]] = {}
        """Uids of the entities that name a uid as their parent; a dict, because its order is that of the changes."""
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
        uid = key[len(ENTITY_PREFIX) :]
        old = self.entities.pop(uid, None)
        for parent in old.parents if old is not None else ():
            below = self.children[parent]
            del below[uid]
            if not below:
                del self.children[parent]
        if value is not None:
            entity = self.entities[uid] = _decode_entity(value)
            for parent in entity.parents:
                self.children.setdefault(parent, {})[uid] = None


class AuditView:
    """Known commands, and which of them expires next."""

    def __init__(self) -> None:
        self._commands: dict[str, KnownCommand] = {}
        self._expiries: list[tuple[int, str]] = []

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
        command_id = key[len(COMMAND_PREFIX) :]
        if value is None:
            self._commands.pop(command_id, None)
            return
        known = self._commands[command_id] = _decode_command(value)
        heapq.heappush(self._expiries, (known.not_after, command_id))
