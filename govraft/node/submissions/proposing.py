"""The leader's side: what waits to be proposed, what is under way, and when the next batch goes to Raft.

The leader proposes the next batch once the last one is certified, or a lease has passed, and `pacing` agrees. Then
every node has, in each round, a moment at which nothing is committed above the certified state, and checks go on under
a constant stream of commands.

A change of the electorate is proposed alone: while one is under way, another one waits like any command that the leader
has no place for yet.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from govraft.core.codec.canonical import pack
from govraft.core.machine.machine import AppliedEntry, Machine
from govraft.core.model import limits
from govraft.core.model.commands import ClusterRules, Command
from govraft.core.model.units import BoottimeNs
from govraft.errors import AvailabilityError
from govraft.node.convergence import Convergence
from govraft.node.member_changes import Unfit, judge_change, judge_rules
from govraft.node.shares import Shares
from govraft.node.submissions.pacing import Pacing
from govraft.ports.clock import Clock
from govraft.ports.sequencer import Sequencer

__all__ = ["Proposer"]


class _Queued(NamedTuple):
    """A command that waits to be proposed."""

    envelope: bytes
    authors: tuple[str, ...]


class Proposer:
    """What one node proposes for as long as it leads. Envelopes are named by their digest."""

    def __init__(self, machine: Machine, convergence: Convergence, clock: Clock, lease_ns: int) -> None:
        self._machine = machine
        self._convergence = convergence
        self._clock = clock
        self._pacing = Pacing(lease_ns)
        self.queue: dict[bytes, _Queued] = {}
        self._shares = Shares()
        self._flight: dict[bytes, None] = {}
        self._flight_seq = 0
        self._changes: set[bytes] = set()
        """Digests of the changes of the electorate that are queued or proposed: at most one."""
        self.peer_rules: dict[str, int] = {}

    def stop(self) -> None:
        """This node does not lead: what waited is dropped, never sent on."""
        self.queue.clear()
        self._shares.clear()
        self._flight.clear()
        self._changes.clear()
        self._flight_seq = 0
        self._pacing.restart()

    def may_change(self, name: bytes) -> bool:
        """Whether no other change of the electorate is under way."""
        others = self._changes - {name}
        return not others and self._convergence.epochs.uncertified is None

    def holds(self, name: bytes) -> bool:
        """Whether that command is queued, or proposed and not yet applied."""
        return name in self._flight or name in self.queue

    def has_room(self, authors: tuple[str, ...]) -> bool:
        """Whether one more command of these authors may wait."""
        is_full = len(self.queue) >= limits.PENDING_SUBMITS
        return not is_full and self._shares.has_room(authors, limits.PENDING_SUBMITS_OF_ONE)

    def unfit(self, name: bytes, change: Command | None) -> Unfit | None:
        """Why a change of the electorate is not proposed; None if it may be, or already is."""
        if change is None or self.holds(name):
            return None
        convergence, now = self._convergence, self._clock.boottime()
        if isinstance(change, ClusterRules):
            return judge_rules(change, self._machine.electorate, self.peer_rules)
        return judge_change(change, self._machine, convergence.leading, convergence.certified_seq, now)

    def enqueue(self, name: bytes, envelope: bytes, authors: tuple[str, ...], *, is_change: bool) -> None:
        """Let a command wait for the next batch, if there is room for it."""
        if not self.holds(name) and self.has_room(authors):
            self.queue[name] = _Queued(envelope, authors)
            self._changes |= {name} if is_change else set()
            self._shares.take(authors)

    def _dequeue(self, name: bytes) -> None:
        queued = self.queue.pop(name, None)
        if queued is not None:
            self._shares.give_back(queued.authors)

    def on_applied(self, name: bytes, entry: AppliedEntry) -> None:
        """The envelope of that digest was applied, whoever proposed it."""
        self._dequeue(name)
        if name in self._flight:
            del self._flight[name]
            self._flight_seq = entry.seq
        self._changes.discard(name)

    def turn(self, sequencer: Sequencer, now: BoottimeNs, *, is_held: bool) -> None:
        """Hand the next batch to Raft if it is time, and unless it is held back."""
        certified = self._convergence.certified_seq
        is_certified = not self._flight and certified >= self._flight_seq
        is_open = self._machine.seq <= certified and not sequencer.has_unapplied
        self._pacing.look(now, is_certified=is_certified, is_open=is_open)
        # Nothing beyond a change of the electorate can become effective before it is certified.
        if self._convergence.epochs.uncertified is not None or is_held:
            return
        if self.queue and self._pacing.may_hand(now):
            self._propose(sequencer, now)

    def _propose(self, sequencer: Sequencer, now: BoottimeNs) -> None:
        self._pacing.handed(now)
        self._flight.clear()
        self._changes &= self.queue.keys()
        batch = deque(self.queue.items())
        size = 0
        while batch and len(self._flight) < limits.PROPOSAL_BATCH_ENTRIES:
            name, queued = batch.popleft()
            entry = pack({"envelope": queued.envelope, "time": self._clock.wall(), "v": 1})
            size += len(entry)
            # SAFETY: no node may allow until all of a batch is applied everywhere
            # (test_submissions.py::test_long_commands_are_no_batch).
            if self._flight and size > limits.ROUND_BYTES:
                return
            try:
                sequencer.propose(entry)
            except AvailabilityError:
                return
            self._dequeue(name)
            self._flight[name] = None
