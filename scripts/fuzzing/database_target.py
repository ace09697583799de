"""The database file: pages and rows of a real one changed, checksums made to fit, then opened as a node opens it.

An input is a list of changes, eight bytes each: what to change, where, and with what. So the fuzzer need not know
SQLite's format, and what it changes behind a row's checksum is found by the rules or not at all.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import struct
from functools import cache
from pathlib import Path

from fuzzing.file_targets import scratch
from fuzzing.target import Target, expect
from fuzzing.world import world
from govraft.adapters import store_rows
from govraft.adapters.sqlite_store import SqliteStore, read_leaves
from govraft.adapters.store_guard import guard_path
from govraft.errors import StorageError
from govraft.ports.store import CosignerRecord, HardState, JournalEntry, WriteBatch

__all__ = ["TARGETS"]

_CHANGE = struct.Struct(">BBHI")
_CHANGES_MAX = 12
_PAGE = 4096
_RECORDS = ("summary", "hard_state", "cosigner", "isolation", "other")
_NUMBERS = (0, 1, -1, 2**31, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), 10**30)
_TEXTS = ("{}", "[]", "null", "", "{", "[" * 5000, '{"a":' * 3000, '{"a":1}', '"x"', "\0", "é")
_BLOBS = (b"", b"\0", bytes(31), bytes(32), bytes(33), b"\xff" * 64, bytes(5000))


def _ids() -> dict[str, str]:
    return {"cluster_id": world().genesis.cluster_id, "node_id": "n1"}


@cache
def _model() -> Path:
    """A store that a node has written to and closed."""
    directory = scratch() / "model"
    directory.mkdir(exist_ok=True)
    store = SqliteStore(directory / "node.db", **_ids())
    batch = WriteBatch()
    for index in range(1, 13):
        batch.append(JournalEntry(index, 1 + index // 8, bytes([index]) * 40))
    for seq, leaf in enumerate(world().leaves, 1):
        batch.add_leaf(seq, leaf, index=seq - 1)
    batch.set_hard_state(HardState(term=3, voted_for="n2", commit_index=10))
    batch.set_cosigner(CosignerRecord(9, world().machine.root))
    store.write(batch)
    store.close()
    return directory


def _database(data: bytes) -> bool:
    """Refused with a storage error, or opened, read and written to: nothing in between."""
    directory = scratch() / "changed"
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(_model(), directory)
    path = directory / "node.db"
    for start in range(0, min(len(data), _CHANGES_MAX * _CHANGE.size) - _CHANGE.size + 1, _CHANGE.size):
        _change(path, *_CHANGE.unpack_from(data, start))
    accepted = _open(path)
    with contextlib.suppress(StorageError):
        read_leaves(path)
    return accepted


def _open(path: Path) -> bool:
    try:
        store = SqliteStore(path, **_ids())
    except StorageError:
        return False
    try:
        state = store.load()
        journal, leaves = list(state.journal), list(state.leaves)
        again = store.load()
        expect(list(again.journal) == journal and list(again.leaves) == leaves, "two readings of one store differ")
        numbers = [entry.index for entry in journal]
        expect(
            numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else True, "a gap in the journal"
        )
        expect(state.hard_state.commit_index >= 0 and state.hard_state.term >= 0, "a hard state below zero")
        batch = WriteBatch()
        batch.add_leaf(len(leaves) + 1, b"next", index=max(leaf.index for leaf in leaves) if leaves else 0)
        store.write(batch)
        expect(list(store.load().leaves)[-1].leaf == b"next", "a written leaf is not read back")
    except StorageError:
        return False
    finally:
        store.close()
    return True


def _change(path: Path, kind: int, which: int, what: int, where: int) -> None:
    """Apply one change; those that SQLite itself refuses change nothing."""
    operation = kind % 10
    if operation < 4:
        _change_bytes(path, operation, which, what, where)
        return
    if operation == 4:
        guard = guard_path(path)
        content = guard.read_bytes()
        guard.write_bytes(content[: where % (len(content) + 1)] if which % 2 else bytes([which]) + content[1:])
        return
    with (
        contextlib.suppress(sqlite3.Error, UnicodeDecodeError),
        contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection,
    ):
        if operation < 7:
            _change_record(connection, which, what, where)
        elif operation == 7:
            _change_leaf(connection, which, what, where)
        elif operation == 8:
            _change_journal(connection, which, what, where)
        else:
            _change_schema(connection, which, where)


def _change_bytes(path: Path, operation: int, which: int, what: int, where: int) -> None:
    content = bytearray(path.read_bytes())
    if not content:
        return
    place = where % len(content)
    if operation == 0:
        content[place] ^= which or 1
    elif operation == 1:
        source = what % max(1, len(content) // _PAGE) * _PAGE
        content[place // _PAGE * _PAGE : place // _PAGE * _PAGE + _PAGE] = content[source : source + _PAGE]
    elif operation == 2:
        del content[place:]
    else:
        content[place : place + 4] = struct.pack(">HH", what, which * 257)
    path.write_bytes(content)


def _change_record(connection: sqlite3.Connection, which: int, what: int, where: int) -> None:
    name = _RECORDS[which % len(_RECORDS)]
    row = connection.execute("SELECT value FROM records WHERE name = ?", (name,)).fetchone()
    if what % 8 == 0:
        connection.execute("DELETE FROM records WHERE name = ?", (name,))
        return
    value = _TEXTS[where % len(_TEXTS)]
    if row is not None and what % 8 > 2:
        with contextlib.suppress(ValueError, RecursionError):
            fields = json.loads(row[0])
            if isinstance(fields, dict) and fields:
                key = sorted(fields)[where % len(fields)]
                odd = (*_NUMBERS, None, True, "x", "", [], 1.5, "A" * 43, "\ud800")
                fields[key] = odd[(where >> 8) % len(odd)]
                value = json.dumps(fields)
    row = (name, value, store_rows._record_checksum(name, value))  # noqa: SLF001 - what a forger would do
    connection.execute("INSERT OR REPLACE INTO records VALUES (?, ?, ?)", row)


def _change_leaf(connection: sqlite3.Connection, which: int, what: int, where: int) -> None:
    seq = _NUMBERS[where % 6] if what % 4 == 0 else 1 + where % 12
    if which % 4 == 0:
        connection.execute("DELETE FROM leaves WHERE seq = ?", (seq,))
        return
    leaf, index = _BLOBS[what % len(_BLOBS)], _NUMBERS[(where >> 8) % 6]
    checksum = store_rows.leaf_checksum(seq, index, leaf) if seq >= 0 and index >= 0 else b""
    connection.execute("INSERT OR REPLACE INTO leaves VALUES (?, ?, ?, ?)", (seq, index, leaf, checksum))


def _change_journal(connection: sqlite3.Connection, which: int, what: int, where: int) -> None:
    index, term = (_NUMBERS[where % 6] if what % 4 == 0 else where % 12), _NUMBERS[(where >> 8) % 6]
    if which % 4 == 0:
        connection.execute("DELETE FROM journal WHERE idx >= ?", (index,))
        return
    payload = _BLOBS[what % len(_BLOBS)]
    fits = 0 <= index < 2**64 and 0 <= term < 2**64
    checksum = store_rows.journal_checksum(index, term, payload) if fits else b""
    connection.execute("INSERT OR REPLACE INTO journal VALUES (?, ?, ?, ?)", (index, term, payload, checksum))


_STATEMENTS = (
    "CREATE TRIGGER t AFTER INSERT ON leaves BEGIN DELETE FROM leaves; END",
    "DROP TABLE leaves",
    "DROP TABLE records",
    "CREATE TABLE extra (a)",
    "UPDATE meta SET value = 'other'",
    "DELETE FROM meta",
    "INSERT INTO meta VALUES ('x', 'y')",
    "PRAGMA user_version = 9",
    "PRAGMA application_id = 0",
    "PRAGMA journal_mode = WAL",
    "DROP TABLE journal; CREATE TABLE journal (idx, term, payload, checksum)",
)


def _change_schema(connection: sqlite3.Connection, which: int, where: int) -> None:
    connection.execute("PRAGMA writable_schema = ON")
    if which % 3 == 0:
        for table in ("journal", "leaves", "records", "meta"):
            # Without STRICT a column may hold anything, although the schema that is compared looks the same.
            connection.execute("UPDATE sqlite_schema SET sql = replace(sql, 'STRICT', '') WHERE name = ?", (table,))
    connection.executescript(_STATEMENTS[where % len(_STATEMENTS)])


def _seeds() -> list[bytes]:
    one = [_CHANGE.pack(kind, kind, 3, 5000 + kind * 7) for kind in range(10)]
    numbers = [
        _CHANGE.pack(5, which, 3, key | number << 8) for which in range(3) for key in range(6) for number in range(15)
    ]
    return [b"", *one, *numbers, b"".join(one[:4])]


TARGETS = (
    Target(
        "database",
        "the database of a node: pages and rows changed, checksums made to fit",
        _database,
        _seeds,
        "bytes",
        ("govraft.adapters.sqlite_store", "govraft.adapters.store_rows"),
        length_max=_CHANGES_MAX * _CHANGE.size,
    ),
)
