"""One seed, one run: in any process, whatever hashes its strings get."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from govraft.testing.simulation.plan import draw_plan
from govraft.testing.simulation.run import simulate
from govraft.testing.simulation.world import World

SCRIPT = """
import sys
from govraft.testing.simulation import draw_plan, simulate
for profile in ("faults", "storage", "misbehaviour", "adversary", "membership"):
    for seed in (16, 17):
        print(profile, seed, simulate(draw_plan(seed, profile, 6.0)).trace)
"""


def traces(hash_seed: str) -> str:
    environment = os.environ | {"PYTHONHASHSEED": hash_seed}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=100, check=True
    )
    return done.stdout


def test_the_trace_of_a_seed_is_the_same_in_every_process():
    first = traces("1")
    assert len(set(first.split())) == 10 + 5 + 2
    assert traces("424242") == first


def test_another_seed_is_another_run():
    assert simulate(draw_plan(1, "calm", 3.0)).trace != simulate(draw_plan(2, "calm", 3.0)).trace


@pytest.mark.parametrize("leak", ["entropy", "order"])
def test_a_leak_of_randomness_changes_the_trace(monkeypatch, leak):
    """What the comparison above would show."""
    plan = draw_plan(17, "faults", 5.0)
    before = simulate(plan).trace
    if leak == "entropy":
        make_core = World.make_core

        def with_real_entropy(self, host, stored):
            core = make_core(self, host, stored)
            core.convergence._entropy = os.urandom
            return core

        monkeypatch.setattr(World, "make_core", with_real_entropy)
    else:
        start_all = World.start_all

        def backwards(self):
            self.hosts = dict(reversed(self.hosts.items()))
            start_all(self)

        monkeypatch.setattr(World, "start_all", backwards)
    assert simulate(plan).trace != before
