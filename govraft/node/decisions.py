"""What waits to be written to the decision log: in order, bounded, and never forgotten without a count.

| mode | an allow | a denial | the disk fails |
|---|---|---|---|
| `best_effort` | leaves at once | leaves at once | what waits is tried again; beyond the bound it is dropped |
| `strict` | leaves once its record is durable | leaves at once | every allow is a denial until a write succeeds |

What was dropped is counted, and the next record that is written says how many are missing before it. A write that
failed is tried again with the same records, save for the allows of a strict log: their clients were denied, which is
a decision of its own. If such a write took effect all the same, a decision is in the log twice, never not at all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

from govraft.core.evidence.decisions import Noted, gap_fields
from govraft.core.model import limits

__all__ = ["Batch", "DecisionBuffer", "DecisionMode", "Told"]

BATCH_RECORDS = 1_024

Told = Callable[[str], None]
"""Called once: with an empty text when the record is durable, else with why it is not known to be."""


class DecisionMode(StrEnum):
    """What an allow waits for."""

    BEST_EFFORT = "best_effort"
    STRICT = "strict"


class _Pending(NamedTuple):
    noted: Noted
    told: Told | None
    size: int


class Batch(NamedTuple):
    """Records to be written in one go.

    Attributes:
        noted: In order; a gap comes last.
        dropped: How many the gap speaks of, 0 without one.
    """

    pending: tuple[_Pending, ...]
    noted: tuple[Noted, ...]
    dropped: int


class DecisionBuffer:
    """The decisions that are not durable yet. At most one batch is under way at a time.

    Attributes:
        recorded, dropped, failures: Totals since the start: records made durable, decisions dropped, failed writes.
        failure: Why the last write failed; empty when it did not.
    """

    def __init__(
        self,
        mode: DecisionMode,
        node: str,
        *,
        records_max: int = limits.DECISION_BUFFER_RECORDS,
        bytes_max: int = limits.DECISION_BUFFER_BYTES,
    ) -> None:
        self.mode = mode
        self._node = node
        self._records_max = records_max
        self._bytes_max = bytes_max
        self._pending: deque[_Pending] = deque()
        self._bytes = 0
        self._missing = 0
        self._under_way: Batch | None = None
        self.recorded = 0
        self.dropped = 0
        self.failures = 0
        self.failure = ""

    @property
    def size(self) -> int:
        """How many records wait, those under way included."""
        return len(self._pending) + (0 if self._under_way is None else len(self._under_way.pending))

    @property
    def is_writing(self) -> bool:
        """Whether a batch is under way."""
        return self._under_way is not None

    @property
    def has_work(self) -> bool:
        """Whether there is anything to write."""
        return bool(self._pending or self._missing)

    @property
    def refusal(self) -> str:
        """Why no allow may leave now; empty if it may, or may once it is recorded."""
        if self.mode is not DecisionMode.STRICT:
            return ""
        # SAFETY: test_decisions.py::test_a_failing_disk_in_strict_mode_refuses_every_allow
        return self.failure or ("" if self._has_room(0) else "too many decisions wait to be recorded")

    def add(self, noted: Noted, told: Told | None = None) -> bool:
        """Add a decision; False if it was dropped, and counted.

        Args:
            noted: The decision.
            told: For an allow that waits. Called only if this returns True.
        """
        size = len(noted.request or b"")
        if not self._has_room(size):
            self.drop()
            return False
        self._pending.append(_Pending(noted, told, size))
        self._bytes += size
        return True

    def drop(self) -> None:
        """Count a decision that cannot be recorded."""
        self._missing += 1
        self.dropped += 1

    def take(self, wall: int) -> Batch | None:
        """The next batch to write; None while one is under way or there is nothing to write.

        Args:
            wall: WallMs, for the record of a gap.
        """
        if self._under_way is not None or not self.has_work:
            return None
        pending = tuple(self._pending.popleft() for _ in range(min(BATCH_RECORDS, len(self._pending))))
        self._bytes -= sum(item.size for item in pending)
        noted = [item.noted for item in pending]
        # What was dropped came after everything that still waits.
        missing = 0 if self._pending else self._missing
        if missing:
            noted.append(Noted(gap_fields(self._node, wall, missing)))
            self._missing = 0
        self._under_way = Batch(pending, tuple(noted), missing)
        return self._under_way

    def written(self, batch: Batch) -> None:
        """The batch is durable."""
        self._under_way = None
        self.failure = ""
        self.recorded += len(batch.pending)
        for item in batch.pending:
            if item.told is not None:
                item.told("")

    def failed(self, batch: Batch, why: str) -> None:
        """The batch is not known to be durable."""
        self._under_way = None
        self.failures += 1
        self.failure = why or "the decision log failed"
        self._missing += batch.dropped
        kept = [item for item in batch.pending if item.told is None]
        self._pending.extendleft(reversed(kept))
        self._bytes += sum(item.size for item in kept)
        for item in batch.pending:
            if item.told is not None:
                item.told(self.failure)
        self._give_up_waiting()
        while self._pending and not self._fits():
            self._bytes -= self._pending.pop().size
            self.drop()

    def stall(self, why: str) -> None:
        """The batch under way takes too long: whoever waits is told so, and whoever comes is refused."""
        self.failure = why
        if self._under_way is not None:
            for item in self._under_way.pending:
                if item.told is not None:
                    item.told(why)
        self._give_up_waiting()

    def _give_up_waiting(self) -> None:
        """Tell the allows that wait for a later write: they are decided again, and are not to be recorded as allows."""
        waiting = [item for item in self._pending if item.told is not None]
        if waiting:
            self._pending = deque(item for item in self._pending if item.told is None)
            self._bytes -= sum(item.size for item in waiting)
            for item in waiting:
                if item.told is not None:
                    item.told(self.failure)

    def _has_room(self, size: int) -> bool:
        return len(self._pending) < self._records_max and self._bytes + size <= self._bytes_max

    def _fits(self) -> bool:
        return len(self._pending) <= self._records_max and self._bytes <= self._bytes_max
