"""The engine's journal: a window of it in memory, all of it in the store, its changes as ordered write operations.

The engine thinks that it writes; in truth each change becomes a `JournalOp` for the caller, who makes it durable
before any later frame leaves (H10, H23). Index 0 holds a sentinel that every member has and nobody stores, so stored
entries count from 1.

    0          1 … floor - 1                     floor … last_index
    sentinel   durable and applied: in the       in memory: all that is not durable or not applied,
               store only, read in pieces        and the newest ones, as far as the window allows

Nothing is ever removed from the front of the stored journal, so a follower far behind is fed from the disk: no
snapshot of a peer is needed, and none is taken (H4, H16, H24).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import overload

from govraft.adapters.engine.frames import NO_OP, TERM_MAX, LogEntry, is_payload
from govraft.core.model.limits import ENGINE_WINDOW_BYTES, ENGINE_WINDOW_ENTRIES, JOURNAL_READ_ENTRIES
from govraft.errors import CorruptionError, require
from govraft.ports.sequencer import AdvanceCommit, JournalOp
from govraft.ports.store import Append, HardState, JournalEntry, SetHardState, TruncateFrom

__all__ = ["EngineJournal", "ReadJournal"]

SENTINEL: LogEntry = (NO_OP, 0, 0)

ReadJournal = Callable[[int, int], list[JournalEntry]]
"""`(first, last)`: those entries, as `ports.Store.read_journal` gives them."""


class EngineJournal:
    """Implements pysyncobj's `Journal`; hands every change to `record`."""

    def __init__(
        self,
        entries: Sequence[JournalEntry],
        hard_state: HardState,
        record: Callable[[JournalOp], None],
        *,
        read: ReadJournal | None = None,
        window_entries: int = ENGINE_WINDOW_ENTRIES,
        window_bytes: int = ENGINE_WINDOW_BYTES,
    ) -> None:
        """Take over what the store holds.

        Args:
            entries: All stored entries from index 1 on; only the window is taken into memory.
            hard_state: The stored hard state.
            record: Takes each change.
            read: Gives back old entries. Without it all entries stay in memory.
            window_entries: How many of the newest entries stay in memory, at least.
            window_bytes: Payload bytes above which fewer do.

        Raises:
            CorruptionError: The stored values contradict each other.
        """
        last, commit = len(entries), hard_state.commit_index
        if not 0 <= commit <= last:
            raise CorruptionError(f"commit index `{commit}` lies past the journal's end `{last}`: restore this node")
        if not 0 <= hard_state.term <= TERM_MAX:
            raise CorruptionError(f"term `{hard_state.term}` is out of range: restore this node")
        self._read = read
        self._window_entries = max(1, window_entries)
        self._window_bytes = window_bytes
        self._hard_state = hard_state
        self._record = record
        self._floor = 1 if read is None else max(1, min(commit, last - self._window_entries) + 1)
        self._term_before = entries[self._floor - 2].term if self._floor > 1 else 0
        self._log = self._verified(entries[self._floor - 1 :], self._floor, self._term_before)
        self._log_bytes = _size(self._log)
        self._backlog_bytes = _size(self._log[commit + 1 - self._floor :])
        self._piece: list[LogEntry] = []
        self._recorded = 0
        self._durable = last
        self._marks: deque[tuple[int, int]] = deque()
        self._shrink(commit)

    @property
    def last_index(self) -> int:
        """Index of the newest entry, 0 for none."""
        return self._floor - 1 + len(self._log)

    @property
    def floor(self) -> int:
        """Lowest index in memory."""
        return self._floor

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
        return self._term_before if index == self._floor - 1 else self._at(index)[2]

    def payload_at(self, index: int) -> bytes:
        """Payload of the entry at `index`, which must exist."""
        return self._at(index)[0]

    def batch(self, first: int, count: int, size: int) -> list[LogEntry]:
        """Up to `count` entries from `first` on, of up to `size` payload bytes; at least one, if there is one."""
        found: list[LogEntry] = []
        for index in range(first, min(first + count, self.last_index + 1)):
            entry = self._at(index)
            size -= len(entry[0])
            if size < 0 and found:
                break
            found.append(entry)
        return found

    # What is durable, and what may leave the memory.

    def mark(self) -> int:
        """How many changes were recorded so far."""
        self._marks.append((self._recorded, self.last_index))
        return self._recorded

    def made_durable(self, mark: int, applied: int) -> None:
        """Learn that the first `mark` changes are durable, and drop from memory what is not needed there."""
        while self._marks and self._marks[0][0] <= mark:
            self._durable = max(self._durable, self._marks.popleft()[1])
        self._shrink(applied)

    def _shrink(self, applied: int) -> None:
        if self._read is None:
            return
        # SAFETY: what the disk may not hold, or hold differently, is never read back from there
        # (test_journal_window.py::test_a_replaced_tail_stays_in_memory_until_it_is_durable).
        droppable = min(applied, self._durable) - self._floor + 1
        count, size = 0, self._log_bytes
        while count < droppable and (len(self._log) - count > self._window_entries or size > self._window_bytes):
            size -= len(self._log[count][0])
            count += 1
        if count > 0:
            self._term_before = self._log[count - 1][2]
            del self._log[:count]
            self._floor += count
            self._log_bytes = size

    def _at(self, index: int) -> LogEntry:
        if index >= self._floor:
            return self._log[index - self._floor]
        return SENTINEL if index == 0 else self._old(index)

    def _old(self, index: int) -> LogEntry:
        """An entry that is in the store only. A piece at a time: whoever wants one wants its neighbours next."""
        piece = self._piece
        if not piece or not piece[0][1] <= index <= piece[-1][1]:
            require(self._read is not None and 0 < index < self._floor, f"journal has no entry {index}")
            first = index - (index - 1) % JOURNAL_READ_ENTRIES
            last = min(first + JOURNAL_READ_ENTRIES, self._floor) - 1
            found = [] if self._read is None else self._read(first, last)
            if len(found) != last - first + 1:
                raise CorruptionError(f"journal entries `{first}` to `{last}` are not all there: restore this node")
            piece = self._piece = self._verified(found, first, 0)
        return piece[index - piece[0][1]]

    def _verified(self, entries: Sequence[JournalEntry], first: int, term: int) -> list[LogEntry]:
        """Refuse entries which no correct run can have left."""
        found = []
        term = max(term, 1)
        for index, entry in enumerate(entries, first):
            if entry.index != index:
                raise CorruptionError(f"journal has index `{entry.index}` where `{index}` belongs: restore this node")
            if not term <= entry.term <= self._hard_state.term:
                raise CorruptionError(
                    f"journal entry `{index}` has term `{entry.term}` out of order: restore this node"
                )
            if not is_payload(entry.payload):
                raise CorruptionError(f"journal entry `{index}` is of no known kind: restore this node")
            term = entry.term
            found.append((entry.payload, index, term))
        return found

    # The names below are the engine's interface (pysyncobj.journal.Journal).

    def __len__(self) -> int:
        return self.last_index + 1

    @overload
    def __getitem__(self, position: int) -> LogEntry: ...
    @overload
    def __getitem__(self, position: slice) -> list[LogEntry]: ...
    def __getitem__(self, position: int | slice) -> LogEntry | list[LogEntry]:
        if isinstance(position, slice):
            return [self._at(index) for index in range(*position.indices(len(self)))]
        index = position if position >= 0 else len(self) + position
        if not 0 <= index < len(self):
            raise IndexError(position)
        return self._at(index)

    def add(self, payload: bytes, index: int, term: int) -> None:
        """Append one entry and record it."""
        last = self.last_index
        require(index == last + 1, f"journal entry {index} does not follow {last}")
        require(
            self.term_at(last) <= term <= self._hard_state.term, f"journal entry {index} has term {term} out of order"
        )
        self._log.append((payload, index, term))
        self._log_bytes += len(payload)
        self._backlog_bytes += len(payload)
        self._note(Append(JournalEntry(index, term, payload)))

    def deleteEntriesFrom(self, position: int) -> None:  # noqa: N802 - the engine's name
        """Drop the entries from `position`, which equals the index, and record it."""
        # SAFETY: a committed entry is never removed, whoever asks
        # (test_journal.py::test_truncation_stops_at_the_commit_index).
        require(position > self._hard_state.commit_index, f"truncation at {position} would drop committed entries")
        require(position <= self.last_index, f"truncation at {position} is past the end of the journal")
        dropped = _size(self._log[position - self._floor :])
        self._backlog_bytes -= dropped
        self._log_bytes -= dropped
        del self._log[position - self._floor :]
        # What takes their place is durable only with a later mark.
        self._durable = min(self._durable, position - 1)
        self._marks = deque((mark, min(index, position - 1)) for mark, index in self._marks)
        self._note(TruncateFrom(position))

    def setCurrentTerm(self, term: int, voted_for: str | None) -> None:  # noqa: N802 - the engine's name
        """Record term and vote."""
        old = self._hard_state
        # SAFETY: one vote per term, and terms only rise, across restarts too
        # (test_journal.py::test_a_vote_is_never_changed).
        require(term >= old.term, f"term would fall from {old.term} to {term}")
        require(term > old.term or old.voted_for in (None, voted_for), f"second vote in term {term}")
        self._hard_state = HardState(term, voted_for, old.commit_index)
        self._note(SetHardState(self._hard_state))

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
        # What is not applied is in memory, and what is not committed is not applied.
        self._backlog_bytes -= _size(self._log[old.commit_index + 1 - self._floor : index + 1 - self._floor])
        self._hard_state = HardState(old.term, old.voted_for, index)
        self._note(AdvanceCommit(self._hard_state))

    def getRaftCommitIndex(self) -> int:  # noqa: N802 - the engine's name
        """Return the recorded commit index."""
        return self._hard_state.commit_index

    def onOneSecondTimer(self) -> None:  # noqa: N802 - the engine's name
        """Nothing is written late: there is nothing to do once a second."""

    def _note(self, operation: JournalOp) -> None:
        self._recorded += 1
        self._record(operation)


def _size(entries: list[LogEntry]) -> int:
    return sum(len(entry[0]) for entry in entries)
