"""Where a node's decisions are recorded, and an answer that waits for its record."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from govraft.core.evidence.decisions import Noted
from govraft.core.model.verdict import Verdict

__all__ = ["DecisionStore", "LogHead", "RecordedVerdict", "StoredAnchor"]


class LogHead(NamedTuple):
    """The state of a decision log. All of it is durable.

    Attributes:
        log: Id of the log, 32 hexadecimal digits; another one is another file.
        size: How many records.
        root: RFC 6962 root over their leaves, 32 bytes.
    """

    log: str
    size: int
    root: bytes


class StoredAnchor(NamedTuple):
    """An anchor of the log that the lineage holds: size and root, and the seq of its entry."""

    size: int
    root: bytes
    seq: int


class DecisionStore(Protocol):
    """An append-only log. Called from one thread at a time, never from the loop: every call may wait for the disk.

    A call that fails leaves it unknown whether records were added; the next one looks again at what is there.
    """

    def head(self) -> LogHead:
        """The newest durable state; makes the log if there is none.

        Raises:
            StorageError: It cannot be read or made.
        """
        ...

    def append(self, noted: Sequence[Noted]) -> LogHead:
        """Add records in their order; all of them are durable on return.

        Raises:
            StorageError: They are not known to be.
        """
        ...

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Proof that the log of size `new` extends that of size `old`.

        Raises:
            StorageError: The log cannot be read, or is not what it was.
            InputError: It has never had these sizes.
        """
        ...

    def keep_anchor(self, anchor: StoredAnchor) -> None:
        """Remember that the lineage holds an anchor, for exports. Raises `StorageError`."""
        ...

    def close(self) -> None:
        """Release the file. Idempotent."""
        ...


class RecordedVerdict(asyncio.Future[Verdict]):
    """A decision that is made, and waits for nothing but its record. It holds no request."""
