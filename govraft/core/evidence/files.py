"""How evidence is kept in files: canonical JSON, one object, bytes as base64.

One value has one spelling here, white space included. So whoever proves all fields of a file has proven each of its
bytes, and a file in which one byte was changed is either another value, whose proof fails, or no file at all.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from govraft.core.codec.canonical import pack_json, unpack_json
from govraft.errors import InputError, VerificationError

__all__ = [
    "EVIDENCE_BYTES_MAX",
    "MALFORMED",
    "decode_file",
    "encode_file",
    "malformed",
    "to_bytes",
    "to_nodes",
    "to_text",
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
        raise malformed(f"not a {what}: {error}") from error


def to_text(data: bytes) -> str:
    """Standard base64, with padding."""
    return base64.b64encode(data).decode("ascii")


def to_bytes(text: str, *, what: str) -> bytes:
    """The bytes behind base64 text; `what` names the field in the error.

    Raises:
        VerificationError: Not standard base64, or another spelling of it.
    """
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise malformed(f"`{what}` is not standard base64 with padding") from error
    # Decoders forgive stray bits behind the last byte; one spelling only.
    if to_text(data) != text:
        raise malformed(f"`{what}` is not standard base64 with padding")
    return data


def to_nodes(texts: Sequence[str], *, what: str) -> list[bytes]:
    """The nodes of a Merkle proof. Raises `VerificationError` as `to_bytes`."""
    return [to_bytes(text, what=what) for text in texts]
