"""The closed set of commands: what authorities can tell the machine to do.

A command travels as canonical JSON in an envelope whose payload type names it. Every command carries the header that
binds it to one cluster, one id and a time. Shapes are checked here; whether it fits the state is for the machine.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import msgspec

from govraft.core.codec.canonical import pack_json, unpack_json
from govraft.core.model.authority import Role
from govraft.core.model.genesis import TIME_MAX_MS
from govraft.core.model.ids import COMMAND_ID_PATTERN, HEX_DIGEST_PATTERN
from govraft.core.model.limits import ENVELOPE_BYTES
from govraft.errors import DecodeError

__all__ = [
    "COMMANDS",
    "Command",
    "CommandHeader",
    "EnforcementCommand",
    "EntityDelete",
    "EntityFields",
    "EntityPatch",
    "EntityPut",
    "PolicyActivate",
    "PolicyPublish",
    "Quarantine",
    "Release",
    "Revoke",
    "TargetKind",
    "command_name",
    "decode_command",
    "encode_command",
    "payload_type",
    "required_role",
]

_HexDigest = Annotated[str, msgspec.Meta(pattern=HEX_DIGEST_PATTERN)]
_Version = Annotated[int, msgspec.Meta(ge=1, le=2**53)]
_Some = msgspec.Meta(min_length=1)


class TargetKind(StrEnum):
    """What enforcement acts on. `node` takes a node id, the others an entity uid."""

    SUBJECT = "subject"
    RESOURCE = "resource"
    ACTION = "action"
    NODE = "node"


class CommandHeader(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every command carries.

    Attributes:
        cluster: The cluster id, 64 hexadecimal digits: no command works on two clusters.
        command_id: Chosen by the author, unique until `not_after`: no command works twice.
        not_after: WallMs; from then on the command is void. At most `COMMAND_VALIDITY_MS` ahead.
    """

    cluster: str
    command_id: Annotated[str, msgspec.Meta(pattern=COMMAND_ID_PATTERN)]
    not_after: Annotated[int, msgspec.Meta(ge=1, le=TIME_MAX_MS)]


class PolicyPublish(CommandHeader, frozen=True, kw_only=True):
    """Publish a version of the policies, as a change of the version before it. It takes effect when activated.

    Attributes:
        version: The latest published version + 1.
        expected: Digest of the latest published version, empty for the first.
        schema: Text of the Cedar schema; None keeps that of the version before.
        policies: Texts of policies to add, each one policy.
        removed: Ids (SHA-256 of the text) of policies of the version before to leave out.
    """

    version: _Version
    expected: Annotated[str, msgspec.Meta(pattern=r"^(?:[0-9a-f]{64})?\Z")]
    schema: str | None
    policies: tuple[str, ...]
    removed: tuple[_HexDigest, ...]


class PolicyActivate(CommandHeader, frozen=True, kw_only=True):
    """Let a published version decide, from this entry on.

    Attributes:
        version: A published version, later than the active one.
        digest: Its digest.
    """

    version: _Version
    digest: _HexDigest


class EntityFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entity as a command carries it: uid, attributes in Cedar's JSON value format, uids of the parents."""

    uid: str
    attrs: dict[str, Any]
    parents: tuple[str, ...]


class EntityPut(CommandHeader, frozen=True, kw_only=True):
    """Create or replace entities, all or none."""

    entities: Annotated[tuple[EntityFields, ...], _Some]


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

    uids: Annotated[tuple[str, ...], _Some]


class EnforcementCommand(CommandHeader, frozen=True, kw_only=True):
    """What the enforcement commands share: a target, and why, for people."""

    kind: TargetKind
    id: str
    reason: Annotated[str, _Some]


class Quarantine(EnforcementCommand, frozen=True, kw_only=True):
    """Deny every request in which the target is the kind, or belongs to it, until it is released."""


class Release(EnforcementCommand, frozen=True, kw_only=True):
    """End a quarantine."""


class Revoke(EnforcementCommand, frozen=True, kw_only=True):
    """Deny every request in which the target is the kind, or belongs to it, for ever."""


Command = PolicyPublish | PolicyActivate | EntityPut | EntityPatch | EntityDelete | Quarantine | Release | Revoke

COMMANDS: dict[str, tuple[type[Command], Role]] = {
    "policy.publish": (PolicyPublish, Role.POLICY),
    "policy.activate": (PolicyActivate, Role.POLICY),
    "entity.put": (EntityPut, Role.OPERATOR),
    "entity.patch": (EntityPatch, Role.OPERATOR),
    "entity.delete": (EntityDelete, Role.OPERATOR),
    "quarantine": (Quarantine, Role.OPERATOR),
    "release": (Release, Role.OPERATOR),
    "revoke": (Revoke, Role.OPERATOR),
}
"""Every command by name: its type, and the role whose threshold must sign it."""

_NAMES = {kind: name for name, (kind, _) in COMMANDS.items()}
_BY_PAYLOAD_TYPE = {f"application/vnd.govraft.{name}.v1+json": name for name in COMMANDS}
_PAYLOAD_TYPES = {name: text for text, name in _BY_PAYLOAD_TYPE.items()}


def command_name(payload_type: str) -> str | None:
    """The name of the command that a payload type stands for, or None."""
    return _BY_PAYLOAD_TYPE.get(payload_type)


def payload_type(command: Command) -> str:
    """The DSSE payload type of a command."""
    return _PAYLOAD_TYPES[_NAMES[type(command)]]


def required_role(command: Command) -> Role:
    """The role whose threshold must sign a command."""
    return COMMANDS[_NAMES[type(command)]][1]


def encode_command(command: Command) -> bytes:
    """The payload of a command: canonical JSON.

    Raises:
        InputError: An attribute value that JSON cannot carry canonically.
    """
    return pack_json(msgspec.to_builtins(command))


def decode_command(name: str, payload: bytes) -> Command:
    """Decode the payload of the command of that name.

    Raises:
        DecodeError: Not canonical JSON (code `not_canonical`), or a field is missing, unknown or of the wrong type.
    """
    fields = unpack_json(payload, max_bytes=ENVELOPE_BYTES)
    try:
        return msgspec.convert(fields, COMMANDS[name][0])
    except msgspec.ValidationError as error:
        raise DecodeError(f"{name}: {error}") from error
