"""Entries decode strictly."""

from __future__ import annotations

import pytest

from govraft.core.codec.canonical import pack
from govraft.core.crypto.digests import digest
from govraft.core.machine.entry import Entry, decode_entry, encode_entry, entry_digest
from govraft.core.model.limits import ENTRY_BYTES
from govraft.core.model.units import WallMs
from govraft.errors import InputError


def test_round_trip() -> None:
    data = encode_entry(WallMs(5), b"envelope")
    assert data == pack({"envelope": b"envelope", "time": 5, "v": 1})
    assert decode_entry(data) == Entry(WallMs(5), b"envelope")
    assert entry_digest(data) == digest("entry", data)


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        None,
        {"v": 2, "time": 1, "envelope": b""},
        {"v": 1, "time": -1, "envelope": b""},
        {"v": 1, "time": 2**62, "envelope": b""},
        {"v": 1, "time": True, "envelope": b""},
        {"v": 1, "time": 1, "envelope": "text"},
        {"v": 1, "time": 1},
        {"v": 1, "time": 1, "envelope": b"", "term": 3},
    ],
)
def test_malformed_entries_are_refused(value: object) -> None:
    with pytest.raises(InputError):
        decode_entry(pack(value))


def test_size_is_limited() -> None:
    room = ENTRY_BYTES - len(encode_entry(WallMs(1), bytes(66_000))) + 66_000
    decode_entry(encode_entry(WallMs(1), bytes(room)))
    with pytest.raises(InputError):
        decode_entry(encode_entry(WallMs(1), bytes(room + 1)))
