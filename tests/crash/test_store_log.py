"""The log of a store is folded into its database in time, also while somebody reads, and by nobody else."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from crash.plan import CLUSTER, DATABASE, NODE

from govraft.adapters import store_log
from govraft.adapters.sqlite_store import SqliteStore
from govraft.errors import StorageError
from govraft.ports.store import HardState, JournalEntry, WriteBatch

FRAME = 4096 + 24


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / DATABASE


def write(store: SqliteStore, first: int, count: int, size: int) -> None:
    for index in range(first, first + count):
        batch = WriteBatch()
        batch.append(JournalEntry(index, 1, bytes(size)))
        batch.set_hard_state(HardState(1, None, index))
        batch.add_leaf(index, b"leaf", index)
        store.write(batch)


def log_frames(path: Path) -> int:
    return path.with_name(f"{DATABASE}-wal").stat().st_size // FRAME


@pytest.mark.parametrize("size", [1, 900, 30_000])
def test_the_log_stays_short(path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(store_log, "_FOLD_PAGES", 50)
    store = SqliteStore(path, cluster_id=CLUSTER, node_id=NODE)
    write(store, 1, 150, size)
    # The estimate is coarse; what matters is that the log does not grow with what was written.
    assert 10 < log_frames(path) < 100
    assert path.stat().st_size > 100 * size
    store.close()


def test_a_reader_delays_the_folding_and_fails_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_log, "_FOLD_PAGES", 20)
    store = SqliteStore(path, cluster_id=CLUSTER, node_id=NODE)
    write(store, 1, 5, 100)
    tool = sqlite3.connect(path, isolation_level=None)
    tool.execute("BEGIN")
    assert tool.execute("SELECT count(*) FROM journal").fetchone() == (5,)
    write(store, 6, 60, 100)
    delayed = log_frames(path)
    assert delayed > 100
    tool.close()
    write(store, 66, 60, 100)
    assert log_frames(path) <= delayed + 60
    assert len(store.read_journal(1, 125)) == 125
    store.close()


def test_sqlite_folds_nothing_in_by_itself(path: Path) -> None:
    """It would not tell when the disk fails meanwhile."""
    store = SqliteStore(path, cluster_id=CLUSTER, node_id=NODE)
    assert store._connection.execute("PRAGMA wal_autocheckpoint").fetchone() == (0,)
    store.close()


def test_a_database_without_a_log_is_refused(path: Path) -> None:
    """A database in memory can have none."""
    connection = sqlite3.connect(":memory:")
    with pytest.raises(StorageError, match="cannot use a write-ahead log"):
        store_log.use_log(connection, path)
    connection.close()
