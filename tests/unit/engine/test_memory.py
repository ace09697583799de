"""Memory stays bounded, however long the journal gets."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Iterator

import pytest

from govraft.adapters.engine import EngineTiming, PysyncobjSequencer
from govraft.adapters.engine.frames import NO_OP, REGULAR
from govraft.ports.store import HardState, JournalEntry

ENTRIES = 50_000
WINDOW = 64
SIZE = 1_000
ALLOWED_BYTES = 4 * 1024 * 1024


def entry(index: int) -> bytes:
    return b"%012d" % index + bytes(SIZE)


class Endless:
    """A disk that costs no memory: what was written can be made again."""

    def __init__(self) -> None:
        self.last = 0
        self.reads = 0

    def read(self, first: int, last: int) -> list[JournalEntry]:
        assert last <= self.last, "only what is durable is read"
        self.reads += 1
        return [JournalEntry(at, 1, NO_OP if at == 1 else REGULAR + entry(at)) for at in range(first, last + 1)]


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


def run(*, window: int | None, entries: int = ENTRIES) -> tuple[int, int, int]:
    """Lead alone for so many entries. Bytes held after the first tenth and at the end, and how often was read."""
    disk, now = Endless(), [0.0]
    sequencer = PysyncobjSequencer(
        node_id="n1",
        voters=["n1"],
        journal=[],
        hard_state=HardState(),
        timing=EngineTiming(0.1, 0.5, 1.0, 1.0),
        monotonic=lambda: now[0],
        rng=random.Random(1),
        send=lambda _peer, _frame: None,
        record=lambda _op: None,
        on_commit=lambda _index, _term, _entry: None,
        read_journal=disk.read if window else None,
        window_entries=window or 1,
    )
    early = 0
    while sequencer.last_index < entries:
        now[0] += 0.02
        sequencer.turn()
        while sequencer.has_more:
            sequencer.turn()
        for _ in range(100):
            sequencer.propose(entry(sequencer.last_index + 1))
        sequencer.turn()
        disk.last = sequencer.last_index
        sequencer.made_durable(sequencer.mark())
        if window and sequencer.last_index % 997 == 0:
            assert sequencer.entry(2) == entry(2)
        if not early and sequencer.last_index > entries // 10:
            early = tracemalloc.get_traced_memory()[0]
    if window:
        assert sequencer.last_index - sequencer.journal_floor < 2 * WINDOW + 100
        assert [sequencer.entry(index) for index in (2, 25_000, ENTRIES)] == [
            entry(index) for index in (2, 25_000, ENTRIES)
        ]
    return early, tracemalloc.get_traced_memory()[0], disk.reads


def test_the_window_bounds_the_memory(traced: None) -> None:
    del traced
    early, late, _ = run(window=WINDOW)
    assert late < early + ALLOWED_BYTES // 4
    assert late < ALLOWED_BYTES


def test_without_a_window_this_test_would_notice(traced: None) -> None:
    del traced
    _, late, _ = run(window=None, entries=ENTRIES // 5)
    assert late > 2 * ALLOWED_BYTES
