"""Names: entity uids as Cedar writes them, and the plain names of nodes, authorities and commands."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from govraft.core.model.limits import COMMAND_ID_CHARS, ENTITY_UID_CHARS
from govraft.errors import DecodeError

__all__ = [
    "AUTHORITY_ID_PATTERN",
    "COMMAND_ID_PATTERN",
    "DOMAIN_ID_PATTERN",
    "HEX_DIGEST_PATTERN",
    "NAME_PATTERN",
    "NODE_ID_PATTERN",
    "ROOT_DOMAIN",
    "EntityUid",
    "canonical_uid",
    "is_action_type",
    "is_entity_type",
    "parse_uid",
]

NODE_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z"
"""Fits into a C2SP key name (no space, no plus) and into an X.509 common name (64 characters)."""

AUTHORITY_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,127}\Z"
COMMAND_ID_PATTERN = rf"^[!-~]{{1,{COMMAND_ID_CHARS}}}\Z"
HEX_DIGEST_PATTERN = r"^[0-9a-f]{64}\Z"
DOMAIN_ID_PATTERN = r"^[a-z0-9][a-z0-9-]{0,62}\Z"
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z"

ROOT_DOMAIN = "root"
"""The domain at the top of the tree; it is always there."""

_TYPE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:::[A-Za-z_][A-Za-z0-9_]*)*")
_UID = re.compile(rf'({_TYPE.pattern})::"((?:[^"\\]|\\.)*)"', re.DOTALL)
_RESERVED = frozenset({"true", "false", "if", "then", "else", "in", "is", "like", "has", "__cedar"})

# Cedar reads the escapes of Rust's string literals.
_ESCAPE = re.compile(
    r"\\(?:([nrt0'\"\\])|x([0-7][0-9A-Fa-f])|u\{([0-9A-Fa-f](?:_*[0-9A-Fa-f]){0,5}_*)\}|(.))", re.DOTALL
)
_SIMPLE = {"n": "\n", "r": "\r", "t": "\t", "0": "\0", "'": "'", '"': '"', "\\": "\\"}

# Written out as escapes: what would end the literal, and what people cannot see in a log.
_UNSAFE = re.compile(r'["\\\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]')
_WRITTEN = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\0": "\\0", '"': '\\"', "\\": "\\\\"}


_UIDS_REMEMBERED = 4_096
"""A list of targets asks for each of its uids many times over."""


class EntityUid(NamedTuple):
    """A Cedar entity uid.

    Attributes:
        type: Type name with its namespaces, such as `Agent` or `Fleet::Agent`.
        id: Any text. Compared code point by code point, without Unicode normalization, as Cedar does.
    """

    type: str
    id: str

    def __str__(self) -> str:
        """The canonical text form `Type::"id"`: each uid has exactly one."""
        return f'{self.type}::"{_UNSAFE.sub(_write_escape, self.id)}"'


@lru_cache(maxsize=_UIDS_REMEMBERED)
def parse_uid(text: str) -> EntityUid:
    """Read a uid in any spelling that Cedar accepts, except white space around `::`.

    `str` of the result is canonical. State is keyed by it, so that no other spelling of an id slips past a mark.

    Raises:
        DecodeError: Not `Type::"id"`, a reserved word as type, an unknown escape, or over `ENTITY_UID_CHARS`.
    """
    if len(text) > ENTITY_UID_CHARS:
        raise DecodeError(f"entity uid is longer than {ENTITY_UID_CHARS} characters")
    match = _UID.fullmatch(text)
    if match is None or not is_entity_type(match[1]):
        raise DecodeError(f'`{text}` is not an entity uid, write `Type::"id"`')
    identifier = _ESCAPE.sub(_read_escape, match[2]) if "\\" in match[2] else match[2]
    # Surrogates come from escapes or as they are; neither has an encoding.
    if any("\ud800" <= char <= "\udfff" for char in identifier):
        raise DecodeError("entity uid holds a lone surrogate, remove it")
    uid = EntityUid(match[1], identifier)
    if len(str(uid)) > ENTITY_UID_CHARS:
        raise DecodeError(f"entity uid is longer than {ENTITY_UID_CHARS} characters in its canonical form")
    return uid


@lru_cache(maxsize=_UIDS_REMEMBERED)
def canonical_uid(text: str) -> str:
    """The canonical spelling of a uid. Raises `DecodeError` as `parse_uid`."""
    return str(parse_uid(text))


def is_entity_type(name: str) -> bool:
    """Whether Cedar accepts the name as an entity type: identifiers joined by `::`, none of them reserved."""
    return _TYPE.fullmatch(name) is not None and _RESERVED.isdisjoint(name.split("::"))


def is_action_type(name: str) -> bool:
    """Whether Cedar takes entities of this type for actions: the last part of the name is `Action`."""
    return name.rpartition("::")[2] == "Action"


def _read_escape(match: re.Match[str]) -> str:
    simple, byte, scalar, other = match.groups()
    if simple is not None:
        return _SIMPLE[simple]
    code = int((byte or (scalar or "").replace("_", "") or "110000"), 16)
    if other is not None or code > 0x10FFFF:
        raise DecodeError(f"`{match[0]}` is not an escape, use one of \\n \\r \\t \\0 \\' \\\" \\\\ \\x41 \\u{{1f600}}")
    return chr(code)


def _write_escape(match: re.Match[str]) -> str:
    char = match[0]
    return _WRITTEN.get(char) or f"\\u{{{ord(char):x}}}"
