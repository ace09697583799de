"""A creation that a power failure cut short is repeated; a store that was lost is not made anew.

All of these were found by `test_power_failure.py`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from crash.plan import CLUSTER, DATABASE, NODE

from govraft.adapters.sqlite_store import SqliteStore, create_store
from govraft.adapters.store_guard import StoreGuard, guard_path
from govraft.errors import CorruptionError, StorageError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / DATABASE


def open_store(path: Path) -> SqliteStore:
    return SqliteStore(path, cluster_id=CLUSTER, node_id=NODE, may_create=False)


def names(path: Path) -> set[str]:
    return {file.name for file in path.parent.iterdir()}


@pytest.mark.parametrize("mark", [b"", bytes(24), b"unsynced"])
def test_a_creation_cut_short_is_repeated(path: Path, mark: bytes) -> None:
    """Until then `run` named `create-store` as the way out, and `create-store` refused because of the guard."""
    guard_path(path).write_bytes(mark)
    if mark == b"unsynced":
        guard_path(path).unlink()
        guard = StoreGuard(path)
        guard.mark(0, sync=True)
        guard.release()
    path.with_name(f"{DATABASE}.new").write_bytes(b"half a database")
    with pytest.raises(CorruptionError, match="make one with `govraft-node create-store`"):
        open_store(path)
    create_store(path, cluster_id=CLUSTER, node_id=NODE, late=False)
    open_store(path).close()


def test_a_guard_of_a_store_that_was_opened_stands_in_the_way(path: Path) -> None:
    create_store(path, cluster_id=CLUSTER, node_id=NODE, late=False)
    open_store(path).close()
    path.unlink()
    before = guard_path(path).read_bytes()
    with pytest.raises(StorageError, match="exists already") as caught:
        create_store(path, cluster_id=CLUSTER, node_id=NODE, late=False)
    assert caught.value.code == "storage_exists"
    assert (names(path), guard_path(path).read_bytes()) == ({guard_path(path).name}, before)


@pytest.mark.parametrize("mark", [b"", bytes(24)])
def test_a_database_beside_an_unmarked_guard_is_refused(path: Path, mark: bytes) -> None:
    create_store(path, cluster_id=CLUSTER, node_id=NODE, late=False)
    guard_path(path).write_bytes(mark)
    with pytest.raises(CorruptionError, match="has lost"):
        open_store(path)
    with pytest.raises(StorageError, match="exists already"):
        create_store(path, cluster_id=CLUSTER, node_id=NODE, late=False)


def test_the_first_start_makes_no_rollback_journal(path: Path) -> None:
    """One whose removal a power failure took back, beside a log that was written to, could never be opened again."""
    create_store(path, cluster_id=CLUSTER, node_id=NODE, late=False)
    before = path.read_bytes()
    assert before[18:20] == b"\2\2", "the database of a new store has a write-ahead log"
    assert names(path) == {DATABASE, guard_path(path).name}
    store = open_store(path)
    assert path.read_bytes() == before, "the first start writes to the log only"
    assert f"{DATABASE}-journal" not in names(path)
    store.close()
