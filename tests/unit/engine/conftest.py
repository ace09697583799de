"""A deterministic cluster of contained engines: virtual clock, seeded network, disks that lose what was not synced.

Faults and checkers are kept apart: `Simulation` breaks things, `Checkers` only watches. One seed gives one run.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from operator import methodcaller
from typing import Any

import pytest

from govraft.adapters.engine import EngineTiming, PysyncobjSequencer
from govraft.adapters.engine.frames import RequestVote, ResponseVote, decode_frame
from govraft.errors import AvailabilityError
from govraft.ports.sequencer import AdvanceCommit, JournalOp
from govraft.ports.store import Append, HardState, JournalEntry, SetHardState, TruncateFrom

TIMING = EngineTiming(heartbeat_s=0.04, election_min_s=0.15, election_max_s=0.4, lease_s=0.4)
TICK_S = 0.01


class SafetyError(Exception):
    """A checker saw a guarantee broken."""


@dataclass
class Disk:
    """What survives a crash."""

    journal: list[JournalEntry] = field(default_factory=list)
    hard_state: HardState = field(default_factory=HardState)

    def read(self, first: int, last: int) -> list[JournalEntry]:
        return self.journal[first - 1 : last]

    def write(self, ops: list[JournalOp]) -> None:
        for op in ops:
            if isinstance(op, Append):
                if op.entry.index != len(self.journal) + 1:
                    raise SafetyError(f"journal gap at {op.entry.index}")
                self.journal.append(op.entry)
            elif isinstance(op, TruncateFrom):
                if op.index <= self.hard_state.commit_index:
                    raise SafetyError(f"truncated committed entry {op.index}")
                del self.journal[op.index - 1 :]
            elif isinstance(op, SetHardState | AdvanceCommit):
                self.hard_state = op.hard_state


@dataclass
class Batch:
    """Ops of one stretch of work, and all that must wait for them."""

    ops: list[JournalOp]
    frames: list[tuple[str, bytes]]
    commits: list[tuple[int, int, int, bytes]]
    mark: int = 0


class Checkers:
    """Safety only. Every violation raises at once."""

    def __init__(self) -> None:
        self.committed: dict[int, tuple[int, bytes]] = {}
        self.committed_in: dict[int, int] = {}
        self.leaders: dict[int, str] = {}
        self.votes: dict[tuple[str, int], str] = {}

    def see_commit(self, node: str, current_term: int, index: int, term: int, entry: bytes) -> None:
        self.committed_in[index] = min(current_term, self.committed_in.get(index, current_term))
        if self.committed.setdefault(index, (term, entry)) != (term, entry):
            raise SafetyError(f"{node} commits another entry at {index}")

    def see_leader(self, node: str, term: int, log: dict[int, tuple[int, bytes]]) -> None:
        if self.leaders.setdefault(term, node) != node:
            raise SafetyError(f"{node} and {self.leaders[term]} both lead term {term}")
        for index, committed in self.committed.items():
            # Not the entry's own term: a late vote may still elect a leader of a term before the one that committed.
            if self.committed_in[index] < term and log.get(index) != committed:
                raise SafetyError(f"{node} leads term {term} without committed entry {index}")

    def see_frame(self, sender: str, receiver: str, frame: bytes) -> None:
        """A member's vote in a term goes to one candidate, over all its lives: standing is a vote for itself."""
        message = decode_frame(frame)
        if isinstance(message, RequestVote | ResponseVote):
            vote = sender if isinstance(message, RequestVote) else receiver
            if self.votes.setdefault((sender, message.term), vote) != vote:
                raise SafetyError(f"{sender} voted twice in term {message.term}")


