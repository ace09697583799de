"""Faults of clocks: a wall clock that steps, and clocks that run fast or slow within what is promised."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from govraft.testing.chaos.nemesis import Hit, Nemesis, UnavailableFaultError, names
from govraft.testing.chaos.skewed_node import CLOCK_VARIABLE, ClockFile
from govraft.testing.local_cluster import LocalCluster, LocalNode

__all__ = ["ClockRate", "WallStep", "WallWrong", "give_clocks"]

_PROGRAM = ["-m", "govraft.testing.chaos.skewed_node"]
_STOCK = ["-m", "govraft.cli.node", "run", "--config"]
_SHARE_OF_DRIFT = 0.9


def give_clocks(cluster: LocalCluster) -> None:
    """Let the stock nodes of a cluster that does not run yet have clocks that can be moved."""
    for node in cluster.nodes.values():
        if node.program == _STOCK:
            path = cluster.home / "run" / f"{node.id}.clock"
            ClockFile.create(path)
            node.program = list(_PROGRAM)
            node.environment[CLOCK_VARIABLE] = str(path)


class _Clock(Nemesis):
    needs = frozenset({"clocks"})

    def clock(self, node: LocalNode) -> ClockFile:
        """The file that moves its clock, with the clock put right."""
        path = node.environment.get(CLOCK_VARIABLE)
        if path is None:
            raise UnavailableFaultError(f"{node.id} has a clock that cannot be moved")
        return ClockFile(Path(path))


class WallStep(_Clock):
    """The wall clock of a node steps, forth or back, by less or more than what is tolerated."""

    kind, explanation = "wall-step", "the wall clock of a node steps by up to half a minute, and back"

    steps: ClassVar[tuple[int, ...]] = (-30_000, -5_000, -2_000, -200, 200, 2_000, 5_000)

    def start(self) -> Hit:
        (node,) = self.take(1)
        self._clock = self.clock(node)
        step = self.dice.choice(self.steps)
        self._clock.set(wall_ms=step)
        return Hit(names([node]), f"{step:+d} ms")

    def end(self) -> None:
        self._clock.set()


class WallWrong(WallStep):
    """The wall clock of a node is set wrong by up to hours, and left so for longer than any lease."""

    kind, explanation = "wall-wrong", "the wall clock of a node is wrong by up to hours, and stays so"
    hold_ms = (6000, 12000)
    steps = (-7_200_000, -3_900_000, -30_000, 3_900_000, 7_200_000)


class ClockRate(_Clock):
    """Both clocks of some nodes run fast or slow, within what the genesis promises."""

    kind, explanation = "clock-rate", "clocks run fast or slow, within the promised drift"
    hold_ms = (3000, 5000)

    def start(self) -> Hit:
        nodes = self.take(self.dice.randint(1, len(self.cluster.nodes) - 1))
        most = self.cluster.genesis.clock_drift_max_ppm * _SHARE_OF_DRIFT
        said = []
        self._clocks = [self.clock(node) for node in nodes]
        for node, clock in zip(nodes, self._clocks, strict=True):
            rate = int(self.dice.choice([-1, 1]) * most)
            clock.set(rate_ppm=rate)
            said.append(f"{node.id} {rate:+d} ppm")
        return Hit(names(nodes), ", ".join(said))

    def end(self) -> None:
        for clock in self._clocks:
            clock.set()
