"""The leaf of one seq: what the lineage commits to for each entry."""

from __future__ import annotations

from typing import Annotated

import msgspec

from govraft.core.codec.canonical import pack, unpack
from govraft.core.codec.complaints import in_words
from govraft.errors import DecodeError

__all__ = ["LEAF_BYTES_MAX", "Leaf"]

LEAF_BYTES_MAX = 4096

_Digest = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]


class Leaf(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One leaf of the lineage.

    Attributes:
        seq: The machine's counter, 1 for the genesis.
        epoch: Of the electorate after the entry.
        time: WallMs of the machine after the entry.
        entry_digest: Of the entry's exact bytes.
        outcome: `applied`, or the code of the rejection.
        sections: Digest of each section of the state after the entry, by name.
        state_root: The digest over `sections`.
    """

    seq: Annotated[int, msgspec.Meta(ge=1)]
    epoch: Annotated[int, msgspec.Meta(ge=1)]
    time: Annotated[int, msgspec.Meta(ge=1)]
    entry_digest: _Digest
    outcome: str
    sections: dict[str, _Digest]
    state_root: _Digest

    def encode(self) -> bytes:
        """The exact bytes that the lineage hashes."""
        return pack(
            {
                "seq": self.seq,
                "epoch": self.epoch,
                "time": self.time,
                "entry_digest": self.entry_digest,
                "outcome": self.outcome,
                "sections": self.sections,
                "state_root": self.state_root,
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> Leaf:
        """Decode a leaf. That it belongs to a lineage, and its root to its sections, is for the caller to verify.

        Raises:
            DecodeError: Not a leaf.
        """
        try:
            # Without `builtin_types` text would pass for bytes in base64: a second spelling of the same leaf.
            return msgspec.convert(unpack(data, max_bytes=LEAF_BYTES_MAX), cls, builtin_types=(bytes,))
        except msgspec.ValidationError as error:
            raise DecodeError(f"not a leaf: {in_words(error)}") from error
