"""How evidence is kept in files: canonical JSON, one object, bytes as base64.

One value has one spelling here, white space included. So whoever proves all fields of a file has proven each of its
bytes, and a file in which one byte was changed is either another value, whose proof fails, or no file at all.

Where JSON may have any layout, two readers must still see one value: no key stands twice in an object, and there are no
numbers or characters on which readers differ.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, TypeVar

import msgspec

from govraft.core.codec.base64_text import from_base64
from govraft.core.codec.canonical import pack_json, unpack_json
from govraft.core.codec.complaints import in_words
from govraft.errors import InputError, VerificationError

__all__ = [
    "EVIDENCE_BYTES_MAX",
    "MALFORMED",
    "decode_file",
    "encode_file",
    "malformed",
    "parse_json",
    "to_bytes",
    "to_nodes",
]

EVIDENCE_BYTES_MAX = 4 * 1024 * 1024
MALFORMED = "evidence_malformed"
"""The `code` of the error for a file that cannot be read: nothing of it was judged."""

T = TypeVar("T")


def malformed(message: str) -> VerificationError:
    """The error for a file that is not what it should be."""
    return VerificationError(message, code=MALFORMED)


def encode_file(fields: Mapping[str, Any]) -> bytes:
    """The bytes of an evidence file.

    Raises:
        InputError: A value that canonical JSON cannot carry.
    """
    return pack_json(dict(fields))


def decode_file(data: bytes, shape: type[T], *, what: str) -> T:
    """Read an evidence file of one shape.

    Args:
        data: The whole file.
        shape: A `msgspec.Struct` that forbids unknown fields.
        what: Its kind, for the error.

    Raises:
        VerificationError: Not canonical JSON, too large, or another shape; code `evidence_malformed`.
    """
    try:
        # SAFETY: a second spelling of the same file is refused
        # (test_permit_file.py::test_any_changed_byte_fails).
        # One newline may end it, as in any text file.
        return msgspec.convert(unpack_json(data.removesuffix(b"\n"), max_bytes=EVIDENCE_BYTES_MAX), shape)
    except (msgspec.ValidationError, InputError) as error:
        raise malformed(f"not a {what}: {in_words(error)}") from error


def parse_json(data: bytes) -> Any:
    """Parse JSON in any layout, within the canonical data model.

    Raises:
        ValueError: Not JSON, a key twice in one object, or a number that is not a plain integer.
        InputError: An integer over 64 bits, a lone surrogate, too many levels.
    """
    try:
        value = _ANY_LAYOUT.decode(data.decode("utf-8"))
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    pack_json(value)
    return value


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    # SAFETY: else one reader takes the first value and another one the last
    # (test_javascript_forgeries.py::test_a_key_that_appears_twice_is_refused).
    if len(fields) != len(pairs):
        raise ValueError("one key appears twice")
    return fields


def _integer(text: str) -> int:
    # The length first: reading very many digits takes very long.
    if text == "-0" or len(text) > _DIGITS_MAX:
        raise ValueError("a number is no integer within 64 bits")
    return int(text)


def _refuse_number(text: str) -> NoReturn:
    raise ValueError(f"evidence holds integers only, found `{text[:20]}`")


_DIGITS_MAX = 20
_ANY_LAYOUT = json.JSONDecoder(
    object_pairs_hook=_distinct, parse_int=_integer, parse_float=_refuse_number, parse_constant=_refuse_number
)


def to_bytes(text: str, *, what: str) -> bytes:
    """The bytes behind base64 text; `what` names the field in the error.

    Raises:
        VerificationError: Not standard base64, or another spelling of it.
    """
    data = from_base64(text)
    if data is None:
        raise malformed(f"`{what}` is not standard base64 with padding")
    return data


def to_nodes(texts: Sequence[str], *, what: str) -> list[bytes]:
    """The nodes of a Merkle proof. Raises `VerificationError` as `to_bytes`."""
    return [to_bytes(text, what=what) for text in texts]
