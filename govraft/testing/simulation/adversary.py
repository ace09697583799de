"""Nodes under a sequencer that is an adversary's.

The convergence rules may not rest on anything that Raft promises. So here nobody elects: the adversary decides whom
each node takes for the leader, in which term, and how far each has got in the log; several nodes may lead at once, and
there may be two logs. Everything else of a node is real.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from govraft.adapters.engine.frames import REGULAR
from govraft.errors import AvailabilityError, require
from govraft.ports.sequencer import AdvanceCommit
from govraft.ports.store import Append, HardState, JournalEntry

if TYPE_CHECKING:
    from govraft.testing.simulation.world import World

__all__ = ["Adversary", "ScriptedSequencer", "View"]


class View:
    """What the adversary makes one node believe.

    Attributes:
        leader, term: Whom it takes for the leader of which term.
        target: Up to where it is told that the log is committed.
        log: Which of the logs.
    """

    def __init__(self) -> None:
        self.leader: str | None = None
        self.term = 0
        self.target = 0
        self.log = 0


class Adversary:
    """The logs, and what each node believes.

    Attributes:
        is_honest: Whether it has given up, and only lets the cluster be.
        quiet: Nodes that it does not let propose; none while no scheme is under way.
        logs: Entries, in the order in which they were committed. A node stays with one log.
        views: By node.
    """

    def __init__(self, world: World, rng: random.Random) -> None:
        self._world, self._rng = world, rng
        self.is_honest = False
        self.quiet: frozenset[str] = frozenset()
        self.logs: list[list[bytes]] = [[], []]
        self.views = {name: View() for name in world.cast.names}

    def sequencer(self, name: str, given: dict[str, Any]) -> ScriptedSequencer:
        """What stands in the place of the engine."""
        return ScriptedSequencer(self, name, given)

    def lead(self, leader: str, *followers: str) -> None:
        """Make these nodes, and no others, believe in a leader of a new term."""
        term = 1 + max(view.term for view in self.views.values())
        for name in (leader, *followers):
            self.views[name].leader, self.views[name].term = leader, term

    def advance(self, *names: str) -> None:
        """Let nodes apply all of their log."""
        for name in names:
            view = self.views[name]
            view.target = max(view.target, len(self.logs[view.log]))

    def commit(self, entry: bytes, log: int) -> None:
        """Put an entry into a log; into the other one something else, so that the two stay apart."""
        self.logs[log].append(entry)
        other = 1 - log
        self.logs[other].append(entry if self._rng.random() < 0.5 else b"entry %d of another log" % len(self.logs[log]))

    def furthest_behind(self) -> str | None:
        """The running node with the lowest seq."""
        running = [host for host in self._world.hosts.values() if host.core is not None]
        if not running:
            return None
        return min(running, key=lambda host: (host.core.machine.seq if host.core else 0, self._rng.random())).name

    def proposed(self, name: str, entry: bytes) -> None:
        """A self-styled leader proposes: the entry is committed, and some of its believers hear of that."""
        own = self.views[name]
        self.commit(entry, own.log)
        self.advance(name)
        for other, view in self.views.items():
            # While a scheme is under way all hear of it: a leader that is alone with its seq certifies nothing.
            if view.leader == name and (self.is_honest or self.quiet or self._rng.random() < 0.8):
                self.advance(other)

    def settle(self, honest: list[str]) -> None:
        """Become honest: one leader, everything committed."""
        for number, log in enumerate(self.logs):
            # A fork shows only at a seq that is certified.
            log.append(b"the last entry of log %d" % number)
        names = self._world.cast.names
        self.is_honest, self.quiet = True, frozenset()
        self.advance(*names)
        self.lead(honest[0], *[name for name in names if name != honest[0]])


class ScriptedSequencer:
    """`ports.Sequencer` that commits what the adversary says, and believes in the leader that it names."""

    def __init__(self, adversary: Adversary, name: str, given: dict[str, Any]) -> None:
        self._adversary, self._name = adversary, name
        self._record, self._on_commit = given["record"], given["on_commit"]
        self._entries = [entry.payload for entry in given["journal"]]
        self._applied: int = given["applied"]
        self._epoch: int = given["epoch"]
        self._committed: int = given["hard_state"].commit_index

    @property
    def _view(self) -> View:
        return self._adversary.views[self._name]

    @property
    def leader_hint(self) -> str | None:
        """As the port."""
        return self._view.leader

    @property
    def term(self) -> int:
        """As the port."""
        return self._view.term

    @property
    def term_jumps(self) -> Mapping[str, int]:
        """As the port: there are no frames."""
        return {}

    @property
    def is_leader(self) -> bool:
        """As the port."""
        return self._view.leader == self._name

    @property
    def commit_index(self) -> int:
        """As the port."""
        return self._committed

    @property
    def last_index(self) -> int:
        """As the port."""
        return len(self._entries)

    @property
    def has_unapplied(self) -> bool:
        """As the port."""
        return self._applied < self._committed

    def holders(self, index: int) -> frozenset[str]:
        """As the port: whoever applied it holds it."""
        del index
        return frozenset()

    def resign(self, seconds: float) -> None:
        """As the port: the adversary decides who leads."""
        del seconds

    def entry(self, index: int) -> bytes | None:
        """As the port."""
        return self._entries[index - 1][1:] if 0 < index <= self._applied else None

    def mark(self) -> int:
        """As the port."""
        return 0

    def made_durable(self, mark: int) -> None:
        """As the port: everything stays in memory."""

    def propose(self, entry: bytes) -> None:
        """As the port: what a self-styled leader proposes enters its own log, and maybe the other."""
        if not self.is_leader or self._name in self._adversary.quiet:
            raise AvailabilityError("the adversary has another favourite", code="not_leader")
        self._adversary.proposed(self._name, entry)

    def receive(self, peer: str, frame: bytes) -> None:
        """As the port: there are no frames."""
        require(not frame or peer, "a scripted sequencer got a frame of nobody")

    def link(self, peer: str, up: bool) -> None:  # noqa: FBT001 - the port's signature
        """As the port: links decide nothing."""

    @property
    def has_more(self) -> bool:
        """As the port: each turn hands on all."""
        return False

    @property
    def epoch(self) -> int:
        """As the port."""
        return self._epoch

    def set_voters(self, voters: Sequence[str], observers: Sequence[str], epoch: int, *, led_term: int = 0) -> None:
        """As the port: nobody votes."""
        del led_term
        self._epoch = epoch
        require(len(voters) > 0 and epoch > 0 and not {*voters} & {*observers}, "an electorate has voters")

    def adopt_term(self, term: int, leader: str) -> None:
        """As the port: the adversary says who leads, in which term."""
        require(term >= 0 and leader != "", "a lease names its term and its leader")

    def withhold_votes(self) -> None:
        """As the port: nobody votes."""

    def release_votes(self) -> None:
        """As the port: nobody votes."""

    def turn(self) -> None:
        """As the port."""
        log = self._adversary.logs[self._view.log]
        while self._committed < min(self._view.target, len(log)):
            entry = JournalEntry(self._committed + 1, 0, REGULAR + log[self._committed])
            if len(self._entries) < entry.index:
                self._record(Append(entry))
                self._entries.append(entry.payload)
            self._committed += 1
            self._record(AdvanceCommit(HardState(commit_index=self._committed)))
        while self._applied < self._committed:
            self._applied += 1
            self._on_commit(self._applied, 0, self._entries[self._applied - 1][1:])
