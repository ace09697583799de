"""Reading a store back in pieces, while the node writes: nothing here holds more than a piece of it in memory.

`HistoryReader` has a read-only connection of its own. Readers of a write-ahead log neither wait for a writer nor hold
one up, and see only what was committed.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar, overload

from govraft.adapters import store_rows
from govraft.core.model.limits import JOURNAL_READ_ENTRIES
from govraft.ports.store import JournalEntry, StoredLeaf

__all__ = ["HistoryReader", "StoredRows"]

T = TypeVar("T")


class StoredRows(Sequence[T]):
    """The rows of a table as a sequence; reads a piece at a time and keeps the last one.

    Args:
        first: Number of the first row.
        count: How many there are.
        read: `(first, last)`: those rows, each checked, none missing.
    """

    def __init__(self, first: int, count: int, read: Callable[[int, int], list[T]]) -> None:
        self._first = first
        self._count = count
        self._read = read
        self._piece: list[T] = []
        self._piece_start = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[T]:
        for start in range(0, self._count, JOURNAL_READ_ENTRIES):
            yield from self._rows(start, min(start + JOURNAL_READ_ENTRIES, self._count))

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> list[T]: ...
    def __getitem__(self, place: int | slice) -> T | list[T]:
        if isinstance(place, slice):
            start, stop, step = place.indices(self._count)
            return self._rows(start, stop)[::step] if step > 0 else [self[at] for at in range(start, stop, step)]
        place += self._count if place < 0 else 0
        if not 0 <= place < self._count:
            raise IndexError(place)
        if not self._piece_start <= place < self._piece_start + len(self._piece):
            start = place - place % JOURNAL_READ_ENTRIES
            self._piece = self._rows(start, min(start + JOURNAL_READ_ENTRIES, self._count))
            self._piece_start = start
        return self._piece[place - self._piece_start]

    def _rows(self, start: int, stop: int) -> list[T]:
        return self._read(self._first + start, self._first + stop - 1) if start < stop else []


class HistoryReader:
    """Reads the journal and the lineage of one store. Any thread may call, one call runs at a time."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        """Take over a read-only connection."""
        self._connection = connection
        self._path = path
        self._mutex = threading.Lock()

    def read_journal(self, first: int, last: int) -> list[JournalEntry]:
        """See `ports.Store.read_journal`."""
        return self._guarded(lambda: store_rows.read_journal_rows(self._connection, self._path, first, last))

    def read_leaves(self, first: int, last: int) -> list[StoredLeaf]:
        """The leaves with the seqs `first` to `last`, which must be there.

        Raises:
            CorruptionError: A leaf is damaged or missing.
            StorageError: The disk failed.
        """
        return self._guarded(lambda: store_rows.read_leaf_rows(self._connection, self._path, first, last))

    def journal(self, first: int, count: int) -> StoredRows[JournalEntry]:
        """The `count` journal entries from index `first` on, read when they are needed."""
        return StoredRows(first, count, self.read_journal)

    def leaves(self, count: int) -> StoredRows[StoredLeaf]:
        """The leaves of seq 1 to `count`, read when they are needed."""
        return StoredRows(1, count, self.read_leaves)

    def close(self) -> None:
        """Release the connection. Idempotent."""
        with self._mutex, contextlib.suppress(sqlite3.Error):
            # A reader has nothing to lose.
            self._connection.close()

    def _guarded(self, read: Callable[[], list[T]]) -> list[T]:
        with self._mutex:
            try:
                return read()
            except store_rows.UNREADABLE as error:
                raise store_rows.failure(error, self._path) from error
