"""Changes that leave an input most of its form, so that they reach the rules behind the parser.

A tree of values (JSON, msgpack) is decoded, changed at one or two places, and encoded again; text and bytes that hold
another tree inside, in base64 or as they are, are changed there. Deterministic: everything comes from the given `rng`.
"""

from __future__ import annotations

import base64
import binascii
import json
import random
from typing import Any

import msgpack  # type: ignore[import-untyped]

from fuzzing.target import Shape

__all__ = ["mutate"]

_NESTED_MAX = 3
_INTS = (0, 1, -1, 2, 127, 128, 255, 2**31, 2**32, 2**53, 2**53 + 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1, -(2**63))
_TEXTS = (
    "",
    "\0",
    "a" * 600,
    "\ud800",
    "é",
    "\u2028",
    "\U0001f600",
    "__expr",
    'Agent::"x"',
    "../../x",
    "a\nb",
    "9" * 40,
)
_BYTES = (b"", b"\0", bytes(16), bytes(32), bytes(64), b"\xff" * 32, b"\xff" * 64, b"{}", b"\x80")
_ODD: tuple[Any, ...] = (None, True, False, 1.5, float("nan"), 1e300, [], [[]])


class _Pairs(list[tuple[Any, Any]]):
    """A map that keeps order and duplicates."""


def mutate(data: bytes, shape: Shape, rng: random.Random, *, prefix: int = 0, length_max: int = 8192) -> bytes:
    """A neighbour of `data`, at most `length_max` bytes long."""
    head, body = data[:prefix], data[prefix:]
    if prefix and rng.random() < 0.2:
        head = bytes(byte ^ (1 << rng.randrange(8)) for byte in head)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        body = _mutate_once(body, shape, rng, 0)
    return (head + body)[:length_max]


def _mutate_once(data: bytes, shape: Shape, rng: random.Random, nested: int) -> bytes:
    if shape == "lines" and rng.random() < 0.5:
        return _mutate_lines(data, rng, nested)
    if shape in {"json", "msgpack"} and rng.random() < 0.85:
        changed = _mutate_tree(data, shape, rng, nested)
        if changed is not None:
            return changed
    return _mutate_bytes(data, rng)


