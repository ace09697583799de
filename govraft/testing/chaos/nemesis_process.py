"""Faults of processes: killed, frozen, restarted."""

from __future__ import annotations

import signal
import time
from typing import ClassVar

from govraft.errors import GovraftError
from govraft.testing.chaos.nemesis import Hit, Nemesis, names
from govraft.testing.local_cluster import LocalNode

__all__ = [
    "ColdRestart",
    "FreezeFollower",
    "FreezeLeader",
    "FreezeMajority",
    "KillAll",
    "KillFollower",
    "KillLeader",
    "KillMajority",
    "LeaderHunt",
    "RollingRestart",
]

_STEP_S = 15.0


class _Kill(Nemesis):
    """kill -9, and a start a while later."""

    role: ClassVar[str] = "any"

    def count(self) -> int:
        return 1

    def start(self) -> Hit:
        victims = self.take(self.count(), role=self.role)
        for node in victims:
            node.process.signal(signal.SIGKILL)
        for node in victims:
            node.kill()
        return Hit(names(victims), "kill -9")

    def end(self) -> None:
        self.restart(self.taken)


class KillFollower(_Kill):
    """One node that does not lead."""

    kind, explanation, role = "kill-follower", "kill -9 of a follower", "follower"


class KillLeader(_Kill):
    """The node that leads."""

    kind, explanation, role = "kill-leader", "kill -9 of the leader", "leader"


class KillMajority(_Kill):
    """So many that the rest is no quorum."""

    kind, explanation, group = "kill-majority", "kill -9 of so many that no quorum is left", "cluster"

    def count(self) -> int:
        return len(self.cluster.nodes) - self.arena.quorum + 1


class KillAll(_Kill):
    """All at the same moment."""

    kind, explanation, group = "kill-all", "kill -9 of all nodes at once", "cluster"

    def count(self) -> int:
        return len(self.cluster.nodes)


class ColdRestart(Nemesis):
    """All nodes stop in order, and start again."""

    kind, explanation, group = "cold-restart", "SIGTERM to all nodes, a pause, and a start of all", "cluster"

    def start(self) -> Hit:
        victims = self.take(len(self.cluster.nodes))
        for node in victims:
            node.process.signal(signal.SIGTERM)
        for node in victims:
            code = node.process.wait(_STEP_S)
            if code != 0:
                self.findings.append(f"{node.id} ended with {code} on SIGTERM, not in order: {node.log(300)}")
        return Hit(names(victims), "SIGTERM")

    def end(self) -> None:
        self.restart(self.taken)


class _Freeze(Nemesis):
    """SIGSTOP for longer than a lease: on waking the node must not answer from the past."""

    role: ClassVar[str] = "any"
    hold_ms = (1300, 3500)

    def count(self) -> int:
        return 1

    def start(self) -> Hit:
        victims = self.take(self.count(), role=self.role)
        for node in victims:
            node.pause()
        return Hit(names(victims), "SIGSTOP")

    def end(self) -> None:
        for node in self.taken:
            node.resume()
        self.restart(self.taken)


class FreezeFollower(_Freeze):
    """One node that does not lead."""

    kind, explanation, role = "freeze-follower", "SIGSTOP of a follower, longer than a lease", "follower"


class FreezeLeader(_Freeze):
    """The node that leads."""

    kind, explanation, role = "freeze-leader", "SIGSTOP of the leader, longer than a lease", "leader"


class FreezeMajority(_Freeze):
    """So many that the rest is no quorum."""

    kind, explanation, group = "freeze-majority", "SIGSTOP of so many that no quorum is left", "cluster"

    def count(self) -> int:
        return len(self.cluster.nodes) - self.arena.quorum + 1


class LeaderHunt(Nemesis):
    """Whoever leads gets hit, again and again: one victim at a time, so that a quorum could always form."""

    kind, explanation, group = "leader-hunt", "whoever leads is killed or frozen, again and again", "cluster"
    hold_ms = (5000, 9000)

    def start(self) -> Hit:
        self._victim: LocalNode | None = None
        self._since = 0.0
        self._hits = 0
        self.taken = list(self.cluster.nodes.values())
        self._hunt()
        return Hit(names(self.taken), "kill -9 or SIGSTOP of each new leader")

    def tick(self) -> None:
        if self._victim is None:
            self._hunt()
        elif time.monotonic() - self._since > self.cluster.lease_s + 0.3:
            self._free()

    def end(self) -> None:
        self._free()

    def _hunt(self) -> None:
        leader = self.arena.leader()
        if leader is None or not leader.is_running:
            return
        self._victim, self._since = leader, time.monotonic()
        self._hits += 1
        leader.pause() if self.dice.random() < 0.5 else leader.kill()

    def _free(self) -> None:
        if self._victim is not None:
            self._victim.resume()
            self.restart([self._victim])
            self._victim = None


class RollingRestart(Nemesis):
    """One node after the other is stopped in order and started, under load, as for an upgrade."""

    kind, explanation, group = "rolling-restart", "each node in turn: SIGTERM, start, wait until it serves", "cluster"
    hold_ms = (8000, 14000)

    def start(self) -> Hit:
        self.taken = list(self.cluster.nodes.values())
        self._left = self.dice.sample(self.taken, len(self.taken))
        self._current: LocalNode | None = None
        return Hit(names(self.taken), "in turn: " + ", ".join(names(self._left)))

    def tick(self) -> None:
        if self._current is not None and self._serves(self._current):
            self._current = None
        if self._current is None and self._left:
            self._current = self._left.pop()
            code = self._current.stop()
            if code != 0:
                self.findings.append(f"{self._current.id} ended with {code} on SIGTERM, not in order")
            self._current.start()

    def end(self) -> None:
        self.restart(self.taken)

    @staticmethod
    def _serves(node: LocalNode) -> bool:
        try:
            return node.is_running and node.may_allow()
        except GovraftError:
            return False
