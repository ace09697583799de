"""A snapshot: a copy of the machine's records at one seq, for a quick start. Bytes only; nothing here believes them.

    canonical MessagePack of {v, seq, index, time, sections: {name: {key: record}}, leaf, proof, certificate, epochs}
    ‖ SHA-256 of it

The trailer finds what broke by accident. What proves that the records are the right ones is judged elsewhere: their
digests must be those of the leaf, and the leaf must lie under the root that a quorum cosigned
(`evidence/snapshot_proof.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from io import BytesIO
from typing import Annotated

import msgspec

from govraft.core.codec.canonical import pack, unpack
from govraft.core.codec.complaints import in_words
from govraft.core.codec.note import NOTE_BYTES_MAX
from govraft.core.evidence.epochs import EpochLink
from govraft.core.machine.records import SECTIONS
from govraft.core.model.genesis import TIME_MAX_MS
from govraft.core.model.limits import SNAPSHOT_BYTES
from govraft.errors import DecodeError, LimitExceededError

__all__ = ["SNAPSHOT_FILE_BYTES", "Snapshot", "is_snapshot"]

_VERSION = 2
_FIRST_BYTES = b"\x89\xabcertificate"
"""A map of nine keys, the first of which in their order is this one."""
_PORTION_BYTES = 1024 * 1024
_CHECKSUM_BYTES = 32
_NUMBER_MAX = 2**62

SNAPSHOT_FILE_BYTES = SNAPSHOT_BYTES + _CHECKSUM_BYTES
"""No snapshot is longer."""

_Number = Annotated[int, msgspec.Meta(ge=1, le=_NUMBER_MAX)]


class Snapshot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The records of a machine after the entry of one seq, and what proves them to whoever holds the genesis.

    Attributes:
        v: Of the format.
        seq: Of the machine.
        index: Of the journal entry that led to it: Raft's number, which nothing in here proves.
        time: WallMs of the machine.
        sections: The records as their exact bytes, by section and key.
        leaf: Of that seq, exact bytes.
        proof: Inclusion of the leaf in the lineage that the certificate is of.
        certificate: The note of a certificate for that seq or a later one.
        epochs: The links from the genesis to the electorate that certified it.
    """

    v: int
    seq: _Number
    index: _Number
    time: Annotated[int, msgspec.Meta(ge=1, le=TIME_MAX_MS)]
    sections: Mapping[str, Mapping[str, bytes]]
    leaf: bytes
    proof: tuple[bytes, ...]
    certificate: bytes
    epochs: tuple[EpochLink, ...]

    @classmethod
    def make(
        cls,
        *,
        seq: int,
        index: int,
        time: int,
        sections: Mapping[str, Mapping[str, bytes]],
        leaf: bytes,
        proof: Sequence[bytes],
        certificate: bytes,
        epochs: Sequence[EpochLink],
    ) -> Snapshot:
        """A snapshot in today's format."""
        return cls(_VERSION, seq, index, time, sections, leaf, tuple(proof), certificate, tuple(epochs))

    def encode(self) -> bytes:
        """The bytes of the file. Takes long for a large state: not for a loop that has anything else to do.

        Raises:
            LimitExceededError: Larger than `decode` takes.
        """
        # Asked first: a state can be many times too large, and its copy should not take that memory once more.
        if sum(len(value) for records in self.sections.values() for value in records.values()) > SNAPSHOT_BYTES:
            raise LimitExceededError(f"the records of a snapshot take more than {SNAPSHOT_BYTES} bytes")
        # In memory that grows in place: one copy of it all would hold everybody up as long as encoding it all.
        body, checksum, size = BytesIO(), sha256(), 0
        for piece in self._pieces():
            size += body.write(piece)
            if size > SNAPSHOT_BYTES:
                raise LimitExceededError(f"a snapshot of {size} bytes or more is above {SNAPSHOT_BYTES}")
            checksum.update(piece)
        body.write(checksum.digest())
        return body.getvalue()

    def _pieces(self) -> Iterator[bytes]:
        """The canonical encoding, cut where that is cheap: while the codec is at work no other thread of Python is.

        `decode` takes no other spelling, so that these pieces make exactly that one is proven by each snapshot read.
        """
        fields: dict[str, object] = {name: getattr(self, name) for name in self.__struct_fields__}
        fields["epochs"] = [{**msgspec.structs.asdict(link), "records": dict(link.records)} for link in self.epochs]
        yield _map_header(len(fields))
        for name, value in sorted(fields.items()):
            yield pack(name)
            if name != "sections":
                yield pack(value)
                continue
            yield _map_header(len(self.sections))
            for section, records in sorted(self.sections.items()):
                yield pack(section)
                yield _map_header(len(records))
                for some in _portions(records):
                    # SAFETY: few at a time, or the node's loop stands still for as long as it takes to encode them all
                    # (test_review_findings.py::test_a_snapshot_is_encoded_in_portions).
                    yield pack(some)[len(_map_header(len(some))) :]

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
            raise DecodeError(f"it is not a snapshot: {in_words(error)}") from error
        if snapshot.v != _VERSION:
            raise DecodeError(f"its format {snapshot.v} is unknown to this govraft")
        if snapshot.sections.keys() != set(SECTIONS):
            raise DecodeError("it does not have the sections of a state")
        if len(snapshot.certificate) > NOTE_BYTES_MAX:
            raise DecodeError("its certificate is too long")
        return snapshot


def is_snapshot(data: bytes) -> bool:
    """Whether a file that begins with these bytes is a snapshot."""
    return data.startswith(_FIRST_BYTES)


def _map_header(count: int) -> bytes:
    """How MessagePack begins a map of that many keys."""
    if count < 16:
        return bytes([0x80 | count])
    return b"\xde" + count.to_bytes(2, "big") if count < 2**16 else b"\xdf" + count.to_bytes(4, "big")


def _portions(records: Mapping[str, bytes]) -> Iterator[dict[str, bytes]]:
    """The records in the order of their keys, about `_PORTION_BYTES` at a time."""
    some: dict[str, bytes] = {}
    size = 0
    # The order of code points is that of the bytes in UTF-8.
    for key in sorted(records):
        some[key] = records[key]
        size += len(key) + len(some[key])
        if size >= _PORTION_BYTES:
            yield some
            some, size = {}, 0
    if some:
        yield some
