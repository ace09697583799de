"""What a leader knows of one follower's log, and how much it may send.

=============  ================================================  ====================================
state          sends                                             leaves when
=============  ================================================  ====================================
probing        one frame, then waits a heartbeat for the answer  the probed position is acknowledged
replicating    ahead of the answers, up to `WINDOW_BYTES`        a frame is rejected, or the link fell
=============  ================================================  ====================================

While a link is up `match_index` only rises; a rejection only lowers `next_index`, and never to `match_index` or below
(H25, H26). A new link may lead to a node whose store was lost and made again: what it holds must be told anew.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from govraft.core.model.limits import FRAME_BYTES, PEER_QUEUE_BYTES
from govraft.errors import require

__all__ = ["WINDOW_BYTES", "Progress"]

WINDOW_BYTES = 4 * 1024 * 1024
"""Unacknowledged payload bytes on the way to one follower. Above it, only heartbeats are sent."""

require(WINDOW_BYTES + FRAME_BYTES <= PEER_QUEUE_BYTES, "a full window must fit into a peer's queue")


@dataclass(slots=True)
class Progress:
    """One follower, as its leader sees it in one term.

    Attributes:
        next_index: First entry to send next.
        match_index: Up to here the follower's log is known to equal the leader's.
        is_probing: The follower's position is not known yet.
        told_commit_index: Commit index in the newest frame.
    """

    next_index: int
    match_index: int = 0
    is_probing: bool = True
    told_commit_index: int = 0
    _is_awaited: bool = False
    _sent_at: float = 0.0
    _in_flight: deque[tuple[int, int]] = field(default_factory=deque)
    _in_flight_bytes: int = 0

    @property
    def has_room(self) -> bool:
        """Whether the next frame may carry entries."""
        return self.is_probing or self._in_flight_bytes < WINDOW_BYTES

    def is_due(self, now: float, last_index: int, commit_index: int, heartbeat_s: float) -> bool:
        """Whether the follower lacks something that it can be sent now."""
        if self.is_probing and self._is_awaited:
            return now - self._sent_at >= heartbeat_s
        if self.told_commit_index < commit_index:
            return True
        return self.has_room and (self.is_probing or self.next_index <= last_index)

    def note_sent(self, now: float, end_index: int, payload_bytes: int, commit_index: int) -> None:
        """Note that a frame with the entries from `next_index` to `end_index` was handed over."""
        self._sent_at = now
        self.told_commit_index = commit_index
        if self.is_probing:
            self._is_awaited = True
            return
        self.next_index = end_index + 1
        if payload_bytes:
            self._in_flight.append((end_index, payload_bytes))
            self._in_flight_bytes += payload_bytes

    def note_match(self, match_index: int) -> None:
        """Note that the follower's log equals the leader's up to `match_index`. Late answers change nothing."""
        if match_index >= self.next_index - 1:
            self.is_probing = False
            self._is_awaited = False
        self.match_index = max(self.match_index, match_index)
        self.next_index = max(self.next_index, match_index + 1)
        while self._in_flight and self._in_flight[0][0] <= self.match_index:
            self._in_flight_bytes -= self._in_flight.popleft()[1]

    def note_rejected(self, prev_index: int, hint: int) -> None:
        """Note that the follower lacks the entry `prev_index` or holds another, and would go on at `hint`."""
        is_stale = prev_index <= self.match_index or prev_index >= self.next_index
        if is_stale or (self.is_probing and prev_index != self.next_index - 1):
            return
        # SAFETY: strictly lower each time, and never below what is known to match: no livelock, no rewind
        # (test_progress.py::test_a_rejection_only_lowers).
        self.next_index = max(self.match_index + 1, min(hint, prev_index))
        self._probe()

    def note_link_up(self) -> None:
        """Note that frames sent before may be lost, and the log as well: ask again, from what was known to match."""
        if not self.is_probing:
            self.next_index = self.match_index + 1
        self.match_index = 0
        self._probe()

    def _probe(self) -> None:
        self.is_probing = True
        self._is_awaited = False
        self._in_flight.clear()
        self._in_flight_bytes = 0
