"""The workload reaches what it is there to reach, and the same seed draws the same commands."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from govraft.core.machine.attestations import disagreeing
from govraft.core.machine.entry import encode_entry
from govraft.core.machine.machine import Machine
from govraft.core.model.commands import TargetKind
from govraft.core.model.units import WallMs
from govraft.testing.attesting import Attesting
from govraft.testing.sample import CREATED, SampleCluster
from govraft.testing.simulation.workload import Drawn, Stage
from govraft.testing.simulation.workload_enforcement import draw_attestations, draw_enforcement


def run(seed: int, count: int, *, is_watched: bool = False) -> tuple[Machine, Counter[str], list[Drawn], int]:
    sample, rng = SampleCluster(attestors=2), random.Random(seed)
    machine, time = Machine(sample.genesis), int(CREATED)
    outcomes: Counter[str] = Counter()
    drawn: list[Drawn] = []
    disagreements = 0
    for number in range(count):
        time += rng.choice((0, 1, 400))
        draw = draw_attestations if rng.random() < 0.5 else draw_enforcement
        one = draw(rng, Stage(sample, machine, f"c{number}", time + 60_000, is_watched))
        assert one is not None
        drawn.append(one)
        entry = encode_entry(WallMs(time), one.envelope())
        outcomes[machine.apply(entry).outcome.code] += 1
        view = machine.state.attestations.by_entity
        disagreements += any(disagreeing(machine.state, uid, kind, time) for uid in view for kind in view[uid])
    return machine, outcomes, drawn, disagreements


def test_every_outcome_is_reached() -> None:
    machine, outcomes, _, disagreements = run(1, 1_500)
    expected = {
        "applied",
        "already_quarantined",
        "already_revoked",
        "attestation_continuity",
        "attestation_invalid",
        "attestation_unknown",
        "not_quarantined",
        "signature_invalid",
        "target_invalid",
        "target_state",
        "target_unknown",
        "threshold_unmet",
    }
    assert expected <= outcomes.keys()
    assert "internal_error" not in outcomes
    assert outcomes["applied"] > 200
    assert disagreements > 20
    assert {kind for kind, _ in machine.marked} >= {"subject", "resource", "action", "node", "attestation"}


def test_a_seed_draws_the_same() -> None:
    first, second = run(2, 120), run(2, 120)
    assert [one.command for one in first[2]] == [one.command for one in second[2]]
    assert first[0].root == second[0].root


@pytest.mark.parametrize("seed", range(3))
def test_a_watched_run_is_hindered_by_nothing(seed: int) -> None:
    machine, _, drawn, _ = run(seed, 400, is_watched=True)
    for kind, target in machine.marked:
        assert kind not in ("node", "domain", "policy"), target
        assert target not in ('Action::"run"', 'Agent::"a0"', 'Tool::"t"')
    assert {getattr(one.command, "kind", None) for one in drawn} >= set(TargetKind)


def test_the_sample_for_attestation_is_a_machine_of_its_own() -> None:
    assert Attesting().machine.root == Attesting().machine.root
