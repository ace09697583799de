"""Whole clusters on simulated clocks, networks and disks: one seed, one run, the same in every process.

The node core, the engine and every rule are those of production; only the ports differ. A seed becomes a plan
(`plan`), the plan runs on one agenda (`world`), faults happen (`faults`), clients ask and command (`clients`), and
whoever watches (`watcher`, `govraft.testing.checkers`) knows nothing of the faults. Run it with `scripts/sim`.
"""

from __future__ import annotations

from govraft.testing.simulation.minimise import keep_faults, minimise
from govraft.testing.simulation.plan import Plan, draw_plan
from govraft.testing.simulation.run import Outcome, simulate
from govraft.testing.simulation.watcher import Finding

__all__ = ["Finding", "Outcome", "Plan", "draw_plan", "keep_faults", "minimise", "simulate"]
