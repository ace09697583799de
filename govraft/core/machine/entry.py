"""An entry: what the log carries. A time, stamped by the proposer, and an envelope."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import msgspec

from govraft.core.codec.canonical import pack, unpack
from govraft.core.codec.complaints import in_words
from govraft.core.crypto.digests import digest
from govraft.core.model.genesis import TIME_MAX_MS
from govraft.core.model.limits import ENTRY_BYTES
from govraft.core.model.units import WallMs
from govraft.errors import DecodeError

__all__ = ["Entry", "decode_entry", "encode_entry", "entry_digest"]

_VERSION = 1


class Entry(NamedTuple):
    """A decoded entry. `envelope` is not believed yet."""

    time: WallMs
    envelope: bytes


class _EntryFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    v: int
    time: Annotated[int, msgspec.Meta(ge=0, le=TIME_MAX_MS)]
    envelope: bytes


def encode_entry(time: WallMs, envelope: bytes) -> bytes:
    """The bytes to propose.

    Args:
        time: The proposer's wall clock.
        envelope: Exact bytes, as received.
    """
    return pack({"v": _VERSION, "time": time, "envelope": envelope})


def decode_entry(data: bytes) -> Entry:
    """Decode an entry.

    Raises:
        DecodeError, LimitExceededError: Not an entry, or over `ENTRY_BYTES`.
    """
    try:
        # Without `builtin_types` text would pass for bytes in base64: a second spelling of the same entry.
        fields = msgspec.convert(unpack(data, max_bytes=ENTRY_BYTES), _EntryFields, builtin_types=(bytes,))
    except msgspec.ValidationError as error:
        raise DecodeError(f"not an entry: {in_words(error)}") from error
    if fields.v != _VERSION:
        raise DecodeError(f"entry version {fields.v} is unknown, update govraft")
    return Entry(WallMs(fields.time), fields.envelope)


def entry_digest(data: bytes) -> bytes:
    """The digest of an entry's exact bytes: 32 bytes."""
    return digest("entry", data)
