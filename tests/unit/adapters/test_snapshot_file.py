"""The snapshot file, and old rows of a store: what is written whole, what is refused, what is read while it writes."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from govraft.adapters import snapshot_file, store_history
from govraft.adapters.snapshot_file import read_snapshot, snapshot_path, write_snapshot
from govraft.adapters.sqlite_store import SqliteStore
from govraft.adapters.store_rows import journal_checksum
from govraft.errors import CorruptionError, StorageError
from govraft.ports.store import HardState, JournalEntry, StoredLeaf, StoredSnapshot, WriteBatch

CLUSTER, NODE = "c" * 64, "node-1"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "node.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    opened = SqliteStore(path, cluster_id=CLUSTER, node_id=NODE)
    yield opened
    opened.close()


def reopened(store: SqliteStore, path: Path) -> SqliteStore:
    store.close()
    return SqliteStore(path, cluster_id=CLUSTER, node_id=NODE)


def entry(index: int) -> JournalEntry:
    return JournalEntry(index, 3, b"\0entry %d" % index)


def fill(store: SqliteStore, count: int) -> None:
    batch = WriteBatch()
    batch.set_hard_state(HardState(3))
    for index in range(1, count + 1):
        batch.append(entry(index))
        batch.add_leaf(index, b"leaf %d" % index, index - 1)
    store.write(batch)


# The file.


def test_a_snapshot_is_found_at_the_next_start(store: SqliteStore, path: Path) -> None:
    assert store.load().snapshot is None
    store.save_snapshot(b"first")
    store.save_snapshot(b"second")
    again = reopened(store, path)
    assert again.load().snapshot == StoredSnapshot(b"second", str(snapshot_path(path)))
    assert again.load().snapshot == again.load().snapshot
    again.close()
    assert snapshot_path(path).stat().st_mode & 0o777 == 0o600


def test_an_interrupted_write_leaves_the_former_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_snapshot(path, b"former")

    def broken(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    for name in ("fsync",):
        with monkeypatch.context() as patched:
            patched.setattr(os, name, broken)
            with pytest.raises(OSError, match="No space"):
                write_snapshot(path, b"next")
        assert read_snapshot(path) == StoredSnapshot(b"former", str(snapshot_path(path)))
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", broken)
        with pytest.raises(OSError, match="No space"):
            write_snapshot(path, b"next")
    assert read_snapshot(path) == StoredSnapshot(b"former", str(snapshot_path(path)))
    write_snapshot(path, b"next")
    assert read_snapshot(path) == StoredSnapshot(b"next", str(snapshot_path(path)))


def test_file_and_directory_are_synced_in_order(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    fsync, rename = os.fsync, Path.rename
    monkeypatch.setattr(os, "fsync", lambda descriptor: done.append("fsync") or fsync(descriptor))
    monkeypatch.setattr(Path, "rename", lambda one, other: done.append("rename") or rename(one, other))
    write_snapshot(path, b"data")
    assert done == ["fsync", "rename", "fsync"]


def test_a_failed_snapshot_is_the_last_write(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(StorageError, match=r"node\.db\.snapshot.*Input/output error"):
        store.save_snapshot(b"data")
    monkeypatch.undo()
    with pytest.raises(StorageError, match="takes no more writes"):
        fill(store, 1)
    with pytest.raises(StorageError, match="takes no more writes"):
        store.save_snapshot(b"data")


def test_after_a_failed_write_no_snapshot_is_saved(store: SqliteStore, path: Path) -> None:
    store.close()
    with pytest.raises(StorageError):
        store.save_snapshot(b"data")
    assert not snapshot_path(path).exists()


@pytest.mark.parametrize("kind", ["directory", "fifo", "link"])
def test_something_else_in_its_place_is_refused(path: Path, kind: str) -> None:
    place = snapshot_path(path)
    if kind == "directory":
        place.mkdir()
    elif kind == "fifo":
        os.mkfifo(place)
    else:
        place.with_name("other").write_bytes(b"data")
        place.symlink_to(place.with_name("other"))
    with pytest.raises(StorageError, match=r"node\.db\.snapshot"):
        read_snapshot(path)


def test_a_file_that_is_too_large_is_refused_unread(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot_file, "SNAPSHOT_FILE_BYTES", 42)
    snapshot_path(path).write_bytes(bytes(43))
    with pytest.raises(CorruptionError, match="remove it"):
        read_snapshot(path)
    snapshot_path(path).write_bytes(bytes(42))
    assert read_snapshot(path) is not None


# Old rows.


def test_rows_are_read_in_pieces(store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_history, "JOURNAL_READ_ENTRIES", 8)
    fill(store, 50)
    again = reopened(store, path)
    state = again.load()
    expected = [entry(index) for index in range(1, 51)]
    assert (len(state.journal), len(state.leaves)) == (50, 50)
    assert list(state.journal) == expected
    assert [state.journal[place] for place in (0, 7, 8, 49, -1)] == [expected[place] for place in (0, 7, 8, 49, -1)]
    assert (state.journal[3:20], state.journal[45:], state.journal[50:], state.journal[9:2:-3]) == (
        expected[3:20],
        expected[45:],
        [],
        expected[9:2:-3],
    )
    assert list(state.leaves) == [StoredLeaf(index - 1, b"leaf %d" % index) for index in range(1, 51)]
    for place in (50, -51):
        with pytest.raises(IndexError):
            state.journal[place]
    again.close()


def test_an_empty_store_has_empty_rows(store: SqliteStore) -> None:
    state = store.load()
    assert (list(state.journal), list(state.leaves)) == ([], [])


def test_old_entries_are_read_while_a_write_is_open(store: SqliteStore, path: Path) -> None:
    fill(store, 20)
    with closing(sqlite3.connect(path, isolation_level=None)) as other, other:
        other.execute("BEGIN IMMEDIATE")
        found: list[JournalEntry] = []
        reader = threading.Thread(target=lambda: found.extend(store.read_journal(3, 9)))
        reader.start()
        reader.join(timeout=5)
        assert found == [entry(index) for index in range(3, 10)]
        other.execute("ROLLBACK")
    other.close()


@pytest.mark.parametrize(("first", "last"), [(0, 3), (15, 21), (21, 22)])
def test_what_is_missing_is_not_passed_over(store: SqliteStore, first: int, last: int) -> None:
    fill(store, 20)
    with pytest.raises(CorruptionError, match="lacks journal entries"):
        store.read_journal(first, last)


def test_a_damaged_entry_is_found_when_it_is_read(store: SqliteStore, path: Path) -> None:
    fill(store, 20)
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("UPDATE journal SET payload = x'00ff' WHERE idx = 7")
    other.close()
    assert store.read_journal(1, 6)
    with pytest.raises(CorruptionError, match="damaged journal entry at index 7"):
        store.read_journal(5, 9)
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("UPDATE journal SET checksum = ? WHERE idx = 7", (journal_checksum(7, 3, b"\0\xff"),))
        other.execute("DELETE FROM journal WHERE idx = 12")
    other.close()
    assert store.read_journal(5, 9)
    with pytest.raises(CorruptionError, match="lacks journal entry 12"):
        store.read_journal(10, 15)


def test_a_leaf_whose_index_changed_is_found_at_the_next_start(store: SqliteStore, path: Path) -> None:
    fill(store, 5)
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("UPDATE leaves SET idx = 9 WHERE seq = 3")
    other.close()
    with pytest.raises(CorruptionError, match="damaged leaf at seq 3"):
        reopened(store, path)


def test_a_closed_store_gives_nothing_back(store: SqliteStore) -> None:
    fill(store, 5)
    store.close()
    with pytest.raises(StorageError):
        store.read_journal(1, 2)
