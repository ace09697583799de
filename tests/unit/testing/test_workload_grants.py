"""Random histories of grants and boundaries: every outcome occurs, none is a defect, and all agree on the state."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter

from govraft.core.machine.entry import encode_entry
from govraft.core.machine.machine import Machine
from govraft.core.machine.state import State
from govraft.core.model.units import WallMs
from govraft.testing.sample import CREATED, SampleCluster
from govraft.testing.simulation.workload import Stage
from govraft.testing.simulation.workload_grants import draw_boundaries, draw_grants

COUNT = 500


def run(seed: int) -> tuple[Machine, Counter[str]]:
    sample = SampleCluster()
    machine = Machine(sample.genesis)
    rng, codes, time = random.Random(seed), Counter[str](), int(CREATED)
    for number in range(COUNT):
        stage = Stage(sample, machine, f"w{number}", CREATED + 3_600_000)
        drawn = (draw_grants if rng.random() < 0.7 else draw_boundaries)(rng, stage)
        assert drawn is not None
        time += rng.choice([0, 10, 1_000])
        codes[machine.apply(encode_entry(WallMs(time), drawn.envelope())).outcome.code] += 1
    return machine, codes


def test_every_outcome_occurs_and_none_is_a_defect() -> None:
    codes: Counter[str] = Counter()
    for seed in range(4):
        codes += run(seed)[1]
    assert set(codes) == {
        "applied",
        "authority_unknown",
        "boundary_invalid",
        "boundary_unknown",
        "domain_unknown",
        "grant_ended",
        "grant_exists",
        "grant_invalid",
        "grant_revoked",
        "grant_unknown",
        "grant_wider",
    }
    assert codes["applied"] > COUNT


def test_a_restored_state_is_the_same_state() -> None:
    machine, _ = run(7)
    state = State.restored(machine.genesis, machine.copy_records(), machine.sections)
    assert state.state_root == machine.state_root
    assert state.grants.grants == machine.state.grants.grants
    late = machine.time * 2
    assert state.grants.removable(late) == machine.state.grants.removable(late) is not None
    for domain in ("root", "nowhere"):
        assert dict(state.boundaries.of(domain)) == dict(machine.state.boundaries.of(domain))


def test_no_hash_order_reaches_the_state() -> None:
    # This process has another seed of its own.
    done = subprocess.run(
        [sys.executable, __file__],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == f"{run(11)[0].root.hex()}\n"


if __name__ == "__main__":
    print(run(11)[0].root.hex())
