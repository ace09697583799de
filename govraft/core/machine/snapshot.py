"""A snapshot: a copy of the machine's records at one seq, for a quick start. Bytes only; nothing here believes them.

    canonical MessagePack of {v, seq, index, time, sections: {name: {key: record}}, certificate} ‖ SHA-256 of it

The trailer finds what broke by accident. What proves that the records are the right ones is not in here: their digests
must be those of the stored leaf, and that leaf must lie under a root that a quorum cosigned (`node/snapshots.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Annotated

import msgspec

from govraft.core.codec.canonical import pack, unpack
from govraft.core.codec.note import NOTE_BYTES_MAX
from govraft.core.machine.records import SECTIONS
from govraft.core.model.genesis import TIME_MAX_MS
from govraft.core.model.limits import SNAPSHOT_BYTES
from govraft.errors import DecodeError, LimitExceededError

__all__ = ["Snapshot"]

_VERSION = 1
_CHECKSUM_BYTES = 32
_NUMBER_MAX = 2**62

_Number = Annotated[int, msgspec.Meta(ge=1, le=_NUMBER_MAX)]


class Snapshot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The records of a machine after the entry of one seq, and a certificate of a quorum for that seq or a later one.

    Attributes:
        v: Of the format.
        seq: Of the machine.
        index: Of the journal entry that led to it.
        time: WallMs of the machine.
        sections: The records as their exact bytes, by section and key.
        certificate: The note of a certificate whose lineage includes `seq`.
    """

    v: int
    seq: _Number
    index: _Number
    time: Annotated[int, msgspec.Meta(ge=1, le=TIME_MAX_MS)]
    sections: Mapping[str, Mapping[str, bytes]]
    certificate: bytes

    @classmethod
    def make(
        cls, *, seq: int, index: int, time: int, sections: Mapping[str, Mapping[str, bytes]], certificate: bytes
    ) -> Snapshot:
        """A snapshot in today's format."""
        return cls(_VERSION, seq, index, time, sections, certificate)

    def encode(self) -> bytes:
        """The bytes of the file. Takes long for a large state: not for a loop that has anything else to do.

        Raises:
            LimitExceededError: Larger than `decode` takes.
        """
        body = pack(
            {
                "v": self.v,
                "seq": self.seq,
                "index": self.index,
                "time": self.time,
                "sections": self.sections,
                "certificate": self.certificate,
            }
        )
        if len(body) > SNAPSHOT_BYTES:
            raise LimitExceededError(f"a snapshot of {len(body)} bytes is above {SNAPSHOT_BYTES}")
        return body + sha256(body).digest()

    @classmethod
    def decode(cls, data: bytes) -> Snapshot:
        """Read a file back.

        Raises:
            LimitExceededError: Too long.
            DecodeError: Damaged, or not a snapshot of this format. Says what is wrong.
        """
        body, checksum = data[:-_CHECKSUM_BYTES], data[-_CHECKSUM_BYTES:]
        # SAFETY: whatever a disk did to the file is found before a byte of it is parsed
        # (test_snapshot.py::test_every_damaged_byte_is_found).
        if len(data) <= _CHECKSUM_BYTES or sha256(body).digest() != checksum:
            raise DecodeError("its checksum does not fit: it is cut short or damaged")
        try:
            # Without `builtin_types` text would pass for bytes in base64: a second spelling of the same records.
            snapshot = msgspec.convert(unpack(body, max_bytes=SNAPSHOT_BYTES), cls, builtin_types=(bytes,))
        except msgspec.ValidationError as error:
            raise DecodeError(f"it is not a snapshot: {error}") from error
        if snapshot.v != _VERSION:
            raise DecodeError(f"its format {snapshot.v} is unknown to this govraft")
        if snapshot.sections.keys() != set(SECTIONS):
            raise DecodeError("it does not have the sections of a state")
        if len(snapshot.certificate) > NOTE_BYTES_MAX:
            raise DecodeError("its certificate is too long")
        return snapshot
