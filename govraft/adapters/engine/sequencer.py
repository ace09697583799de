"""pysyncobj behind the `Sequencer` port."""

# ruff: noqa: SLF001 - the engine's state is private

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType

from govraft.adapters.engine.contained import ContainedEngine
from govraft.adapters.engine.frames import LogEntry, Message, decode_frame, encode_frame
from govraft.adapters.engine.journal import EngineJournal, ReadJournal
from govraft.adapters.engine.pinned import engine_time
from govraft.adapters.engine.state import EngineNode
from govraft.adapters.engine.timing import EngineTiming
from govraft.core.model.genesis import FIRST_EPOCH
from govraft.core.model.limits import (
    ENGINE_BACKLOG_BYTES,
    ENGINE_BACKLOG_ENTRIES,
    ENGINE_WINDOW_ENTRIES,
    ENTRY_BYTES,
    OBSERVERS,
    VOTERS,
)
from govraft.errors import AvailabilityError, CorruptionError, DecodeError, InputError, LimitExceededError, require
from govraft.ports.sequencer import JournalOp
from govraft.ports.store import HardState, JournalEntry

__all__ = ["PysyncobjSequencer"]


def _all_welcome(entry: bytes) -> bool:
    """Take any entry: the port's default."""
    del entry
    return True


