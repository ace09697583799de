"""Another node's store, to be read and not believed: its epochs, leaves, journal and snapshot, and nothing of its own.

What it voted, what it signed, that it isolated itself, its id and its guard are left where they are: they are promises
of that node, and no other can keep them.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from govraft.adapters import store_rows
from govraft.adapters.snapshot_file import read_snapshot
from govraft.adapters.store_examination import kept_still
from govraft.adapters.store_files import connect, exists
from govraft.adapters.store_history import HistoryReader
from govraft.adapters.store_log import inspection_mode
from govraft.errors import CorruptionError, StorageError
from govraft.ports.store import HardState, StoredState

__all__ = ["open_copy"]


@contextlib.contextmanager
def open_copy(database: Path, cluster_id: str) -> Iterator[StoredState]:
    """Read a copy of a node's store, or the store of a stopped node; changes nothing.

    Args:
        database: Its database file; a snapshot lies beside it, if there is one.
        cluster_id: Hex digest of the genesis; a store of another cluster is refused.

    Yields:
        Its history; rows are checked for damage when they are read.

    Raises:
        CorruptionError: Not a store of this cluster, or its rows are damaged.
        StorageError: Its node runs, or it cannot be read.
    """
    path = Path(os.path.realpath(database))
    if not exists(path):
        raise StorageError(f"`{path}` does not exist", path=str(path))
    try:
        with kept_still(path), contextlib.closing(connect(path, inspection_mode(path))) as connection:
            store_rows.check_identity(connection, path, cluster_id, None)
            history = HistoryReader(connection, path)
            entries = _count(connection, path, "SELECT max(idx) FROM journal")
            leaves = _count(connection, path, "SELECT max(seq) FROM leaves")
            yield StoredState(
                journal=history.journal(1, entries),
                hard_state=HardState(),
                leaves=history.leaves(leaves),
                cosigner=None,
                isolation=None,
                has_run_before=True,
                snapshot=read_snapshot(path),
                epochs=tuple(store_rows.read_epoch_rows(connection, path)),
            )
    except store_rows.UNREADABLE as error:
        raise store_rows.failure(error, path) from error
    except OSError as error:
        raise StorageError(f"cannot read `{error.filename or path}`: {error.strerror}", path=str(path)) from error


def _count(connection: sqlite3.Connection, path: Path, query: str) -> int:
    (last,) = connection.execute(query).fetchone()
    if last is None:
        return 0
    if type(last) is not int or last < 0:
        raise CorruptionError(f"`{path}` has a damaged row: its number is {last!r}", path=str(path))
    return last
