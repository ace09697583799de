"""The durable memory of a node: one SQLite file, in WAL mode, synced at every commit.

Rules:
1. A file is checked on a read-only connection before anything is changed: a foreign or damaged one stays as it was.
2. A new file is built under another name and renamed: it is there whole, or not at all.
3. `write` decides by `store_rules.advance` first, then writes in one transaction. COMMIT syncs.
4. After the first failure nothing is written any more.
5. Opening checks every row, and keeps none: the journal and the lineage are read again where they are needed.

Standard tools may open the file, also while the node runs: the lock against a second node is in the guard beside it.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec

from govraft.adapters import store_files, store_rows
from govraft.adapters.snapshot_file import read_snapshot, snapshot_path, write_snapshot
from govraft.adapters.store_files import PUT_ENTRY, PUT_EPOCH, PUT_LEAF, PUT_RECORD, build_schema, connect, exists
from govraft.adapters.store_guard import StoreGuard, guard_path, sync_directory
from govraft.adapters.store_history import HistoryReader
from govraft.adapters.store_log import LogFolding, inspection_mode, use_log
from govraft.adapters.store_rules import Progress, advance
from govraft.errors import CorruptionError, StorageError
from govraft.ports.store import (
    AddEpoch,
    AddEquivocation,
    AddLeaf,
    Append,
    EndLate,
    JournalEntry,
    SetCosigner,
    SetHardState,
    SetIsolation,
    StoreBeginning,
    StoredEpoch,
    StoredLeaf,
    StoredState,
    TruncateFrom,
    WriteBatch,
    WriteOp,
)

__all__ = ["SqliteStore", "create_store", "read_epochs", "read_leaves"]

_NOTHING = StoreBeginning()


class SqliteStore:
    """`ports.Store` in the file `path`. Any thread may call, one call runs at a time."""

    def __init__(self, path: Path, *, cluster_id: str, node_id: str, may_create: bool = True) -> None:
        """Open the store of a node, or create it.

        Args:
            path: The database file; its directory exists.
            cluster_id: Hex digest of the genesis; a file of another cluster is refused.
            node_id: A file of another node is refused.
            may_create: Whether a missing file may be a new node's. If not, it is a lost one.

        Raises:
            CorruptionError: The file is foreign, damaged, lost, or older than the node's last run. Nothing was changed.
            StorageError: In use by another process, or the disk failed.
        """
        self._path = Path(os.path.realpath(path))
        self._mutex = threading.Lock()
        self._failure: str | None = None
        self._loaded: StoredState | None = None
        self._connection: sqlite3.Connection
        self._history: HistoryReader
        self._folding: LogFolding
        self._progress: Progress
        self._writes: int
        is_new = not exists(self._path)
        if is_new and not may_create and not guard_path(self._path).exists():
            raise _missing(self._path)
        self._may_create = may_create
        if not is_new and not guard_path(self._path).exists():
            self._refuse_unguarded(cluster_id, node_id)
        self._guard = StoreGuard(self._path)
        try:
            self._open(cluster_id, node_id)
        except store_rows.UNREADABLE as error:
            self._guard.release()
            raise store_rows.failure(error, self._path) from error
        except OSError as error:
            self._guard.release()
            raise StorageError(f"cannot open `{self._path}`: {error.strerror}", path=str(self._path)) from error
        except BaseException:
            self._guard.release()
            raise

    def load(self) -> StoredState:
        """Everything stored, checked. The first call gives what opening read."""
        with self._mutex:
            loaded, self._loaded = self._loaded, None
            if loaded is not None:
                return loaded
            self._refuse_after_failure()
            try:
                state, summary = store_rows.read_state(self._connection, self._path, has_run_before=True)
                return self._with_history(state, summary)
            except store_rows.UNREADABLE as error:
                raise store_rows.failure(error, self._path) from error

    def write(self, batch: WriteBatch) -> None:
        """Write `batch` in one transaction; durable on return. See `ports.Store.write`."""
        with self._mutex:
            self._refuse_after_failure()
            if batch.is_empty:
                return
            progress = advance(self._progress, batch)
            self._commit(batch.ops, progress)

    def read_journal(self, first: int, last: int) -> list[JournalEntry]:
        """Read durable entries back. See `ports.Store.read_journal`."""
        return self._history.read_journal(first, last)

    def save_snapshot(self, data: bytes) -> None:
        """Replace the snapshot; durable on return. See `ports.Store.save_snapshot`."""
        with self._mutex:
            self._refuse_after_failure()
        try:
            # Outside of the lock: a large snapshot must not hold up the journal.
            write_snapshot(self._path, data)
        except OSError as error:
            # SAFETY: a disk that cannot take a snapshot is not trusted with the next vote;
            # test_snapshot_file.py::test_a_failed_snapshot_is_the_last_write
            with self._mutex:
                self._failure = self._failure or str(error)
            message = f"cannot write `{snapshot_path(self._path)}`: {error}; free or replace the disk, then restart the"
            raise StorageError(f"{message} node", path=str(snapshot_path(self._path))) from error

    def close(self) -> None:
        """Release file and lock. Idempotent."""
        self._history.close()
        with self._mutex:
            self._failure = self._failure or "it is closed"
            self._loaded = None
            with contextlib.suppress(sqlite3.Error):
                # Closing only tidies up the write-ahead log; every commit is durable already.
                self._connection.close()
            self._guard.release()

    def _open(self, cluster_id: str, node_id: str) -> None:
        # Asked again: only now is the lock held.
        created = not exists(self._path)
        if created:
            if not self._may_create and not self._guard.writes:
                raise _missing(self._path)
            _create_files(self._path, self._guard, cluster_id, node_id)
        state, summary = self._inspect(cluster_id, node_id, created=created)
        self._progress = store_rows.progress_of(state, summary)
        self._writes = summary.writes
        self._connection = connect(self._path, "rw")
        try:
            use_log(self._connection, self._path)
            self._folding = LogFolding(self._connection, self._path)
            # SAFETY: FULL syncs the log at every commit; without it an acked seq or a vote could be forgotten by a
            # power failure. test_sqlite_store.py::test_every_commit_is_synced
            self._connection.execute("PRAGMA synchronous = FULL")
            # One write at once: a disk that cannot be written to must stop the start, not the first vote.
            self._commit((), self._progress)
            # SAFETY: a guard that says 0 tells of a store that was never opened; `create_store` relies on it.
            # test_power_failure.py::test_a_store_that_does_not_keep_its_promise_is_found_out
            self._guard.mark(self._writes, sync=True)
            sync_directory(self._path.parent)
            self._history = HistoryReader(connect(self._path, "ro"), self._path)
            self._loaded = self._with_history(state, summary)
        except BaseException:
            self._connection.close()
            raise

    def _with_history(self, state: StoredState, summary: store_rows.Summary) -> StoredState:
        """The state with what is read only when it is needed."""
        return msgspec.structs.replace(
            state,
            journal=self._history.journal(summary.journal_first, summary.journal_count),
            leaves=self._history.leaves(summary.leaf_count),
            snapshot=read_snapshot(self._path),
        )

    def _inspect(self, cluster_id: str, node_id: str, *, created: bool) -> tuple[StoredState, store_rows.Summary]:
        """Read and check everything without changing anything."""
        with contextlib.closing(connect(self._path, inspection_mode(self._path))) as connection:
            store_rows.check_identity(connection, self._path, cluster_id, node_id)
            store_rows.check_structure(connection, self._path)
            state, summary = store_rows.read_state(connection, self._path, has_run_before=not created)
        if not summary.writes:
            # Nothing was ever written to it, so no promise can have left this node either.
            state = msgspec.structs.replace(state, has_run_before=False)
        marked = self._guard.writes
        if marked is None:
            raise self._unguarded()
        # SAFETY: a database that lost its log or was restored from an older copy must not vote or sign again;
        # test_sqlite_store.py::test_a_lost_write_ahead_log_is_noticed
        if summary.writes < marked:
            message = (
                f"`{self._path}` lacks the last {marked - summary.writes} writes of this node: its write-ahead log"
                " is lost or damaged, or it is an older copy"
            )
            raise CorruptionError(message, path=str(self._path))
        return state, summary

    def _commit(self, ops: tuple[WriteOp, ...], progress: Progress) -> None:
        writes = self._writes + 1
        execute = self._connection.execute
        try:
            execute("BEGIN IMMEDIATE")
            for op in ops:
                self._execute(op)
            execute(PUT_RECORD, store_rows.record_row("summary", store_rows.Summary.of(progress, writes)))
            # SAFETY: durable when COMMIT returns, not before; test_sqlite_store.py::test_survives_kill
            execute("COMMIT")
            self._guard.mark(writes)
            self._folding.after(ops)
        except BaseException as error:
            # SAFETY: what the disk holds is unknown now; test_sqlite_store.py::test_a_failed_write_is_the_last
            self._failure = str(error) or type(error).__name__
            with contextlib.suppress(sqlite3.Error):
                # A transaction that cannot be rolled back is rolled back by the next open.
                self._connection.rollback()
            if isinstance(error, (sqlite3.Error, OSError)):
                raise store_files.write_failure(error, self._path) from error
            raise
        self._progress, self._writes = progress, writes

    def _execute(self, op: WriteOp) -> None:
        execute = self._connection.execute
        match op:
            case Append(entry):
                execute(PUT_ENTRY, store_rows.journal_row(entry))
            case TruncateFrom(index):
                execute("DELETE FROM journal WHERE idx >= ?", (index,))
            case SetHardState(hard_state):
                execute(PUT_RECORD, store_rows.record_row("hard_state", hard_state))
            case AddLeaf(seq, leaf, index):
                execute(PUT_LEAF, store_rows.leaf_row(seq, StoredLeaf(index, leaf)))
            case AddEpoch(stored):
                # Ignored where it is: `advance` has made sure that it is the same one.
                execute(PUT_EPOCH, store_rows.epoch_row(stored))
            case SetCosigner(record):
                execute(PUT_RECORD, store_rows.record_row("cosigner", record))
            case AddEquivocation(evidence):
                row = store_rows.record_row(store_rows.equivocation_name(evidence), evidence)
                execute("INSERT OR IGNORE INTO records VALUES (?, ?, ?)", row)
            case SetIsolation(isolation):
                row = store_rows.record_row("isolation", isolation)
                execute("INSERT OR IGNORE INTO records VALUES (?, ?, ?)", row)
            case EndLate():
                pass  # The summary tells.

    def _refuse_after_failure(self) -> None:
        if self._failure is not None:
            message = f"`{self._path}` takes no more writes: {self._failure}; restart the node"
            raise StorageError(message, code="storage_stopped", path=str(self._path))

    def _refuse_unguarded(self, cluster_id: str, node_id: str) -> None:
        """A file without its guard is foreign, or a copy. Say which; nothing is locked or changed for it."""
        try:
            with contextlib.closing(connect(self._path, inspection_mode(self._path))) as connection:
                store_rows.check_identity(connection, self._path, cluster_id, node_id)
        except store_rows.UNREADABLE as error:
            raise store_rows.failure(error, self._path) from error
        raise self._unguarded()

    def _unguarded(self) -> CorruptionError:
        message = (
            f"`{self._path}` has lost `{guard_path(self._path).name}`, so an old copy could not be told from the"
            " node's latest state"
        )
        return CorruptionError(message, path=str(self._path))


def create_store(
    path: Path, *, cluster_id: str, node_id: str, late: bool, beginning: StoreBeginning = _NOTHING
) -> None:
    """Make the store of a node that has never run; its directory exists.

    A node that finds no store refuses to start: an empty one in the place of a lost one would have forgotten what the
    node promised. So that there is one at its first start, this is called once in the life of a node; again only when a
    power failure or a kill cut it short.

    Args:
        path: The database file.
        cluster_id: Hex digest of the genesis.
        node_id: Whose store it is.
        late: Whether the node may have run before, for all that the caller can know.
        beginning: Verified: what a node that joins has not to be told by the others.

    Raises:
        StorageError: There is one already, or traces of one, or the disk failed.
    """
    path = Path(os.path.realpath(path))
    if path.exists():
        raise _made_already(path)
    guard = StoreGuard(path)
    try:
        # SAFETY: a guard without a mark is what a power failure leaves of this very function. One with a mark is left
        # of a lost store; test_store_creation.py::test_a_guard_of_a_store_that_was_opened_stands_in_the_way
        if guard.writes:
            raise _made_already(guard_path(path))
        _create_files(path, guard, cluster_id, node_id, beginning, late=late)
    except sqlite3.Error as error:
        raise StorageError(f"cannot create `{path}`: {error}", path=str(path)) from error
    except OSError as error:
        raise StorageError(f"cannot create `{path}`: {error.strerror}", path=str(path)) from error
    finally:
        guard.release()


def _made_already(file: Path) -> StorageError:
    message = f"`{file}` exists already: the node has a store, or had one; nothing was changed"
    return StorageError(message, code="storage_exists", path=str(file))


def _create_files(
    path: Path,
    guard: StoreGuard,
    cluster_id: str,
    node_id: str,
    beginning: StoreBeginning = _NOTHING,
    *,
    late: bool = False,
) -> None:
    if guard.writes:
        message = (
            f"`{path}` is missing, but the node has run with it; leave it stopped: an empty store would have"
            " forgotten what the node promised"
        )
        raise CorruptionError(message, path=str(path))
    draft = path.with_name(path.name + ".new")
    for leftover in (draft, draft.with_name(draft.name + "-journal")):
        leftover.unlink(missing_ok=True)
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    with contextlib.closing(connect(draft, "rw")) as connection:
        build_schema(connection, draft, cluster_id, node_id, beginning, late=late)
    guard.mark(0, sync=True)
    # The guard has its name for good: SQLite synced the directory since, for its journal.
    # SAFETY: a file is there whole or not at all; test_sqlite_store.py::test_an_interrupted_creation_is_repeated
    draft.rename(path)
    sync_directory(path.parent)


def _missing(path: Path) -> CorruptionError:
    # SAFETY: an emptied data directory must not make a voter that has forgotten its votes and acks;
    # test_damage_store.py::test_an_emptied_data_directory_is_not_a_new_node
    message = (
        f"`{path}` does not exist; if the node has run before, its store is lost: leave it stopped; if it never has,"
        " make one with `govraft-node create-store`"
    )
    return CorruptionError(message, code="store_missing", path=str(path))


def read_leaves(path: Path, first: int = 1, last: int = store_rows.SEQ_MAX) -> list[bytes]:
    """The lineage of a store from seq `first` to `last`, by default all of it.

    Needs no lock and changes nothing; the node may be running.

    Raises:
        CorruptionError: Not a govraft store, or a leaf is damaged or missing.
        StorageError: The file cannot be read.
    """
    with _inspected(path) as (connection, real):
        return [row.leaf for row in store_rows.read_leaf_rows(connection, real, first, last)]


def read_epochs(path: Path) -> list[StoredEpoch]:
    """The certified epochs of a store, from epoch 2 on.

    Needs no lock and changes nothing; the node may be running.

    Raises:
        CorruptionError: Not a govraft store, or a row is damaged or missing.
        StorageError: The file cannot be read.
    """
    with _inspected(path) as (connection, real):
        return store_rows.read_epoch_rows(connection, real)


@contextlib.contextmanager
def _inspected(path: Path) -> Iterator[tuple[sqlite3.Connection, Path]]:
    """A store that somebody else may be writing, to read from."""
    real = Path(os.path.realpath(path))
    if not exists(real):
        raise StorageError(f"`{real}` does not exist; name the database file of a node", path=str(real))
    try:
        with contextlib.closing(connect(real, "ro")) as connection:
            store_rows.check_identity(connection, real, None, None)
            yield connection, real
    except store_rows.UNREADABLE as error:
        raise store_rows.failure(error, real) from error
