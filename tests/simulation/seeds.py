"""Seeds that several tests of this folder look at, each run once."""

from __future__ import annotations

import functools
import os

from govraft.testing.simulation.plan import draw_plan
from govraft.testing.simulation.run import Outcome, simulate

SECONDS = 16.0
SHARE = int(os.environ.get("GOVRAFT_SIM_SEEDS", "15"))
"""Seeds of each profile. The default is the share that runs with every change; raise it for a soak."""

PROFILES = (
    *("calm", "faults", "storage", "loss", "drift", "clocks", "misbehaviour", "adversary", "membership", "commands"),
)
SEEDS = [(profile, seed) for profile in PROFILES for seed in range(1, (3 if profile == "calm" else SHARE) + 1)]


@functools.cache
def outcome(profile: str, seed: int) -> Outcome:
    return simulate(draw_plan(seed, profile, SECONDS), keep_history=False)
