"""Evidence against other nodes stays in the store, one piece for each key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from govraft.adapters.sqlite_store import SqliteStore
from govraft.errors import CorruptionError
from govraft.ports.store import StoredEquivocation, WriteBatch

FIRST = StoredEquivocation("n2", b"\x01" * 32, b"one", b"another")


_opened: list[SqliteStore] = []


def open_store(path: Path) -> SqliteStore:
    _opened.append(SqliteStore(path / "node.db", cluster_id="c" * 64, node_id="n1"))
    return _opened[-1]


@pytest.fixture(autouse=True)
def _close_all() -> Iterator[None]:
    yield
    while _opened:
        _opened.pop().close()


def add(store: SqliteStore, *items: StoredEquivocation) -> None:
    batch = WriteBatch()
    for item in items:
        batch.add_equivocation(item)
    store.write(batch)


def test_evidence_is_read_back_and_never_replaced(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.load()
    other = StoredEquivocation("n3", b"\x02" * 32, b"x", b"y")
    add(store, FIRST, other)
    add(store, StoredEquivocation("n2", b"\x01" * 32, b"later", b"evidence"))
    store.close()
    store = open_store(tmp_path)
    found = store.load().equivocations
    store.close()
    assert sorted(found, key=lambda item: item.node) == [FIRST, other]


def test_damaged_evidence_stops_the_node(tmp_path: Path) -> None:
    import sqlite3

    store = open_store(tmp_path)
    store.load()
    add(store, FIRST)
    store.close()
    with closing(sqlite3.connect(tmp_path / "node.db")) as connection, connection:
        connection.execute("UPDATE records SET value = replace(value, 'n2', 'n3') WHERE name LIKE 'equivocation/%'")
    connection.close()
    with pytest.raises(CorruptionError):
        open_store(tmp_path).load()
