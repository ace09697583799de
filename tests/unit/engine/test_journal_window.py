"""The journal's window: what stays in memory, what is read back, and that nobody can tell the difference."""

from __future__ import annotations

import random

import pytest

from govraft.adapters.engine.frames import NO_OP, REGULAR
from govraft.adapters.engine.journal import EngineJournal
from govraft.core.model.limits import JOURNAL_READ_ENTRIES
from govraft.errors import CorruptionError, InvariantViolation
from govraft.ports.sequencer import AdvanceCommit, JournalOp
from govraft.ports.store import Append, HardState, JournalEntry, SetHardState, TruncateFrom


class Disk:
    """Takes the recorded ops, and writes them down later: up to a mark at a time."""

    def __init__(self) -> None:
        self.ops: list[JournalOp] = []
        self.written = 0
        self.journal: list[JournalEntry] = []
        self.hard_state = HardState(1)
        self.reads: list[tuple[int, int]] = []

    def write(self, mark: int) -> None:
        for op in self.ops[self.written : mark]:
            if isinstance(op, Append):
                self.journal.append(op.entry)
            elif isinstance(op, TruncateFrom):
                del self.journal[op.index - 1 :]
            elif isinstance(op, SetHardState | AdvanceCommit):
                self.hard_state = op.hard_state
        self.written = max(self.written, mark)

    def read(self, first: int, last: int) -> list[JournalEntry]:
        self.reads.append((first, last))
        return self.journal[first - 1 : last]


def payload(index: int, *, generation: int = 0) -> bytes:
    return REGULAR + b"entry %d of %d" % (index, generation)


def filled(count: int, *, window: int = 4, size: int = 2**20) -> tuple[EngineJournal, Disk]:
    """A journal of durable, committed and applied entries of term 1."""
    disk = Disk()
    journal = EngineJournal([], HardState(1), disk.ops.append, read=disk.read, window_entries=window, window_bytes=size)
    for index in range(1, count + 1):
        journal.add(payload(index), index, 1)
    journal.setRaftCommitIndex(count)
    mark = journal.mark()
    disk.write(mark)
    journal.made_durable(mark, count)
    return journal, disk


def test_old_entries_leave_the_memory_and_can_be_read() -> None:
    journal, disk = filled(1000)
    assert journal.floor == 997
    assert [journal.payload_at(index) for index in range(1, 1001)] == [payload(index) for index in range(1, 1001)]
    assert [journal.term_at(index) for index in (0, 1, 996, 997, 1000)] == [0, 1, 1, 1, 1]
    assert max(last - first + 1 for first, last in disk.reads) <= JOURNAL_READ_ENTRIES
    assert len(disk.reads) <= 1000 // JOURNAL_READ_ENTRIES + 2, "neighbours come together"
    assert (len(journal), journal[0], journal[-1]) == (1001, (NO_OP, 0, 0), (payload(1000), 1000, 1))
    assert [entry[1] for entry in journal[994:999]] == [994, 995, 996, 997, 998]
    with pytest.raises(IndexError):
        journal[1001]


def test_what_is_not_durable_or_not_applied_stays() -> None:
    disk = Disk()
    journal = EngineJournal([], HardState(1), disk.ops.append, read=disk.read, window_entries=1)
    for index in range(1, 11):
        journal.add(payload(index), index, 1)
    journal.setRaftCommitIndex(10)
    mark = journal.mark()
    journal.add(payload(11), 11, 1)
    disk.write(mark)
    journal.made_durable(mark, 6)
    assert journal.floor == 7, "applied up to 6"
    journal.made_durable(mark, 11)
    assert journal.floor == 11, "durable up to 10"


def test_the_window_is_bounded_in_bytes_too() -> None:
    journal, _ = filled(100, window=50, size=200)
    assert 100 - journal.floor < 20
    assert journal.payload_at(1) == payload(1)


def test_without_a_store_to_read_from_all_stays() -> None:
    disk = Disk()
    journal = EngineJournal([], HardState(1), disk.ops.append, window_entries=1)
    for index in range(1, 50):
        journal.add(payload(index), index, 1)
    journal.setRaftCommitIndex(49)
    journal.made_durable(journal.mark(), 49)
    assert journal.floor == 1


def test_a_replaced_tail_stays_in_memory_until_it_is_durable() -> None:
    disk = Disk()
    journal = EngineJournal([], HardState(2), disk.ops.append, read=disk.read, window_entries=1)
    for index in range(1, 11):
        journal.add(payload(index), index, 1)
    first = journal.mark()
    journal.deleteEntriesFrom(5)
    for index in range(5, 13):
        journal.add(payload(index, generation=1), index, 2)
    journal.setRaftCommitIndex(12)
    # Only now does the write end that speaks of the entries which were replaced meanwhile.
    disk.write(first)
    journal.made_durable(first, 12)
    assert [journal.payload_at(index) for index in (4, 5, 10, 12)] == [
        payload(4),
        *(payload(index, generation=1) for index in (5, 10, 12)),
    ]
    assert journal.floor == 5
    second = journal.mark()
    disk.write(second)
    journal.made_durable(second, 12)
    assert journal.floor == 12
    assert journal.payload_at(10) == payload(10, generation=1)


