"""The state that the parts of the contained engine share: declarations only, values come from `contained.py`.

Names that begin with `_SyncObj__` are the stock engine's private attributes.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable

from govraft.adapters.engine.frames import AppendEntries, LogEntry, Message
from govraft.adapters.engine.journal import EngineJournal
from govraft.adapters.engine.pinned import Node
from govraft.adapters.engine.progress import Progress
from govraft.adapters.engine.timing import EngineTiming

__all__ = ["CANDIDATE", "FOLLOWER", "LEADER", "EngineNode", "EngineState"]

FOLLOWER, CANDIDATE, LEADER = 0, 1, 2
"""The engine's numbers of its states."""


class EngineNode(Node):  # type: ignore[misc] # the engine is untyped
    """A member, with a hash that is the same in every process: the engine iterates over sets of nodes."""

    def __init__(self, node_id: str) -> None:
        super().__init__(node_id)
        self._stable_hash = int.from_bytes(hashlib.sha256(node_id.encode()).digest()[:7])

    def __hash__(self) -> int:
        return self._stable_hash


class EngineState:
    """Attributes of one contained engine.

    Attributes:
        faults: Frames dropped, by reason.
        term_jumps: Frames that asked for a large rise of the term, taken or dropped, by member.
    """

    _SyncObj__raftCurrentTerm: int
    _SyncObj__raftState: int
    _SyncObj__raftCommitIndex: int
    _SyncObj__raftLastApplied: int
    _SyncObj__raftElectionDeadline: float
    _SyncObj__raftLeader: EngineNode | None
    _SyncObj__raftMatchIndex: dict[EngineNode, int]
    _SyncObj__votedForNodeId: str | None
    _SyncObj__votesCount: int
    _SyncObj__selfNode: EngineNode | None
    _SyncObj__otherNodes: set[EngineNode]
    _SyncObj__readonlyNodes: set[EngineNode]
    _SyncObj__connectedNodes: set[EngineNode]
    _SyncObj__lastResponseTime: dict[EngineNode, float]
    _SyncObj__newAppendEntriesTime: float
    _SyncObj__setState: Callable[[int], None]

    turn_entries: int

    _node_id: str
    _journal: EngineJournal
    _timing: EngineTiming
    _rng: random.Random
    _now: Callable[[], float]
    _post: Callable[[EngineNode, Message], None]
    _apply: Callable[[LogEntry], None]
    _welcome: Callable[[bytes], bool]
    _votes: set[str]
    _prevotes: set[str]
    _is_prevoting: bool
    _is_prevote_won: bool
    _leader_of_term: str | None
    _leader_heard_at: float | None
    _progress: dict[EngineNode, Progress]
    _peers: dict[str, EngineNode]
    _links: set[str]
    _epoch: int
    _state_epoch: Callable[[], int] | None
    _jumped_at: float
    _proven_term: int
    _last_append: tuple[tuple[int, ...], AppendEntries] | None
    faults: Counter[str]
    term_jumps: Counter[str]
    may_vote: bool = True
    """Whether it remembers the votes that it cast."""

    @property
    def _state_behind(self) -> int | None:
        """The epoch of the state, if that does not know the electorate yet by which this member counts."""
        epoch = self._epoch if self._state_epoch is None else self._state_epoch()
        return epoch if epoch < self._epoch else None

    def _hand_on(self) -> None:
        raise NotImplementedError

    def _follow(self, node: EngineNode) -> None:
        raise NotImplementedError

    def _end_prevote(self) -> None:
        raise NotImplementedError

    @property
    def is_leader(self) -> bool:
        """Whether the engine is in the state of a leader."""
        return self._SyncObj__raftState == LEADER

    @property
    def _is_alone(self) -> bool:
        return self._SyncObj__selfNode is not None and not self._SyncObj__otherNodes
