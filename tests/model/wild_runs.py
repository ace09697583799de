"""Random runs to record: an adversary instead of Raft, and the real engine under faults. All nodes have one log."""

from __future__ import annotations

import random
from fractions import Fraction

from model.recording import Recorder
from sim_cluster import Network, SimCluster
from simulation.arena import Arena

__all__ = ["adversary", "engine"]


class _Faults:
    """Stops, restarts, pauses, partitions and bad weather, drawn from one seed."""

    def __init__(self, sim: Network, seed: int) -> None:
        self.sim, self.rng = sim, random.Random(seed)
        self.names = sorted(sim.nodes)
        for node in sim.nodes.values():
            node.clock.rate = Fraction(self.rng.choice((990, 995, 1000, 1005, 1010)), 1000)
        self.recorder = Recorder(sim).attach()

    def some(self) -> list[str]:
        return self.rng.sample(self.names, self.rng.randint(1, len(self.names)))

    def strike(self) -> None:
        sim, name = self.sim, self.rng.choice(self.names)
        match self.rng.randint(0, 4):
            case 0:
                sim.crash(name, lands=self.rng.random() < 0.5)
                if self.rng.random() < 0.5:
                    sim.start(name)
            case 1:
                sim.nodes[name].paused = sim.nodes[name].core is not None
            case 2:
                sim.partition(name)
            case 3:
                sim.loss, sim.duplication, sim.delay_ms = 0.1, 0.2, (1, self.rng.choice((5, 50, 900)))
            case 4:
                sim.write_ms = self.rng.choice(((0, 0), (1, 10), (5, 300)))

    def repair(self) -> None:
        sim = self.sim
        sim.loss, sim.duplication, sim.delay_ms, sim.write_ms = 0.0, 0.0, (1, 3), (0, 2)
        for name, node in sim.nodes.items():
            node.paused = False
            if node.core is None:
                sim.start(name)
        sim.heal()


def adversary(seed: int, turns: int) -> Recorder:
    """Whoever is drawn leads whomever is drawn, wherever each has got in the log."""
    sim = Arena(3, seed=seed)
    sim.step_ms = 5
    faults = _Faults(sim, seed)
    rng = faults.rng
    for _ in range(turns):
        if rng.random() < 0.4:
            faults.strike()
        if rng.random() < 0.3:
            faults.repair()
        some = faults.some()
        if rng.random() < 0.5:
            sim.commit()
            sim.advance(*some)
        sim.lead(*some)
        sim.step(rng.choice((20, 150, 300, 600)))
    faults.repair()
    sim.advance(*faults.names)
    sim.lead(*faults.names)
    sim.step(2600)
    return faults.recorder


def engine(seed: int, turns: int) -> Recorder:
    """The real engine elects and commits; commands come in at whichever node is up."""
    sim = SimCluster(3, seed=seed)
    faults = _Faults(sim, seed)
    sim.run_until(sim.all_serving)
    for turn in range(turns):
        faults.repair()
        faults.strike()
        up = [name for name, node in sim.nodes.items() if node.core is not None and not node.paused]
        for name in faults.rng.sample(up, 1):
            sim.submit(name, sim.put(f"c{turn}"), timeout_ms=2000)
        sim.step(faults.rng.randint(100, 700))
    faults.repair()
    sim.run_until(sim.all_serving)
    return faults.recorder
