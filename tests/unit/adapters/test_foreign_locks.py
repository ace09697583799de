"""Other programs at a store: who keeps it from being written to is named, who only reads lets its log grow."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from govraft.adapters import lock_holders as module
from govraft.adapters import storage_status, store_files, store_log
from govraft.adapters.lock_holders import lock_holders
from govraft.adapters.sqlite_store import SqliteStore
from govraft.adapters.storage_status import StorageStatus
from govraft.errors import StorageError
from govraft.ports.store import JournalEntry, WriteBatch

HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute(sys.argv[2])
connection.execute("SELECT count(*) FROM journal").fetchone()
print("held", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def held(path: Path, statement: str) -> Iterator[int]:
    """Another process has the database, in a transaction; its id."""
    command = [sys.executable, "-c", HOLD, str(path), statement]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None and other.stdout is not None
        assert other.stdout.readline() == "held\n"
        yield other.pid
        other.stdin.close()
        other.wait(30)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqliteStore]:
    monkeypatch.setattr(store_files, "_BUSY_TIMEOUT_S", 0.2)
    made = SqliteStore(tmp_path / "node.db", cluster_id="c" * 64, node_id="node-1")
    yield made
    made.close()


def entry(number: int, size: int = 100) -> WriteBatch:
    batch = WriteBatch()
    batch.append(JournalEntry(number, 1, bytes(size)))
    return batch


@pytest.mark.parametrize("statement", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
def test_who_holds_the_lock_is_named(store: SqliteStore, tmp_path: Path, statement: str) -> None:
    store.write(entry(1))
    with held(tmp_path / "node.db", statement) as pid, pytest.raises(StorageError) as caught:
        store.write(entry(2))
    said = str(caught.value)
    assert f"(pid {pid})" in said
    assert "sqlite3.connect" in said and "\n" not in said
    assert "disk" not in said
    assert not caught.value.definite


def test_nobody_is_named_where_nobody_is(store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lock_holders(tmp_path / "node.db") == ""
    with held(tmp_path / "node.db", "BEGIN IMMEDIATE"):
        monkeypatch.setattr(module, "_LOCKS", tmp_path / "absent")
        assert lock_holders(tmp_path / "node.db") == ""
        with pytest.raises(StorageError, match="another program, which the kernel does not name, holds a lock"):
            store.write(entry(1))


@pytest.mark.parametrize(
    "lines", ["", "\n", "1: POSIX\n", "1: -> POSIX ADVISORY WRITE 1 00:00:1 0 EOF\n", "\x00 a b c d e f"]
)
def test_what_the_kernel_does_not_say_names_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: str) -> None:
    (tmp_path / "locks").write_text(lines)
    monkeypatch.setattr(module, "_LOCKS", tmp_path / "locks")
    assert lock_holders(tmp_path / "node.db") == ""


def test_a_reader_that_never_ends_is_an_alarm_until_it_does(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fold = store_log._FOLD_PAGES * store_log._PAGE_BYTES
    monkeypatch.setattr(storage_status, "LOG_BYTES_ALARM", 4 * fold)
    status = StorageStatus(tmp_path / "node.db", unsafe_volatile=False)
    numbers = iter(range(1, 1000))

    def write(count: int) -> None:
        for _ in range(count):
            store.write(entry(next(numbers), 500_000))

    write(60)
    assert status()["alarms"] == []
    assert status()["log_bytes"] < 3 * fold
    with held(tmp_path / "node.db", "BEGIN"):
        write(60)
        (alarm,) = status()["alarms"]
        assert alarm.startswith("log_held: ") and "reads the store" in alarm
    write(20)
    assert status()["alarms"] == []
    assert status()["log_bytes"] <= store_log._LOG_BYTES_KEPT


def test_where_a_store_lies_stands_in_the_status(store: SqliteStore, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "node.db")) as reader, reader:
        status = StorageStatus(tmp_path / "node.db", unsafe_volatile=True)()
    reader.close()
    assert status["unsafe_volatile"] is True
    assert status["file_system"] not in ("", "unknown")
    assert "unsafe_volatile" in status["alarms"][0]
    absent = StorageStatus(tmp_path / "absent" / "node.db", unsafe_volatile=False)()
    assert absent == {"file_system": "unknown", "unsafe_volatile": False, "log_bytes": 0, "alarms": []}
