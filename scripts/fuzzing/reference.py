"""Second readers, written from the specifications with other libraries: what two readers see must be the same."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from typing import Any

import msgpack  # type: ignore[import-untyped]
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

__all__ = ["canonical_json", "canonical_msgpack", "cosigners", "read_note"]

_DEPTH = 64


def canonical_json(data: bytes) -> tuple[bool, Any]:
    """Whether `data` is the one spelling of a value in formats.md, section 1; and the value."""
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=lambda _text: object())
        fits = _fits(value, _DEPTH, bytes_allowed=False)
        again = json.dumps(_sorted(value), ensure_ascii=False, separators=(",", ":")) if fits else ""
        return fits and again.encode() == data, value
    except (ValueError, RecursionError):
        return False, None


def canonical_msgpack(data: bytes) -> tuple[bool, Any]:
    """The same for MessagePack."""
    try:
        value = msgpack.unpackb(data, strict_map_key=False, ext_hook=lambda _code, _data: object(), timestamp=0)
        fits = _fits(value, _DEPTH, bytes_allowed=True)
        return fits and msgpack.packb(_sorted(value), use_bin_type=True) == data, value
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException):
        return False, None


def _fits(value: Any, depth: int, *, bytes_allowed: bool) -> bool:
    if isinstance(value, dict):
        if depth == 0 or not all(type(key) is str for key in value):
            return False
        return all(_fits(item, depth - 1, bytes_allowed=bytes_allowed) for item in value.values())
    if isinstance(value, list):
        return depth > 0 and all(_fits(item, depth - 1, bytes_allowed=bytes_allowed) for item in value)
    if isinstance(value, int):
        return -(2**63) <= value < 2**64
    return value is None or isinstance(value, str) or (bytes_allowed and isinstance(value, bytes))


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value, key=str.encode)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


_LINE = re.compile("— (\\S+) ([A-Za-z0-9+/]+={0,2})")


def read_note(data: bytes) -> tuple[bytes, list[tuple[str, bytes]]] | None:
    """Body, and (name, blob) of each line of a C2SP signed note; None when it is none."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    head, blank, tail = text.rpartition("\n\n")
    if not blank or not tail.endswith("\n") or any(char < " " and char != "\n" for char in text):
        return None
    found = []
    for row in tail[:-1].split("\n"):
        match = _LINE.fullmatch(row)
        if match is None or "+" in match[1]:
            return None
        try:
            blob = base64.b64decode(match[2], validate=True)
        except binascii.Error:
            return None
        if len(blob) < 5 or base64.b64encode(blob).decode() != match[2]:
            return None
        found.append((match[1], blob))
    return (head + "\n").encode(), found


def cosigners(data: bytes, keys: dict[str, bytes]) -> set[str]:
    """The names of `keys` whose cosignature/v1 in a note holds."""
    note = read_note(data)
    proven = set()
    for name, blob in note[1] if note else []:
        key = keys.get(name)
        wanted = hashlib.sha256(name.encode() + b"\n\x04" + key).digest()[:4] if key else None
        if note is None or key is None or blob[:4] != wanted or len(blob) != 76:
            continue
        message = b"cosignature/v1\ntime %d\n" % int.from_bytes(blob[4:12], "big") + note[0]
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(blob[12:], message)
        except InvalidSignature:
            continue
        proven.add(name)
    return proven