class Member:
    """One process and its disk. `sequencer` is None while it is down."""

    def __init__(self, simulation: Simulation, node_id: str) -> None:
        self.simulation = simulation
        self.id = node_id
        self.disk = Disk()
        self.sequencer: PysyncobjSequencer | None = None
        self.applied: list[tuple[int, bytes]] = []
        self.life = 0
        self.led_term = 0
        self.paused_until = 0.0
        self.sync_s = 0.001
        self._forget()

    def _forget(self) -> None:
        self._ops: list[JournalOp] = []
        self._lazy: list[JournalOp] = []
        self._frames: list[tuple[str, bytes]] = []
        self._commits: list[tuple[int, int, int, bytes]] = []
        self.syncing: Batch | None = None
        self.waiting = Batch([], [], [])

    def start(self) -> None:
        self._forget()
        self.life += 1
        self.applied = []
        self.led_term = 0
        simulation = self.simulation
        self.sequencer = PysyncobjSequencer(
            node_id=self.id,
            **self.electorate(),
            journal=list(self.disk.journal),
            hard_state=self.disk.hard_state,
            timing=TIMING,
            monotonic=lambda: simulation.now,
            rng=random.Random(simulation.rng.random()),
            send=lambda peer, frame: self._frames.append((peer, frame)),
            record=self._record,
            on_commit=self._on_commit,
            read_journal=self.disk.read,
            # Tiny, and another one in each life: nearly everything is read back.
            window_entries=1 + self.life * 3 % 7,
        )
        for peer in simulation.members:
            if peer != self.id:
                self.sequencer.link(peer, True)
        self.flush()

    def electorate(self) -> dict[str, Any]:
        """What a start says of the members."""
        return {"voters": self.simulation.voters, "observers": self.simulation.observers}

    def crash(self) -> None:
        self.sequencer = None
        self._forget()

    def _record(self, op: JournalOp) -> None:
        if isinstance(op, AdvanceCommit) and not self._ops:
            self._lazy.append(op)
        else:
            self._ops.append(op)

    def _on_commit(self, index: int, term: int, entry: bytes) -> None:
        if self.applied and index <= self.applied[-1][0]:
            raise SafetyError(f"{self.id} applied {index} twice or out of order")
        self.applied.append((index, entry))
        if self.sequencer is not None:
            self._commits.append((self.sequencer.term, index, term, entry))

    def flush(self) -> None:
        """Hold frames and commits back until the ops before them are durable; one sync at a time."""
        if not (self._ops or self._frames or self._commits):
            return
        batch = Batch(self._lazy + self._ops if self._ops else [], self._frames, self._commits)
        if self._ops:
            self._lazy = []
        self._ops, self._frames, self._commits = [], [], []
        if not batch.ops and self.syncing is None:
            self._release(batch)
            return
        if self.simulation.is_hasty:  # a planted bug: frames leave before the sync
            self._release(Batch([], batch.frames, batch.commits))
            batch = Batch(batch.ops, [], [])
        self.waiting.ops += batch.ops
        self.waiting.frames += batch.frames
        self.waiting.commits += batch.commits
        if batch.ops and self.sequencer is not None:
            self.waiting.mark = self.sequencer.mark()
        if self.syncing is None:
            self._sync()

    def _sync(self) -> None:
        """One sync for all that waits: group commit."""
        life, self.syncing, self.waiting = self.life, self.waiting, Batch([], [], [])
        self.simulation.after(self.sync_s, lambda: self._synced(life))

    def _synced(self, life: int) -> None:
        batch = self.syncing
        if life != self.life or batch is None:
            return
        self.disk.write(batch.ops)
        if batch.ops and self.sequencer is not None:
            self.sequencer.made_durable(batch.mark)
        self._release(batch)
        self.syncing = None
        if self.waiting.ops:
            self._sync()
        else:
            self._release(self.waiting)
            self.waiting = Batch([], [], [])

    def _release(self, batch: Batch) -> None:
        for commit in batch.commits:
            self.simulation.checkers.see_commit(self.id, *commit)
        for peer, frame in batch.frames:
            self.simulation.transmit(self.id, peer, frame)

    def run(self, action: Callable[[PysyncobjSequencer], None]) -> None:
        """Run `action`, let the engine take its turn, then flush."""
        sequencer = self.sequencer
        if sequencer is None:
            return
        action(sequencer)
        sequencer.turn()
        if sequencer.is_leader and sequencer.term != self.led_term:
            self.led_term = sequencer.term
            journal = sequencer._journal
            log = {
                index: (journal.term_at(index), journal.payload_at(index)[1:])
                for index in range(1, journal.last_index + 1)
            }
            self.simulation.checkers.see_leader(self.id, sequencer.term, log)
        self.flush()


