"""The write-ahead log of a store's database: switched on, folded into the database, left alone by who only looks.

SQLite would fold the log in by itself, and keep to itself that the disk failed meanwhile. A store stops at the first
failure of its disk, so it is done here, where an error is raised.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path

from govraft.errors import StorageError
from govraft.ports.store import AddEpoch, AddEquivocation, AddLeaf, Append, SetIsolation, WriteOp

__all__ = ["LogFolding", "inspection_mode", "use_log"]

_FOLD_PAGES = 1000
"""Written to the log before it is folded in; what SQLite does by itself."""

_PAGE_BYTES = 4096
_LOG_BYTES_KEPT = 2 * _FOLD_PAGES * _PAGE_BYTES
_PAGES_PER_BATCH = 4
"""The records, the last page of each table, and the first of the file."""


def use_log(connection: sqlite3.Connection, path: Path) -> None:
    """Give the database a write-ahead log.

    Raises:
        StorageError: It cannot have one.
    """
    if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
        message = f"`{path}` cannot use a write-ahead log: its file system lacks shared memory or locks, or failed"
        raise StorageError(message, path=str(path))


def inspection_mode(path: Path) -> str:
    """How to read a file that nobody may be writing, leaving no trace.

    Without a write-ahead log SQLite would create an empty one even to read; `immutable` keeps it from that.
    """
    size = _log_bytes(path)
    return "ro" if size else "ro&immutable=1"


class LogFolding:
    """Folds the log into the database from time to time, and tells when that fails."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        """Take the matter out of SQLite's hands, for the writing connection of the database `path`."""
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        # What a reader without end made it grow to is given back once that has ended.
        connection.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES_KEPT}")
        self._connection = connection
        self._pages = _log_bytes(path) // _PAGE_BYTES

    def after(self, ops: Iterable[WriteOp]) -> None:
        """Fold the log in if enough was written to it; `ops` were, just now.

        A reader that is still at it delays what it needs to the next time.

        Raises:
            sqlite3.Error: The disk failed. Nothing is lost: the log keeps what the database lacks.
        """
        self._pages += _PAGES_PER_BATCH + sum(map(_content_bytes, ops)) // _PAGE_BYTES
        if self._pages >= _FOLD_PAGES:
            # SAFETY: a disk that fails here is not trusted with the next vote;
            # test_power_failure.py::test_the_first_failed_sync_is_the_last_write
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            self._pages = 0


def _content_bytes(op: WriteOp) -> int:
    match op:
        case Append(entry):
            return len(entry.payload)
        case AddLeaf(_, leaf):
            return len(leaf)
        case AddEpoch(stored):
            return len(stored.lease) + len(stored.records) + len(stored.leaf) + len(stored.proof)
        case AddEquivocation(evidence):
            return len(evidence.first) + len(evidence.second)
        case SetIsolation(record):
            return len(record.evidence)
        case _:
            return 0


def _log_bytes(path: Path) -> int:
    try:
        return path.with_name(path.name + "-wal").stat().st_size
    except FileNotFoundError:
        return 0
