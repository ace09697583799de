"""Whole clusters through random faults: safety at every moment, liveness once everything has healed.

A failure prints the command that replays it. `GOVRAFT_SIM_SEEDS=200` runs that many seeds of each profile.
"""

from __future__ import annotations

import pytest
from simulation.seeds import SECONDS, SEEDS, outcome

from govraft.testing.simulation.catalogue import FAULTS


@pytest.mark.parametrize(("profile", "seed"), [pytest.param(*item, id=f"{item[0]}-{item[1]}") for item in SEEDS])
def test_nothing_is_broken(profile, seed):
    found = outcome(profile, seed)
    replay = f"scripts/sim --seed {seed} --profile {profile} --seconds {SECONDS:g}"
    assert found.findings == (), f"{found.findings[0]}; again with: {replay}"


@pytest.mark.timeout(900)  # all seeds, if it happens to run first
def test_the_seeds_are_worth_their_time():
    found = [outcome(*item) for item in SEEDS]
    assert sum(item.certificates for item in found) > 25 * len(found)
    assert sum(item.looks for item in found) > 100 * len(found)
    assert sum(item.allows for item in found) > 20 * len(found)
    assert sum(item.effective for item in found) > 5 * len(found)
    assert sum(item.snapshots for item in found) > len(found)
    assert sum(item.late_frames for item in found) > len(found)
    assert any(item.isolated for item in found)
    assert any(code == "refused" for item in found for _, code, _ in item.endings)
    assert any(code == "halted" for item in found for _, code, _ in item.endings)


@pytest.mark.timeout(900)
def test_every_kind_of_fault_happens():
    happened: set[str] = set()
    for item in SEEDS:
        happened |= outcome(*item).faults.keys()
    assert happened == FAULTS.keys(), sorted(FAULTS.keys() - happened)
