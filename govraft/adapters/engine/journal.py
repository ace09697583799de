"""The engine's journal: in memory for the engine, as ordered write operations for the store.

The engine thinks that it writes; in truth each change becomes a `JournalOp` for the caller, who makes it durable
before any later frame leaves (H10, H23). Index 0 holds a sentinel that every member has and nobody stores, so stored
entries count from 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import overload

from govraft.adapters.engine.frames import NO_OP, TERM_MAX, LogEntry, is_payload
from govraft.errors import CorruptionError, require
from govraft.ports.sequencer import AdvanceCommit, JournalOp
from govraft.ports.store import Append, HardState, JournalEntry, SetHardState, TruncateFrom

__all__ = ["EngineJournal"]

SENTINEL: LogEntry = (NO_OP, 0, 0)


class EngineJournal:
    """Implements pysyncobj's `Journal` over a list; hands every change to `record`."""

    def __init__(
        self, entries: Sequence[JournalEntry], hard_state: HardState, record: Callable[[JournalOp], None]
    ) -> None:
        """Take over what the store holds.

        Raises:
            CorruptionError: The stored values contradict each other.
        """
        _verify(entries, hard_state)
        self._log: list[LogEntry] = [SENTINEL, *((entry.payload, entry.index, entry.term) for entry in entries)]
        self._hard_state = hard_state
        self._record = record
        self._backlog_bytes = sum(len(entry.payload) for entry in entries[hard_state.commit_index :])

    @property
    def last_index(self) -> int:
        """Index of the newest entry, 0 for none."""
        return len(self._log) - 1

    @property
    def backlog_entries(self) -> int:
        """How many entries are not committed."""
        return self.last_index - self._hard_state.commit_index

    @property
    def backlog_bytes(self) -> int:
        """Payload bytes of the entries that are not committed."""
        return self._backlog_bytes

    def term_at(self, index: int) -> int:
        """Term of the entry at `index`, which must exist."""
        return self._log[index][2]

    def payload_at(self, index: int) -> bytes:
        """Payload of the entry at `index`, which must exist."""
        return self._log[index][0]

    # The names below are the engine's interface (pysyncobj.journal.Journal).

    def __len__(self) -> int:
        return len(self._log)

    @overload
    def __getitem__(self, position: int) -> LogEntry: ...
    @overload
    def __getitem__(self, position: slice) -> list[LogEntry]: ...
    def __getitem__(self, position: int | slice) -> LogEntry | list[LogEntry]:
        return self._log[position]

    def add(self, payload: bytes, index: int, term: int) -> None:
        """Append one entry and record it."""
        require(index == len(self._log), f"journal entry {index} does not follow {len(self._log) - 1}")
        require(
            self._log[-1][2] <= term <= self._hard_state.term, f"journal entry {index} has term {term} out of order"
        )
        self._log.append((payload, index, term))
        self._backlog_bytes += len(payload)
        self._record(Append(JournalEntry(index, term, payload)))

    def deleteEntriesFrom(self, position: int) -> None:  # noqa: N802 - the engine's name
        """Drop the entries from `position`, which equals the index, and record it."""
        # SAFETY: a committed entry is never removed, whoever asks
        # (test_journal.py::test_truncation_stops_at_the_commit_index).
        require(position > self._hard_state.commit_index, f"truncation at {position} would drop committed entries")
        require(position <= self.last_index, f"truncation at {position} is past the end of the journal")
        self._backlog_bytes -= sum(len(entry[0]) for entry in self._log[position:])
        del self._log[position:]
        self._record(TruncateFrom(position))

    def setCurrentTerm(self, term: int, voted_for: str | None) -> None:  # noqa: N802 - the engine's name
        """Record term and vote."""
        old = self._hard_state
        # SAFETY: one vote per term, and terms only rise, across restarts too
        # (test_journal.py::test_a_vote_is_never_changed).
        require(term >= old.term, f"term would fall from {old.term} to {term}")
        require(term > old.term or old.voted_for in (None, voted_for), f"second vote in term {term}")
        self._hard_state = HardState(term, voted_for, old.commit_index)
        self._record(SetHardState(self._hard_state))

    def getCurrentTerm(self) -> int:  # noqa: N802 - the engine's name
        """Return the recorded term."""
        return self._hard_state.term

    def getVotedForNodeId(self) -> str | None:  # noqa: N802 - the engine's name
        """Return the recorded vote."""
        return self._hard_state.voted_for

    def setRaftCommitIndex(self, index: int) -> None:  # noqa: N802 - the engine's name
        """Record a risen commit index."""
        old = self._hard_state
        if index == old.commit_index:
            return
        require(old.commit_index < index <= self.last_index, f"commit index {index} out of range")
        self._backlog_bytes -= sum(len(entry[0]) for entry in self._log[old.commit_index + 1 : index + 1])
        self._hard_state = HardState(old.term, old.voted_for, index)
        self._record(AdvanceCommit(self._hard_state))

    def getRaftCommitIndex(self) -> int:  # noqa: N802 - the engine's name
        """Return the recorded commit index."""
        return self._hard_state.commit_index

    def onOneSecondTimer(self) -> None:  # noqa: N802 - the engine's name
        """Nothing is written late: there is nothing to do once a second."""


def _verify(entries: Sequence[JournalEntry], hard_state: HardState) -> None:
    """Refuse a journal on which no correct run can have stopped."""
    term = 1
    for position, entry in enumerate(entries, 1):
        if entry.index != position:
            raise CorruptionError(f"journal has index `{entry.index}` where `{position}` belongs: restore this node")
        if not term <= entry.term <= hard_state.term:
            raise CorruptionError(f"journal entry `{position}` has term `{entry.term}` out of order: restore this node")
        if not is_payload(entry.payload):
            raise CorruptionError(f"journal entry `{position}` is of no known kind: restore this node")
        term = entry.term
    if not 0 <= hard_state.commit_index <= len(entries):
        raise CorruptionError(
            f"commit index `{hard_state.commit_index}` lies past the journal's end `{len(entries)}`: restore this node"
        )
    if not 0 <= hard_state.term <= TERM_MAX:
        raise CorruptionError(f"term `{hard_state.term}` is out of range: restore this node")