class Simulation:
    """A cluster, its network and its nemesis."""

    member_type: type[Member] = Member
    disk_type: type[Disk] = Disk

    def __init__(self, seed: int, voters: int = 3, observers: int = 0) -> None:
        self.rng = random.Random(seed)
        self.now = 0.0
        self.voters = [f"n{number}" for number in range(1, voters + 1)]
        self.observers = [f"o{number}" for number in range(1, observers + 1)]
        self.checkers = Checkers()
        self.loss = self.duplication = 0.0
        self.delay_s = (0.0005, 0.002)
        self.blocked: set[tuple[str, str]] = set()
        self.is_hasty = False
        self.proposed = 0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0
        self.members = {name: self.member_type(self, name) for name in [*self.voters, *self.observers]}
        for member in self.members.values():
            member.start()
            self.after(self.rng.uniform(0, TICK_S), partial(self._tick, member))

    def after(self, delay_s: float, action: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._events, (self.now + delay_s, self._order, action))

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self._events and self._events[0][0] <= end:
            self.now, _, action = heapq.heappop(self._events)
            action()
        self.now = end

    def run_until(self, condition: Callable[[], bool], limit_s: float = 15.0) -> None:
        end = self.now + limit_s
        while not condition():
            if self.now >= end:
                raise TimeoutError("the cluster made no progress")
            self.run(0.05)

    def _tick(self, member: Member) -> None:
        self.after(TICK_S, lambda: self._tick(member))
        if self.now >= member.paused_until:
            member.run(lambda _sequencer: None)

    def transmit(self, sender: str, receiver: str, frame: bytes) -> None:
        self.checkers.see_frame(sender, receiver, frame)
        for _ in range(1 + (self.rng.random() < self.duplication)):
            if self.rng.random() >= self.loss:
                self.after(self.rng.uniform(*self.delay_s), lambda: self._deliver(sender, receiver, frame))

    def _deliver(self, sender: str, receiver: str, frame: bytes) -> None:
        member = self.members[receiver]
        if (sender, receiver) in self.blocked:
            return
        if self.now < member.paused_until:
            self.after(member.paused_until - self.now, lambda: self._deliver(sender, receiver, frame))
            return
        member.run(lambda sequencer: sequencer.receive(sender, frame))

    @property
    def leaders(self) -> list[Member]:
        return [member for member in self.members.values() if member.sequencer and member.sequencer.is_leader]

    @property
    def leader(self) -> Member:
        return max(self.leaders, key=lambda member: member.sequencer.term if member.sequencer else 0)

    def elect(self) -> Member:
        self.run_until(lambda: bool(self.leaders))
        self.run(0.3)
        return self.leader

    def isolate(self, *names: str) -> None:
        for name in names:
            for other in self.members:
                if other not in names:
                    self.blocked |= {(name, other), (other, name)}

    def propose(self) -> None:
        """Give a fresh entry to everybody who believes to lead."""
        for member in self.leaders:
            if self.now < member.paused_until:
                continue
            self.proposed += 1
            entry = b"entry %d at %s" % (self.proposed, member.id.encode())
            try:
                member.run(methodcaller("propose", entry))
            except AvailabilityError:
                continue

    def torment(self, seconds: float) -> None:
        """Random faults of all kinds for a while, with proposals all along."""
        end = self.now + seconds
        self._load(end)
        nemeses = [self._partition, self._cut_one_way, self._crash, self._power_cut, self._pause, self._weather]
        while self.now < end:
            self.run(self.rng.uniform(0.02, 0.5))
            self.rng.choice(nemeses)()

    def _load(self, end: float) -> None:
        if self.now < end:
            self.propose()
            self.after(self.rng.uniform(0.005, 0.05), lambda: self._load(end))

    def _partition(self) -> None:
        self.blocked.clear()
        if self.rng.random() < 0.7:
            self.isolate(*self.rng.sample(list(self.members), self.rng.randint(1, len(self.members))))

    def _cut_one_way(self) -> None:
        self.blocked.add((self.rng.choice(list(self.members)), self.rng.choice(list(self.members))))

    def _crash(self) -> None:
        self._bounce(self.rng.choice(list(self.members.values())))

    def _power_cut(self) -> None:
        for member in self.members.values():
            self._bounce(member)

    def _bounce(self, member: Member) -> None:
        if member.sequencer is not None:
            member.crash()
            downtime_s = self.rng.uniform(0.001, self.rng.choice([0.02, 0.8]))
            self.after(downtime_s, lambda: None if member.sequencer else member.start())

    def _pause(self) -> None:
        self.rng.choice(list(self.members.values())).paused_until = self.now + self.rng.uniform(0.05, 1.5)

    def _weather(self) -> None:
        self.loss = self.rng.choice([0.0, 0.0, 0.05, 0.3])
        self.duplication = self.rng.choice([0.0, 0.2, 0.5])
        self.delay_s = self.rng.choice([(0.0005, 0.002), (0.001, 0.05), (0.001, 0.4)])
        for member in self.members.values():
            member.sync_s = self.rng.choice([0.0005, 0.005, 0.1])

    def heal(self) -> None:
        """End all faults."""
        self.blocked.clear()
        self.loss = self.duplication = 0.0
        self.delay_s = (0.0005, 0.002)
        self.run(1.0)
        for member in self.members.values():
            member.sync_s = 0.001
            member.paused_until = 0.0
            if member.sequencer is None:
                member.start()

    def converge(self) -> None:
        """Liveness: after healing, a fresh entry is applied by all, and all have applied the same."""
        self.run(1.5)
        self.run_until(lambda: bool(self.leaders))
        before = max(self.checkers.committed, default=0)
        self.propose()
        self.run_until(lambda: max(self.checkers.committed, default=0) > before)
        self.run(0.5)
        logs = [member.applied for member in self.members.values()]
        expected = [(index, entry) for index, (_, entry) in sorted(self.checkers.committed.items())]
        if any(log != expected for log in logs):
            raise SafetyError("members applied different histories")


@pytest.fixture
def simulate() -> type[Simulation]:
    """The simulated cluster."""
    return Simulation


@pytest.fixture
def safety_error() -> type[SafetyError]:
    """What a checker raises."""
    return SafetyError


@pytest.fixture
def timing() -> EngineTiming:
    """Time-outs as in the simulation."""
    return TIMING