class PysyncobjSequencer:
    """One member of a cluster, driven by its owner's loop. Implements `govraft.ports.sequencer.Sequencer`.

    Not thread-safe. After any exception out of `turn`, `receive` or `link` the object refuses to go on: its state is
    no longer known to be whole.
    """

    _is_halted = False
    _last_frame: tuple[Message, bytes] | None = None

    def __init__(
        self,
        *,
        node_id: str,
        voters: Sequence[str],
        observers: Sequence[str] = (),
        epoch: int = FIRST_EPOCH,
        state_epoch: Callable[[], int] | None = None,
        journal: Sequence[JournalEntry],
        hard_state: HardState,
        timing: EngineTiming,
        monotonic: Callable[[], float],
        rng: random.Random,
        send: Callable[[str, bytes], None],
        record: Callable[[JournalOp], None],
        on_commit: Callable[[int, int, bytes], None],
        welcome: Callable[[bytes], bool] = _all_welcome,
        applied: int = 0,
        read_journal: ReadJournal | None = None,
        window_entries: int = ENGINE_WINDOW_ENTRIES,
    ) -> None:
        """Resume from what the store holds; committed entries are handed on by the first turns.

        Args:
            node_id: This node: voter, observer, or neither.
            voters: All voting members of `epoch`. Up to `VOTERS`.
            observers: Members that receive all entries and count for nothing.
            epoch: The newest one whose certificate the store holds.
            state_epoch: The epoch of the state that the entries handed on make; None if no entry changes it.
            journal: All stored entries from index 1 on.
            hard_state: The stored hard state.
            timing: Time-outs, equal on all members.
            monotonic: Seconds that never fall; read once per call.
            rng: Draws the election time-outs.
            send: `(peer, frame)`. Must hold the frame back until all ops recorded before are durable.
            record: Takes the ops to make durable, in order.
            on_commit: `(index, term, entry)`. Total: if it raises, the node halts.
            welcome: Whether this member takes a leader's entry into its log; what a majority refuses never commits.
            applied: Highest index that `on_commit` shall not be given again; it must be committed.
            read_journal: Reads durable entries back; without it all entries stay in memory.
            window_entries: How many of the newest entries stay in memory. At least 1.

        Raises:
            InputError: The members do not make a cluster.
            CorruptionError: `journal` and `hard_state` contradict each other, or `applied`.
        """
        _verify_members(voters, observers)
        self._monotonic = monotonic
        self._send = send
        self._on_commit = on_commit
        self._now = monotonic()
        if not 0 <= applied <= hard_state.commit_index:
            raise CorruptionError(f"applied up to `{applied}`, committed up to `{hard_state.commit_index}` only")
        self._journal = EngineJournal(journal, hard_state, record, read=read_journal, window_entries=window_entries)
        with engine_time(self._now):
            self._engine = ContainedEngine(
                node_id=node_id,
                voters=voters,
                observers=observers,
                epoch=epoch,
                state_epoch=state_epoch,
                journal=self._journal,
                timing=timing,
                rng=rng,
                now=lambda: self._now,
                post=self._post,
                apply=self._apply,
                applied=applied,
                welcome=welcome,
            )

    @property
    def leader_hint(self) -> str | None:
        """Whom this member believes to lead `term`, or None."""
        leader: EngineNode | None = self._engine._SyncObj__raftLeader
        return None if leader is None else str(leader.id)

    @property
    def term(self) -> int:
        """The highest term seen."""
        return self._engine._SyncObj__raftCurrentTerm

    @property
    def term_jumps(self) -> Mapping[str, int]:
        """As the port."""
        return self._engine.term_jumps

    @property
    def is_leader(self) -> bool:
        """Whether this member believes to lead."""
        return self._engine.is_leader

    @property
    def commit_index(self) -> int:
        """The highest index known to be committed."""
        return self._engine._SyncObj__raftCommitIndex

    @property
    def last_index(self) -> int:
        """The highest index in the journal."""
        return self._journal.last_index

    @property
    def has_unapplied(self) -> bool:
        """Whether an entry is known to be committed that has not been handed on."""
        announced = self._engine._SyncObj__leaderCommitIndex or 0
        return max(self.commit_index, announced) > self._engine._SyncObj__raftLastApplied

    def holders(self, index: int) -> frozenset[str]:
        """The other members whose logs hold that entry, by this leader's knowledge; see the port."""
        progress = self._engine._progress
        return frozenset(node.id for node, item in progress.items() if item.match_index >= index)

    def resign(self, seconds: float) -> None:
        """Stop leading, and stand aside for so long; see the port."""
        require(not self._is_halted, "the engine is halted")
        with self._engaged():
            self._engine.resign(seconds)

    @property
    def has_more(self) -> bool:
        """Whether the last turn left committed entries of the own log to the next one."""
        return self._engine.has_more

    def entry(self, index: int) -> bytes | None:
        """The entry with that index, or None if the journal holds none."""
        return self._journal.payload_at(index)[1:] if 1 <= index <= self._journal.last_index else None

    @property
    def journal_floor(self) -> int:
        """Lowest index that is held in memory. For metrics and tests."""
        return self._journal.floor

    def mark(self) -> int:
        """How many ops were recorded so far."""
        return self._journal.mark()

    def made_durable(self, mark: int) -> None:
        """Learn that the first `mark` recorded ops are durable."""
        self._journal.made_durable(mark, self._engine._SyncObj__raftLastApplied)

    @property
    def faults(self) -> Mapping[str, int]:
        """How many frames were dropped, by reason. For metrics and tests."""
        return MappingProxyType(self._engine.faults)

    def propose(self, entry: bytes) -> None:
        """Append `entry` to this leader's log; see the port."""
        require(not self._is_halted, "the engine is halted")
        if not entry:
            raise InputError("entry is empty, propose at least one byte")
        if len(entry) > ENTRY_BYTES:
            raise LimitExceededError(f"entry of `{len(entry)}` bytes is above {ENTRY_BYTES}, make it smaller")
        if not self._engine.is_leader:
            raise AvailabilityError(
                "this node does not lead, propose to the leader", code="not_leader", leader_hint=self.leader_hint
            )
        if (
            self._journal.backlog_entries >= ENGINE_BACKLOG_ENTRIES
            or self._journal.backlog_bytes + len(entry) >= ENGINE_BACKLOG_BYTES
        ):
            raise AvailabilityError("too many entries wait for a quorum, retry later", code="queue_full")
        with self._engaged():
            self._engine.append(entry)

    def receive(self, peer: str, frame: bytes) -> None:
        """Handle one frame of the authenticated member `peer`; see the port."""
        require(not self._is_halted, "the engine is halted")
        try:
            message = decode_frame(frame)
        except DecodeError:
            self._engine.faults["malformed"] += 1
            return
        with self._engaged():
            self._engine._SyncObj__onMessageReceived(self._engine.peer(peer), message)

    def link(self, peer: str, up: bool) -> None:  # noqa: FBT001 - the port's signature
        """Learn that frames to `peer` can be sent from now on, or cannot."""
        require(not self._is_halted, "the engine is halted")
        with self._engaged():
            self._engine.set_link(self._engine.peer(peer), is_up=up)

    @property
    def epoch(self) -> int:
        """The epoch of the electorate by which this member votes and counts."""
        return self._engine._epoch

    def set_voters(self, voters: Sequence[str], observers: Sequence[str], epoch: int, *, led_term: int = 0) -> None:
        """Vote and count by the electorate of `epoch` from now on; see the port.

        Raises:
            InputError: The members do not make a cluster.
        """
        require(not self._is_halted, "the engine is halted")
        _verify_members(voters, observers)
        if epoch > self._engine._epoch:
            with self._engaged():
                self._engine.set_members(voters, observers, epoch, led_term)

    def adopt_term(self, term: int, leader: str) -> None:
        """Enter the term of a lease that verified, and follow its leader; see the port."""
        require(not self._is_halted, "the engine is halted")
        with self._engaged():
            self._engine.adopt_proven_term(term, self._engine.peer(leader))

    def limit_turn(self, entries: int) -> None:
        """Hand on at most so many entries in one turn."""
        self._engine.turn_entries = entries

    def withhold_votes(self) -> None:
        """Neither vote nor stand; see the port."""
        self._engine.may_vote = False

    def release_votes(self) -> None:
        """Take part in elections again; see the port."""
        require(not self._is_halted, "the engine is halted")
        with self._engaged():
            self._engine.release_votes()

    def turn(self) -> None:
        """One turn of the loop; see the port."""
        require(not self._is_halted, "the engine is halted")
        with self._engaged():
            self._engine.tick()

    @contextmanager
    def _engaged(self) -> Iterator[None]:
        """Let the engine run at one point in time; halt if it fails half-way."""
        self._now = self._monotonic()
        try:
            with engine_time(self._now):
                yield
        except BaseException:
            self._is_halted = True
            raise

    def _post(self, node: EngineNode, message: Message) -> None:
        # Followers in step get equal messages: encode the entries once.
        if self._last_frame is None or self._last_frame[0] is not message:
            self._last_frame = (message, encode_frame(message))
        self._send(node.id, self._last_frame[1])

    def _apply(self, entry: LogEntry) -> None:
        payload, index, term = entry
        self._on_commit(index, term, payload[1:])


def _verify_members(voters: Sequence[str], observers: Sequence[str]) -> None:
    """Refuse lists of members that do not make a cluster."""
    members = [*voters, *observers]
    if len(set(members)) != len(members):
        raise InputError("a member is listed twice, list each once as voter or observer")
    if not 1 <= len(voters) <= VOTERS:
        raise InputError(f"`{len(voters)}` voters, choose 1 to {VOTERS}")
    if len(observers) > OBSERVERS:
        raise InputError(f"`{len(observers)}` observers, choose up to {OBSERVERS}")
