"""One spelling for every value: canonical MessagePack and canonical JSON.

What is signed or hashed must have exactly one encoding, or two parties could agree on a value and disagree on its
digest. Both codecs carry the same small data model: null, booleans, integers that fit into int64 or uint64, text,
lists, and maps with text keys; MessagePack also carries bytes. Map keys are sorted by their UTF-8 bytes. There are no
floats, because their text forms differ between languages, and no extension types.

Decoding trusts nothing: it encodes the decoded value again and refuses input that differs by one byte. That one
comparison excludes duplicate and unsorted keys, long forms of integers, white space, and every spelling not thought of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from govraft.core.codec.complaints import in_words
from govraft.core.model.limits import CANONICAL_DEPTH
from govraft.errors import DecodeError, InputError, LimitExceededError

__all__ = ["NOT_CANONICAL", "pack", "pack_json", "unpack", "unpack_json"]

NOT_CANONICAL = "not_canonical"
"""The `code` of a `DecodeError` for input that decodes but is not the one spelling of its value."""

_INT_MIN = -(2**63)
_INT_MAX = 2**64 - 1
_CONTAINERS = frozenset({dict, list, tuple})
_SCALARS = frozenset({bool, str, type(None)})

_msgpack_encode = msgspec.msgpack.Encoder(order="deterministic").encode
_json_encode = msgspec.json.Encoder(order="deterministic").encode


def pack(value: object) -> bytes:
    """Encode as canonical MessagePack. Tuples count as lists.

    Raises:
        InputError: A value outside the data model: a float, an integer over 64 bits, a key that is not text, text
            with lone surrogates, more than `CANONICAL_DEPTH` levels.
    """
    return _encode(value, _msgpack_encode, bytes_allowed=True)


def unpack(data: bytes, *, max_bytes: int) -> Any:
    """Decode canonical MessagePack; lists decode to `list`.

    Raises:
        LimitExceededError: Longer than `max_bytes`.
        DecodeError: Anything but the one canonical encoding of one value; code `not_canonical` when it is merely
            another encoding of a value.
    """
    return _decode(data, max_bytes, msgspec.msgpack.decode, pack, "canonical msgpack")


def pack_json(value: object) -> bytes:
    """Encode as canonical JSON: sorted keys, no white space, UTF-8 with no escape that JSON does not require.

    Raises:
        InputError: As `pack`, and for bytes, which JSON cannot carry.
    """
    return _encode(value, _json_encode, bytes_allowed=False)


def unpack_json(data: bytes, *, max_bytes: int) -> Any:
    """Decode canonical JSON.

    Raises:
        LimitExceededError: Longer than `max_bytes`.
        DecodeError: As `unpack`.
    """
    return _decode(data, max_bytes, msgspec.json.decode, pack_json, "canonical json")


def _encode(value: object, encode: Callable[[object], bytes], *, bytes_allowed: bool) -> bytes:
    _check(value, CANONICAL_DEPTH, bytes_allowed=bytes_allowed)
    try:
        return encode(value)
    except UnicodeEncodeError as error:
        raise InputError("text with a lone surrogate has no utf-8 encoding, remove it") from error


def _check(value: object, depth: int, *, bytes_allowed: bool) -> None:
    # Exact types: a subclass may encode as something else than it compares as.
    kind = type(value)
    if isinstance(value, (dict, list, tuple)) and kind in _CONTAINERS:
        # SAFETY: bounds the recursion here and in every reader. test_canonical.test_depth_is_limited
        if depth == 0:
            raise LimitExceededError(f"nested deeper than {CANONICAL_DEPTH} levels")
        for item in _values(value) if isinstance(value, dict) else value:
            if type(item) is not str:
                _check(item, depth - 1, bytes_allowed=bytes_allowed)
    elif isinstance(value, int) and kind is int:
        if not _INT_MIN <= value <= _INT_MAX:
            raise InputError("integer does not fit into 64 bits")
    elif kind not in _SCALARS and (kind is not bytes or not bytes_allowed):
        raise InputError(f"a value of type `{kind.__name__}` has no canonical form here, convert it first")


def _values(fields: dict[Any, object]) -> Iterable[object]:
    for key in fields:
        if type(key) is not str:
            raise InputError(f"map key of type `{type(key).__name__}` is not text")
    return fields.values()


def _decode(
    data: bytes, max_bytes: int, decode: Callable[[bytes], Any], encode: Callable[[object], bytes], name: str
) -> Any:
    if len(data) > max_bytes:
        raise LimitExceededError(f"{len(data)} bytes are more than the limit of {max_bytes}")
    try:
        value = decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        # The decoder gives up long after CANONICAL_DEPTH, so running out of recursion is no verdict about our stack.
        raise DecodeError(f"not {name}: {in_words(error)}") from error
    try:
        again = encode(value)
    except InputError as error:
        raise DecodeError(f"not {name}: {error}", code=NOT_CANONICAL) from error
    # SAFETY: one value, one encoding, hence one digest. test_canonical.test_second_spellings_are_refused
    if again != data:
        raise DecodeError(f"not {name}: another encoding of the same value", code=NOT_CANONICAL)
    return value
