"""Ways to spoil an evidence file: its bytes, its fields, and what is encoded inside of them."""

from __future__ import annotations

import base64
import hashlib
import json
import random
from typing import Any

import msgspec

from govraft.core.machine.snapshot import is_snapshot

_INTEGERS = (0, 1, -1, 2, 3, 5, 6, 7, 8, 2**31, 2**53 - 1, 2**53, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63))
_TEXTS = ("", "x", "n1", "n3", "\0", "é", "😀", "a" * 300, "applied", "0" * 64)
_BYTES = b'{}[]",: \n\r\t0123456789-aAzZ=+/\\u\x00\x7f\xff\xc2\xef'
_pack = msgspec.msgpack.Encoder(order="deterministic").encode


def spoil(data: bytes, rng: random.Random) -> bytes:
    """A file that differs from `data`, usually a little."""
    if rng.random() < 0.4:
        return spoil_bytes(data, rng)
    try:
        if is_snapshot(data):
            body = _spoil_inside(data[:-32], rng)
            return body + hashlib.sha256(body).digest()
        if b"govraft.lineage" in data.split(b"\n")[0]:
            return _spoil_lines(data, rng)
        return _dump(_spoil_part(json.loads(data), rng), canonical=rng.random() < 0.97)
    except (ValueError, TypeError, msgspec.MsgspecError, UnicodeError):
        return spoil_bytes(data, rng)


def spoil_bytes(data: bytes, rng: random.Random) -> bytes:
    spoiled = bytearray(data or b"x")
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        place = rng.randrange(len(spoiled))
        kind = rng.randrange(6)
        if kind == 0:
            spoiled[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del spoiled[place : place + rng.choice((1, 1, 2, 8, 64))]
        elif kind == 2:
            spoiled[place:place] = bytes([rng.choice(_BYTES)])
        elif kind == 3:
            spoiled[place] = rng.choice(_BYTES)
        elif kind == 4:
            other = rng.randrange(len(spoiled))
            spoiled[place:place] = spoiled[min(place, other) : max(place, other)][:100]
        elif rng.random() < 0.1:
            del spoiled[place:]
        spoiled = spoiled or bytearray(b"x")
    return bytes(spoiled)


def _spoil_lines(data: bytes, rng: random.Random) -> bytes:
    lines = data.split(b"\n")
    place, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    kind = rng.randrange(5)
    if kind == 0:
        lines.pop(place)
    elif kind == 1:
        lines[place], lines[other] = lines[other], lines[place]
    elif kind == 2:
        lines.insert(place, lines[other])
    else:
        lines[place] = _dump(_spoil_part(json.loads(lines[place]), rng), canonical=True)
    return b"\n".join(lines)


def _dump(value: Any, *, canonical: bool) -> bytes:
    separators = (",", ":") if canonical else None
    return json.dumps(value, sort_keys=True, separators=separators, ensure_ascii=False).encode()


def _spoil_part(value: Any, rng: random.Random) -> Any:
    return _at(value, rng.choice(_paths(value)), rng)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, part in parts for found in _paths(part, (*path, key)))]


def _at(value: Any, path: tuple[Any, ...], rng: random.Random) -> Any:
    if not path:
        return _spoil_value(value, rng)
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = _at(value[path[0]], path[1:], rng)
    return copy


def _spoil_value(value: Any, rng: random.Random) -> Any:
    if isinstance(value, bytes):
        return rng.choice((spoil_bytes(value, rng), _spoil_inside(value, rng), b"", bytes(32), bytes(64), 0))
    if isinstance(value, bool):
        return rng.choice((not value, 0, 1, None))
    if isinstance(value, int):
        return rng.choice((*_INTEGERS, value + 1, value - 1, str(value), None, True))
    if isinstance(value, str):
        return _spoil_text(value, rng)
    if isinstance(value, list):
        return rng.choice(
            (value[1:], value[::-1], value + value[:1], [*value, rng.choice((0, "", None, [], {}))], None)
        )
    if isinstance(value, dict):
        less = dict(list(value.items())[1:])
        return rng.choice((less, value | {"x": None}, value | {"é": ""}, None, [], ""))
    return rng.choice((0, "", [], {}, True))


def _spoil_text(value: str, rng: random.Random) -> Any:
    try:
        inside = base64.b64decode(value, validate=True)
    except ValueError:
        inside = b""
    if len(inside) > 3 and rng.random() < 0.6:
        spoiled = rng.choice((spoil_bytes, _spoil_inside))(inside, rng)
        return base64.b64encode(spoiled).decode("ascii")
    changed = spoil_bytes(value.encode(), rng).decode("utf-8", "replace")
    return rng.choice((changed, changed, rng.choice(_TEXTS), None, 1, value + "\n", value + " "))


def _spoil_inside(value: bytes, rng: random.Random) -> bytes:
    """MessagePack or JSON inside of a field, with one of its own fields spoiled."""
    for decode, encode in ((msgspec.msgpack.decode, _pack), (json.loads, lambda item: _dump(item, canonical=True))):
        try:
            return encode(_spoil_part(decode(value), rng))
        except (ValueError, TypeError, OverflowError, msgspec.MsgspecError, UnicodeError):
            continue
    return spoil_bytes(value, rng)
