"""What the sections of the state hold: one record a key, as canonical MessagePack.

The bytes are the state; they are what the digests cover and what a snapshot carries. The decoded forms that handlers
and the gate read are made from those bytes and nothing else.
"""

from __future__ import annotations

from typing import Any

import msgspec

from govraft.core.codec.canonical import pack
from govraft.core.model.ids import ROOT_DOMAIN

__all__ = [
    "ACTIVE_KEY",
    "COMMAND_PREFIX",
    "ENTITY_PREFIX",
    "GONE_PREFIX",
    "MARK_PREFIX",
    "POLICY_PREFIX",
    "SCHEMA_PREFIX",
    "SECTIONS",
    "VERSION_PREFIX",
    "ActivePolicies",
    "Entity",
    "KnownCommand",
    "Mark",
    "PolicyBundle",
    "PolicyVersion",
    "active_key",
    "encode_record",
    "mark_key",
    "version_key",
]

SECTIONS = (
    "policies",
    "authorities",
    "electorate",
    "entities",
    "attestations",
    "grants",
    "boundaries",
    "proposals",
    "domains",
    "audit",
)

POLICY_PREFIX = "policy/"
SCHEMA_PREFIX = "schema/"
VERSION_PREFIX = "version/"
ACTIVE_KEY = "active"
ENTITY_PREFIX = "entity/"
GONE_PREFIX = "gone/"
"""Of an entity that was deleted below the root domain: the domain in which it is still decided."""
MARK_PREFIX = "mark/"
COMMAND_PREFIX = "command/"


class PolicyVersion(msgspec.Struct, frozen=True):
    """A published version.

    Attributes:
        version: Counted from 1.
        digest: Over the schema's digest and the policy ids, 64 hexadecimal digits.
        schema_digest: 32 bytes; empty below the root domain, which alone has a schema.
        policy_ids: Ids of the policies as 32 bytes each, sorted.
        seq, time, authors: Of the entry that published it; authors are authority ids, sorted.
    """

    version: int
    digest: str
    schema_digest: bytes
    policy_ids: tuple[bytes, ...]
    seq: int
    time: int
    authors: tuple[str, ...]


class ActivePolicies(msgspec.Struct, frozen=True):
    """Which version decides, since which entry."""

    version: int
    digest: str
    seq: int
    time: int
    authors: tuple[str, ...]


class PolicyBundle(msgspec.Struct, frozen=True):
    """A version with its texts, ready to be compiled. Not a record: put together for readers.

    Attributes:
        policies: Cedar text by policy id, in the order of the ids.
    """

    version: int
    digest: str
    schema: str
    policies: dict[str, str]


class Entity(msgspec.Struct, frozen=True, omit_defaults=True):
    """An entity of the governed world. Never changed in place: a change makes a new object.

    Attributes:
        uid: Canonical text form.
        attrs: Cedar's JSON value format.
        parents: Canonical uids, sorted, distinct; they need not exist.
        domain: To which it belongs.
    """

    uid: str
    attrs: dict[str, Any]
    parents: tuple[str, ...]
    domain: str = ROOT_DOMAIN


class Mark(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a target is quarantined, isolated, revoked or invalidated.

    Attributes:
        reason: For people.
        authors: Ids of the authorities that signed, sorted.
        seq, time: Of the entry.
        domain: In which they signed.
    """

    reason: str
    authors: tuple[str, ...]
    seq: int
    time: int
    domain: str = ROOT_DOMAIN


class KnownCommand(msgspec.Struct, frozen=True):
    """What became of a command, remembered until it expires, so that it works once and can be asked about again.

    Attributes:
        command_id: As its author chose it.
        seq: Of its entry.
        payload_digest: `Envelope.payload_digest` of its envelope.
        outcome: `applied`, or the code of the rejection.
        not_after: WallMs.
    """

    command_id: str
    seq: int
    payload_digest: bytes
    outcome: str
    not_after: int


def encode_record(record: object) -> bytes:
    """The canonical bytes of a record. Raises `InputError` for a value outside the canonical data model."""
    return pack(msgspec.to_builtins(record, builtin_types=(bytes,)))


def mark_key(kind: str, target: str) -> str:
    """Key of the marks on a target. A kind holds no slash, so that no two targets share a key."""
    return f"{MARK_PREFIX}{kind}/{target}"


def version_key(version: int, domain: str = ROOT_DOMAIN) -> str:
    """Key of a version that a domain has published. A domain id holds no slash."""
    return f"{VERSION_PREFIX}{version}" if domain == ROOT_DOMAIN else f"{VERSION_PREFIX}{domain}/{version}"


def active_key(domain: str) -> str:
    """Key of what says which version of a domain decides."""
    return ACTIVE_KEY if domain == ROOT_DOMAIN else f"{ACTIVE_KEY}/{domain}"
