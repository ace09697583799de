"""The SQLite file of a node's store: finding it, connecting to it, and making an empty one."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path
from urllib.parse import quote

from govraft.adapters import store_rows
from govraft.adapters.lock_holders import lock_holders
from govraft.adapters.store_log import use_log
from govraft.adapters.store_rules import Progress
from govraft.errors import StorageError, require
from govraft.ports.store import StoreBeginning

__all__ = ["PUT_ENTRY", "PUT_EPOCH", "PUT_LEAF", "PUT_RECORD", "build_schema", "connect", "exists", "write_failure"]

_BUSY_TIMEOUT_S = 5.0

PUT_EPOCH = "INSERT OR IGNORE INTO epochs VALUES (?, ?, ?, ?, ?, ?, ?)"
PUT_ENTRY = "INSERT INTO journal VALUES (?, ?, ?, ?)"
PUT_LEAF = "INSERT INTO leaves VALUES (?, ?, ?, ?)"
PUT_RECORD = "INSERT OR REPLACE INTO records (name, value, checksum) VALUES (?, ?, ?)"


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """A connection to the file `path`, which trusts nothing that is written in it; `mode` as in SQLite's URIs."""
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode={mode}",
        uri=True,
        timeout=_BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    return connection


def build_schema(
    connection: sqlite3.Connection, path: Path, cluster_id: str, node_id: str, beginning: StoreBeginning, *, late: bool
) -> None:
    """Make the tables of a store that has never been used, with what its node is to begin with."""
    require(cluster_id and node_id, "a store belongs to one node of one cluster")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(f"PRAGMA application_id = {store_rows.APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {store_rows.SCHEMA_VERSION}")
    for statement in store_rows.SCHEMA:
        connection.execute(statement)
    connection.executemany("INSERT INTO meta VALUES (?, ?)", [("cluster_id", cluster_id), ("node_id", node_id)])
    connection.executemany(PUT_EPOCH, [store_rows.epoch_row(stored) for stored in beginning.epochs])
    leaves = (store_rows.leaf_row(seq, leaf) for seq, leaf in enumerate(beginning.leaves, 1))
    leaf_count = connection.executemany(PUT_LEAF, leaves).rowcount
    entry_count = connection.executemany(PUT_ENTRY, map(store_rows.journal_row, beginning.journal)).rowcount
    progress = Progress(
        journal_first=min(1, entry_count),
        journal_last=entry_count,
        leaf_count=leaf_count,
        epoch_seqs=tuple(stored.seq for stored in beginning.epochs),
        hard_state=beginning.hard_state,
        late=late,
    )
    connection.execute(PUT_RECORD, store_rows.record_row("summary", store_rows.Summary.of(progress, 0)))
    connection.execute(PUT_RECORD, store_rows.record_row("hard_state", beginning.hard_state))
    connection.execute("COMMIT")
    # Here and not at the first start: a rollback journal of the database itself, brought back by a power failure,
    # would keep the node from starting.
    use_log(connection, path)


def write_failure(error: sqlite3.Error | OSError, path: Path) -> StorageError:
    """The error to raise for one that was met while writing `path`."""
    said, advice = f"cannot write `{path}`: {error}", "free or replace the disk, then restart the node"
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        # The disk is well: somebody else has had the file for longer than a node may wait.
        holders = lock_holders(path) or "another program, which the kernel does not name,"
        advice = f"{holders} holds a lock on it: end that, open a node's store for reading only, then restart the node"
    return StorageError(f"{said}; {advice}", definite=False, path=str(path))


def exists(path: Path) -> bool:
    """Whether there is a file.

    Raises:
        StorageError: There is something else, or the directory cannot be read.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StorageError(f"cannot read `{path}`: {error.strerror}", path=str(path)) from error
    if not stat.S_ISREG(mode):
        raise StorageError(f"`{path}` is not a regular file; name a file for the store", path=str(path))
    return True