def test_a_window_that_was_truncated_whole_goes_on() -> None:
    journal, _ = filled(10, window=1)
    journal.add(payload(11), 11, 1)
    journal.deleteEntriesFrom(11)
    assert (journal.last_index, journal[-1], journal.term_at(10)) == (10, (payload(10), 10, 1), 1)
    journal.setCurrentTerm(2, None)
    journal.add(payload(11), 11, 2)
    assert journal.payload_at(11) == payload(11)


def test_a_restart_takes_only_the_window_into_memory() -> None:
    _, disk = filled(1000)
    journal = EngineJournal(disk.journal, disk.hard_state, disk.ops.append, read=disk.read, window_entries=7)
    assert (journal.floor, journal.last_index) == (994, 1000)
    assert journal.payload_at(3) == payload(3)
    uncommitted = EngineJournal(
        disk.journal, HardState(1, None, 400), disk.ops.append, read=disk.read, window_entries=7
    )
    assert uncommitted.floor == 401
    assert (uncommitted.backlog_entries, uncommitted.backlog_bytes) == (
        600,
        sum(len(payload(index)) for index in range(401, 1001)),
    )


@pytest.mark.parametrize(
    "damage",
    [
        lambda disk: disk.journal.pop(100),
        lambda disk: disk.journal.__setitem__(100, JournalEntry(101, 2, payload(101))),
        lambda disk: disk.journal.__setitem__(100, JournalEntry(101, 0, payload(101))),
        lambda disk: disk.journal.__setitem__(100, JournalEntry(101, 1, b"\2other")),
        lambda disk: disk.journal.__delitem__(slice(100, None)),
    ],
)
def test_an_old_entry_that_cannot_be_right_is_refused(damage) -> None:  # type: ignore[no-untyped-def]
    journal, disk = filled(1000)
    damage(disk)
    with pytest.raises(CorruptionError, match="restore this node"):
        journal.payload_at(101)


def test_committed_entries_below_the_window_are_not_truncated() -> None:
    journal, _ = filled(100)
    with pytest.raises(InvariantViolation):
        journal.deleteEntriesFrom(50)


@pytest.mark.parametrize("seed", range(20))
def test_a_window_equals_a_list(seed: int) -> None:
    rng = random.Random(seed)
    disk = Disk()
    journal = EngineJournal(
        [], HardState(1), disk.ops.append, read=disk.read, window_entries=rng.randint(1, 9), window_bytes=10_000
    )
    model: list[tuple[bytes, int, int]] = [(NO_OP, 0, 0)]
    marks: list[int] = []
    commit = applied = term = 0
    for step in range(400):
        kind = rng.choice(["add", "add", "add", "truncate", "commit", "apply", "mark", "durable", "durable", "restart"])
        if kind == "add":
            term = max(term, 1)
            model.append((payload(len(model), generation=step), len(model), term))
            journal.add(*model[-1])
        elif kind == "truncate" and len(model) - 1 > commit:
            index = rng.randint(commit + 1, len(model) - 1)
            del model[index:]
            journal.deleteEntriesFrom(index)
            term += 1
            journal.setCurrentTerm(max(term, 1), None) if term > 1 else None
        elif kind == "commit":
            commit = rng.randint(commit, len(model) - 1)
            journal.setRaftCommitIndex(commit)
        elif kind == "apply":
            applied = rng.randint(applied, commit)
        elif kind == "mark":
            marks.append(journal.mark())
        elif kind == "durable" and marks:
            mark = marks.pop(0)
            disk.write(mark)
            journal.made_durable(mark, applied)
        elif kind == "restart" and not marks and rng.random() < 0.3:
            disk.write(len(disk.ops))
            disk.ops, disk.written = [], 0
            journal = EngineJournal(
                disk.journal, disk.hard_state, disk.ops.append, read=disk.read, window_entries=rng.randint(1, 9)
            )
        assert len(journal) == len(model)
        places = [rng.randrange(len(model)) for _ in range(3)]
        assert [journal[place] for place in places] == [model[place] for place in places]
        assert journal.backlog_bytes == sum(len(entry[0]) for entry in model[commit + 1 :])
        first, count, size = rng.randrange(1, len(model) + 1), rng.randint(1, 20), rng.randint(1, 300)
        expected = model[first : first + count]
        while len(expected) > 1 and sum(len(entry[0]) for entry in expected) > size:
            expected.pop()
        assert journal.batch(first, count, size) == expected
    assert journal[:] == model
