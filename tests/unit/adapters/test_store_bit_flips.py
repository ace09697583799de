"""One bit of a store's database differs: it is refused, or the bit means nothing, now and in what is written later."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from govraft.adapters.sqlite_store import SqliteStore
from govraft.adapters.store_guard import guard_path
from govraft.errors import CorruptionError
from govraft.ports.store import (
    CosignerRecord,
    HardState,
    JournalEntry,
    StoredEquivocation,
    StoredLeaf,
    StoredState,
    WriteBatch,
)

PAGE, HEADER = 4096, 100
MEANING = (*range(16, 24), *range(28, 40), *range(44, 48), *range(52, 72))
"""Bytes of the file header that say how the file is to be read; flipped bit by bit."""
DICE = random.Random(11)


def large(number: int) -> bytes:
    """Of more than a page."""
    return random.Random(number).randbytes(6_000)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with every kind of page: tables of one page and of several, overflow, free pages and their list."""
    path = tmp_path / "node.db"
    store = opened(path)
    for number in range(1, 13):
        batch = WriteBatch()
        batch.append(JournalEntry(number, 7, b"entry %d" % number + bytes(500)))
        batch.set_hard_state(HardState(7, "node-2", number - 1))
        batch.add_leaf(number, b"leaf %d" % number + bytes(300), number - 1)
        batch.add_epoch(number + 1, 2 * number + 2, b"lease %d" % number, b"records", b"leaf", b"")
        batch.set_cosigner(CosignerRecord(number, bytes([number]) * 32))
        store.write(batch)
    batch = WriteBatch()
    for number in range(13, 40):
        batch.append(JournalEntry(number, 8, large(number)))
    batch.add_equivocation(StoredEquivocation("node-9", b"k" * 32, b"a" * 200, b"b" * 200))
    store.write(batch)
    batch = WriteBatch()
    batch.truncate_from(20)
    store.write(batch)
    store.close()
    return path


def opened(path: Path) -> SqliteStore:
    return SqliteStore(path, cluster_id="c" * 64, node_id="node-1")


def whole(state: StoredState) -> tuple[object, ...]:
    facts = (state.hard_state, state.cosigner, state.isolation, state.has_run_before, state.epochs, state.equivocations)
    return (*facts, state.late, list(state.journal), list(state.leaves))


def more() -> WriteBatch:
    """Enough to take up every free page."""
    batch = WriteBatch()
    for number in range(20, 60):
        batch.append(JournalEntry(number, 9, large(number)))
    batch.add_leaf(13, b"leaf 13", 20)
    return batch


def flips(content: bytes) -> Iterator[tuple[str, int, int]]:
    """What is flipped: a name for it, the byte and the bit."""
    for place in MEANING:
        yield from (("header", place, bit) for bit in range(8))
    yield from (("header", place, DICE.randrange(8)) for place in range(HEADER) if place not in MEANING)
    for start in range(0, len(content), PAGE):
        first = HEADER if start == 0 else 0
        # The first bytes of a page say of which kind it is, what is free in it, and where its cells are.
        head = range(first, first + 12)
        places = (*head, *DICE.sample(range(first + 12, PAGE), 4)) if start < 9 * PAGE else DICE.sample(head, 3)
        for place in places:
            yield f"page {start // PAGE + 1}", start + place, DICE.randrange(8)


def outcome(path: Path, want: tuple[object, ...], then: tuple[object, ...]) -> str:
    try:
        store = opened(path)
    except CorruptionError:
        return "refused"
    try:
        assert whole(store.load()) == want
        store.write(more())
    finally:
        store.close()
    again = opened(path)
    try:
        assert whole(again.load()) == then
    finally:
        again.close()
    return "means nothing"


@pytest.mark.slow
def test_a_flipped_bit_is_refused_or_means_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content, mark = path.read_bytes(), guard_path(path).read_bytes()
    # The disk is not what is tested, and a thousand syncs take their time.
    monkeypatch.setattr("os.fsync", lambda _: None)
    store = opened(path)
    want = whole(store.load())
    store.write(more())
    store.close()
    store = opened(path)
    then = whole(store.load())
    store.close()
    assert then[-1] == [*want[-1], StoredLeaf(20, b"leaf 13")]  # type: ignore[misc]
    path.write_bytes(content)
    with closing(sqlite3.connect(path)) as connection, connection:
        (freed,) = connection.execute("PRAGMA freelist_count").fetchone()
    connection.close()
    assert freed > 10
    found: Counter[tuple[str, str]] = Counter()
    for name, place, bit in flips(content):
        for other in ("-wal", "-shm"):
            path.with_name(path.name + other).unlink(missing_ok=True)
        damaged = bytearray(content)
        damaged[place] ^= 1 << bit
        path.write_bytes(damaged)
        guard_path(path).write_bytes(mark)
        try:
            found[name, outcome(path, want, then)] += 1
        except BaseException as error:
            raise AssertionError(f"bit {bit} of byte {place}, {name}") from error
    assert found["header", "refused"] > 100
    assert found["page 3", "refused"] > 5, "the records"
