"""The engine's journal: what it records, and what it refuses."""

from __future__ import annotations

import pytest

from govraft.adapters.engine.journal import EngineJournal
from govraft.errors import CorruptionError, InvariantViolation
from govraft.ports.sequencer import AdvanceCommit, JournalOp
from govraft.ports.store import Append, HardState, JournalEntry, SetHardState, TruncateFrom

ENTRIES = [JournalEntry(1, 1, b"\1"), JournalEntry(2, 1, b"\0abc"), JournalEntry(3, 2, b"\0de")]


def opened(ops: list[JournalOp], commit: int = 1) -> EngineJournal:
    return EngineJournal(ENTRIES, HardState(2, "n2", commit), ops.append)


def test_changes_become_ops_in_order() -> None:
    ops: list[JournalOp] = []
    journal = opened(ops)
    assert (journal.last_index, journal.backlog_entries, journal.backlog_bytes) == (3, 2, 7)
    journal.setCurrentTerm(4, None)
    journal.setCurrentTerm(4, "n1")
    journal.deleteEntriesFrom(3)
    journal.add(b"\0new", 3, 4)
    journal.setRaftCommitIndex(2)
    journal.setRaftCommitIndex(2)
    journal.onOneSecondTimer()
    assert ops == [
        SetHardState(HardState(4, None, 1)),
        SetHardState(HardState(4, "n1", 1)),
        TruncateFrom(3),
        Append(JournalEntry(3, 4, b"\0new")),
        AdvanceCommit(HardState(4, "n1", 2)),
    ]
    assert (journal.backlog_entries, journal.backlog_bytes) == (1, 4)
    assert journal[-1] == (b"\0new", 3, 4)
    assert (journal.getCurrentTerm(), journal.getVotedForNodeId(), journal.getRaftCommitIndex()) == (4, "n1", 2)


def test_what_is_loaded_is_held_as_tuples() -> None:
    # H17: lists in place of tuples made the stock engine wipe its journal at each restart.
    assert opened([])[1:] == [(entry.payload, entry.index, entry.term) for entry in ENTRIES]


@pytest.mark.parametrize("position", [0, 1, 2])
def test_truncation_stops_at_the_commit_index(position: int) -> None:
    ops: list[JournalOp] = []
    with pytest.raises(InvariantViolation):
        opened(ops, commit=2).deleteEntriesFrom(position)
    assert ops == []


def test_a_vote_is_never_changed() -> None:
    ops: list[JournalOp] = []
    journal = opened(ops)
    for term, vote in ((2, "n3"), (2, None), (1, "n2")):
        with pytest.raises(InvariantViolation):
            journal.setCurrentTerm(term, vote)
    assert ops == []


@pytest.mark.parametrize(("index", "term"), [(3, 2), (5, 2), (4, 1), (4, 3)])
def test_an_entry_out_of_order_is_refused(index: int, term: int) -> None:
    with pytest.raises(InvariantViolation):
        opened([]).add(b"\0x", index, term)


@pytest.mark.parametrize("index", [0, 4])
def test_a_commit_index_out_of_range_is_refused(index: int) -> None:
    with pytest.raises(InvariantViolation):
        opened([]).setRaftCommitIndex(index)


@pytest.mark.parametrize(
    ("entries", "hard_state", "said"),
    [
        ([JournalEntry(2, 1, b"\1")], HardState(1), "where `1` belongs"),
        ([JournalEntry(1, 2, b"\1")], HardState(1), "term `2` out of order"),
        ([JournalEntry(1, 0, b"\1")], HardState(1), "term `0` out of order"),
        ([JournalEntry(1, 2, b"\1"), JournalEntry(2, 1, b"\1")], HardState(2), "out of order"),
        ([JournalEntry(1, 1, b"\3x")], HardState(1), "of no known kind"),
        ([JournalEntry(1, 1, b"\1")], HardState(1, None, 2), "past the journal's end"),
        ([], HardState(2**63), "out of range"),
    ],
)
def test_contradicting_storage_is_refused(entries: list[JournalEntry], hard_state: HardState, said: str) -> None:
    with pytest.raises(CorruptionError, match=said):
        EngineJournal(entries, hard_state, lambda _op: None)