def _mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(data) + 1)
    kind = rng.randrange(7)
    if kind == 0 and data:
        return data[: place - 1] + bytes([data[place - 1] ^ (1 << rng.randrange(8))]) + data[place:] if place else data
    if kind == 1:
        return data[:place] + rng.randbytes(rng.randrange(1, 9)) + data[place:]
    if kind == 2:
        return data[:place] + data[place + rng.randrange(1, 17) :]
    if kind == 3:
        end = min(len(data), place + rng.randrange(1, 65))
        return data[:end] + data[place:end] * rng.choice((1, 1, 2, 16)) + data[end:]
    if kind == 4:
        return data[:place]
    if kind == 5:
        return (
            data[:place]
            + rng.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\r\n", b"\xef\xbb\xbf", b"[" * 40))
            + data[place:]
        )
    other = rng.randrange(len(data) + 1)
    low, high = min(place, other), max(place, other)
    return data[:low] + data[low:high][::-1] + data[high:]


def _mutate_lines(data: bytes, rng: random.Random, nested: int) -> bytes:
    lines = data.split(b"\n")
    place, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    kind = rng.randrange(6)
    if kind == 0:
        lines.insert(place, lines[other])
    elif kind == 1:
        del lines[place]
    elif kind == 2:
        lines[place], lines[other] = lines[other], lines[place]
    elif kind == 3:
        words = lines[place].split(b" ")
        word = rng.randrange(len(words))
        words[word] = _mutate_inner(words[word], rng, nested) or _mutate_bytes(words[word], rng)
        lines[place] = b" ".join(words)
    elif kind == 4:
        lines[place] = _mutate_tree(lines[place], "json", rng, nested) or lines[place]
    else:
        lines[place] = _mutate_bytes(lines[place], rng)
    return b"\n".join(lines)


def _mutate_tree(data: bytes, shape: str, rng: random.Random, nested: int) -> bytes | None:
    """Change one value of a tree; None when `data` is no tree."""
    tree = _read(data, shape)
    if tree is None:
        return None
    places = _places(tree)
    parent, key = rng.choice(places)
    value = parent[key][1] if isinstance(parent, _Pairs) else parent[key]
    _change(parent, key, value, places, rng, nested)
    try:
        return _write_json(places[0][0][0], rng) if shape == "json" else _write_msgpack(places[0][0][0])
    except (ValueError, OverflowError, UnicodeError, RecursionError):
        # Some changes have no spelling in the format: then the bytes stay.
        return data


def _read(data: bytes, shape: str) -> Any:
    try:
        if shape == "json":
            return json.loads(data, object_pairs_hook=_Pairs)
        return msgpack.unpackb(data, object_pairs_hook=_Pairs, strict_map_key=False, ext_hook=lambda _c, _d: None)
    except (ValueError, RecursionError, msgpack.UnpackException):
        return None


def _places(tree: Any) -> list[tuple[Any, int]]:
    """Every value as (container, place); the first is the whole tree in a list of its own."""
    found: list[tuple[Any, int]] = [([tree], 0)]
    for parent, key in found:
        value = parent[key][1] if isinstance(parent, _Pairs) else parent[key]
        if isinstance(value, list) and len(found) < 4096:
            found.extend((value, place) for place in range(len(value)))
    return found


def _change(parent: Any, key: int, value: Any, places: list[tuple[Any, int]], rng: random.Random, nested: int) -> None:
    kind = rng.randrange(9)
    if kind == 0 and len(parent) > 1:
        del parent[key]
        return
    if kind == 1 and len(places) > 1:
        parent.insert(rng.randrange(len(parent) + 1), parent[key])
        if parent is places[0][0]:
            del parent[1:]
        return
    if kind == 2 and isinstance(parent, _Pairs):
        name = parent[key][0]
        parent[key] = (_scalar(name, rng, nested), parent[key][1])
        return
    if kind == 3:
        other, place = rng.choice(places)
        new = other[place][1] if isinstance(other, _Pairs) else other[place]
        # A copy, so that no value contains itself.
        new = json.loads(json.dumps(new, default=str)) if isinstance(new, list) and not isinstance(new, _Pairs) else new
        new = value if isinstance(new, _Pairs) else new
    elif kind == 4:
        new = rng.choice((*_INTS, *_TEXTS, *_BYTES, *_ODD))
    elif kind == 5:
        new = value
        for _ in range(rng.choice((1, 2, 31, 33, 63, 65, 200, 1200))):
            new = [new]
    else:
        new = _scalar(value, rng, nested)
    parent[key] = (parent[key][0], new) if isinstance(parent, _Pairs) else new


def _scalar(value: Any, rng: random.Random, nested: int) -> Any:
    if isinstance(value, bool) or value is None:
        return rng.choice((True, False, None, 0, 1, ""))
    if isinstance(value, int):
        return rng.choice(
            (value + 1, value - 1, -value, value * 2, value ^ (1 << rng.randrange(63)), rng.choice(_INTS))
        )
    if isinstance(value, str):
        raw = value.encode("utf-8", "surrogatepass")
        inner = _mutate_inner(raw, rng, nested) if rng.random() < 0.6 else None
        changed = inner if inner is not None else _mutate_bytes(raw, rng)
        return rng.choice(_TEXTS) if rng.random() < 0.2 else changed.decode("utf-8", "replace")
    if isinstance(value, bytes):
        inner = _mutate_tree(value, "msgpack", rng, nested + 1) if nested < _NESTED_MAX and rng.random() < 0.6 else None
        return inner if inner is not None else rng.choice((_mutate_bytes(value, rng), rng.choice(_BYTES)))
    return rng.choice(_ODD)


def _mutate_inner(text: bytes, rng: random.Random, nested: int) -> bytes | None:
    """Change what lies inside base64; None when it is none."""
    if nested >= _NESTED_MAX or len(text) < 8:
        return None
    try:
        inner = base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
    for shape in ("json", "msgpack"):
        changed = _mutate_tree(inner, shape, rng, nested + 1)
        if changed is not None:
            return base64.b64encode(changed)
    return base64.b64encode(_mutate_bytes(inner, rng))


def _write_json(tree: Any, rng: random.Random) -> bytes:
    ascii_only, spaced = rng.random() < 0.2, rng.random() < 0.05
    comma, colon = (", ", ": ") if spaced else (",", ":")

    def write(value: Any) -> str:
        if isinstance(value, _Pairs):
            return "{" + comma.join(f"{write(str(key))}{colon}{write(item)}" for key, item in value) + "}"
        if isinstance(value, list):
            return "[" + comma.join(map(write, value)) + "]"
        if isinstance(value, bytes):
            return json.dumps(base64.b64encode(value).decode())
        return json.dumps(value, ensure_ascii=ascii_only)

    return write(tree).encode("utf-8", "surrogatepass")


def _write_msgpack(tree: Any) -> bytes:
    packer = msgpack.Packer(autoreset=False, unicode_errors="surrogatepass")

    def write(value: Any) -> None:
        if isinstance(value, _Pairs):
            packer.pack_map_header(len(value))
            for key, item in value:
                write(key)
                write(item)
        elif isinstance(value, list):
            packer.pack_array_header(len(value))
            for item in value:
                write(item)
        else:
            packer.pack(value)

    write(tree)
    return bytes(packer.bytes())
