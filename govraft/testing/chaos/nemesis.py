"""What every kind of fault has in common.

A nemesis is made for one fault: `start` makes it and says what it hit, `tick` is called a few times a second while it
lasts, `end` undoes it. What it leaves is for the run to judge; only what the history cannot show, such as a node that
went on after a failed sync, it reports itself, as a finding.
"""

from __future__ import annotations

import itertools
import random
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import ClassVar

import msgspec

from govraft.client.client import Client
from govraft.errors import GovraftError
from govraft.testing.local_cluster import LocalCluster, LocalNode
from govraft.testing.local_cluster_network import Condition, Pair

__all__ = ["Arena", "Hit", "Nemesis", "UnavailableFaultError", "names"]

_LOOK_TIMEOUT_S = 0.3


class UnavailableFaultError(GovraftError):
    """The fault cannot be made as things are, such as with too few nodes left: it is skipped."""

    default_code = "fault_unavailable"


class Hit(msgspec.Struct, frozen=True):
    """Which nodes a fault hit, and what exactly it was, for people."""

    nodes: tuple[str, ...]
    detail: str = ""


class Arena:
    """The cluster as faults see it.

    Attributes:
        cluster: Running, under load.
        scratch: For copies and logs of faults.
        busy: Nodes that a fault has now; no other fault takes them.
        outside: Nodes that are becoming or ceasing to be members: they need not serve now.
    """

    def __init__(self, cluster: LocalCluster, scratch: Path) -> None:
        self.cluster = cluster
        self.scratch = scratch
        self.busy: set[str] = set()
        self.outside: set[str] = set()
        self._numbers = itertools.count(1)
        self._clients: dict[str, Client] = {}
        self._taking = threading.Lock()

    @property
    def quorum(self) -> int:
        """How many of the nodes that there are make one."""
        return len(self.cluster.nodes) // 2 + 1

    def leader(self) -> LocalNode | None:
        """Whom most nodes call leader at this moment, without waiting for it."""
        hints: Counter[str] = Counter()
        for node_id, node in self.cluster.nodes.items():
            if node.is_running and node_id not in self.busy:
                try:
                    hint = self._client(node).status()["leader_hint"]
                except GovraftError:
                    continue
                hints.update([hint] if hint is not None else [])
        return self.cluster.nodes.get(hints.most_common(1)[0][0]) if hints else None

    def take(self, count: int, dice: random.Random, *, role: str = "any") -> list[LocalNode]:
        """Nodes that run and that no other fault has; they are this fault's until `give_back`.

        Args:
            count: How many.
            dice: Chooses.
            role: `leader`, `follower` or `any`.

        Raises:
            UnavailableFaultError: There are not enough.
        """
        leader = self.leader() if role != "any" else None
        with self._taking:
            return self._take(count, dice, role, leader)

    def _take(self, count: int, dice: random.Random, role: str, leader: LocalNode | None) -> list[LocalNode]:
        free = [node for node in self.cluster.nodes.values() if node.is_running and node.id not in self.busy]
        if role == "leader":
            free = [node for node in free if node is leader]
        elif role == "follower":
            free = [node for node in free if node is not leader]
        if len(free) < count:
            raise UnavailableFaultError(f"{len(free)} nodes are free, {count} are needed")
        taken = sorted(dice.sample(free, count), key=lambda node: node.id)
        self.busy.update(node.id for node in taken)
        return taken

    def claim(self, node_id: str) -> bool:
        """Take just this node, running or not; False if a fault has it."""
        with self._taking:
            if node_id in self.busy:
                return False
            self.busy.add(node_id)
            return True

    def give_back(self, nodes: Collection[LocalNode]) -> None:
        """Let other faults have them."""
        with self._taking:
            self.busy.difference_update(node.id for node in nodes)

    def place(self, name: str) -> Path:
        """A path that no other fault uses."""
        return self.scratch / f"{next(self._numbers):04d}-{name}"

    def close(self) -> None:
        """Close its clients."""
        for client in self._clients.values():
            client.close()

    def _client(self, node: LocalNode) -> Client:
        if node.id not in self._clients:
            self._clients[node.id] = Client(node.endpoint, timeout=_LOOK_TIMEOUT_S)
        return self._clients[node.id]


class Nemesis(ABC):
    """One fault.

    Attributes:
        kind: Its name in plans, histories and reports.
        explanation: One line for `--list`.
        group: `node` hits single nodes, `network` links, `cluster` so much that nothing else may happen meanwhile.
        needs: Capabilities of the host and the network, see `catalogue`.
        hold_ms: Between which times it lasts.
        findings: What it saw that must not be. Empty if all is well.
    """

    kind: ClassVar[str]
    explanation: ClassVar[str]
    group: ClassVar[str] = "node"
    needs: ClassVar[frozenset[str]] = frozenset()
    hold_ms: ClassVar[tuple[int, int]] = (1500, 4000)

    def __init__(self, arena: Arena, dice: random.Random) -> None:
        self.arena = arena
        self.cluster = arena.cluster
        self.dice = dice
        self.findings: list[str] = []
        self.taken: list[LocalNode] = []

    @abstractmethod
    def start(self) -> Hit:
        """Make it.

        Raises:
            UnavailableFaultError: Not possible now; nothing was done.
            GovraftError: It failed half-way; `end` cleans up.
        """

    def tick(self) -> None:  # noqa: B027 - most faults need nothing meanwhile
        """Called a few times a second while it lasts."""

    @abstractmethod
    def end(self) -> None:
        """Undo it. Nodes that it stopped run again afterwards, but need not serve yet.

        Raises:
            GovraftError: It cannot be undone.
        """

    def take(self, count: int, *, role: str = "any") -> list[LocalNode]:
        """Nodes for this fault.

        Raises:
            UnavailableFaultError: There are not enough.
        """
        found = self.arena.take(count, self.dice, role=role)
        self.taken += found
        return found

    def release(self) -> None:
        """Give back the nodes; the run calls it after `end`."""
        self.arena.give_back(self.taken)
        self.taken = []

    def restart(self, nodes: Collection[LocalNode]) -> None:
        """Start those that do not run."""
        for node in nodes:
            if not node.is_running:
                node.start()

    def set_links(self, links: Collection[Pair], condition: Condition) -> None:
        """Set links of the cluster."""
        self.cluster.network.change(links, condition)


def names(nodes: Collection[LocalNode]) -> tuple[str, ...]:
    """Their ids."""
    return tuple(node.id for node in nodes)
