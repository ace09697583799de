"""Plans of faults: the same for the same seed, complete, and honest about what cannot be done here."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest

from govraft.errors import InputError
from govraft.testing.chaos.catalogue import CAPABILITIES, NEMESES
from govraft.testing.chaos.planner import make_plan
from govraft.testing.chaos.scenarios import SCENARIOS

ALL = frozenset(CAPABILITIES)


def kinds(plan):
    return [fault.kind for step in plan.steps for fault in step.faults]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_plan_follows_from_its_seed(scenario):
    plan = make_plan(scenario, seed=7, duration_s=120, capabilities=ALL)
    assert plan == make_plan(scenario, seed=7, duration_s=120, capabilities=ALL)
    other = make_plan(scenario, seed=8, duration_s=120, capabilities=ALL)
    assert (plan.steps == other.steps) == (not plan.steps)


def test_a_plan_is_the_same_in_every_process():
    script = (
        "from govraft.testing.chaos.planner import make_plan\n"
        "from govraft.testing.chaos.catalogue import CAPABILITIES\n"
        "print(make_plan('mixed', seed=3, duration_s=60, capabilities=frozenset(CAPABILITIES)))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", script], env={"PYTHONHASHSEED": number}, capture_output=True, check=True
        ).stdout
        for number in ("1", "2")
    }
    assert len(said) == 1


def test_a_longer_run_begins_like_a_shorter_one():
    short = make_plan("mixed", seed=1, duration_s=30, capabilities=ALL)
    long = make_plan("mixed", seed=1, duration_s=300, capabilities=ALL)
    assert long.steps[: len(short.steps)] == short.steps


def test_each_kind_comes_once_before_one_comes_twice():
    found = kinds(make_plan("mixed", seed=1, duration_s=600, capabilities=ALL))
    count = len(SCENARIOS["mixed"].kinds)
    assert set(Counter(found[:count]).values()) == {1}
    assert set(found[:count]) == set(SCENARIOS["mixed"].kinds)


def test_only_a_node_and_a_network_fault_overlap_and_they_do():
    plan = make_plan("mixed", seed=1, duration_s=600, capabilities=ALL)
    pairs = [step.faults for step in plan.steps if len(step.faults) > 1]
    assert len(pairs) > 20
    for pair in pairs:
        assert sorted(NEMESES[fault.kind].group for fault in pair) == ["network", "node"]
        assert pair[1].after_ms <= pair[0].hold_ms
    for fault in (fault for step in plan.steps for fault in step.faults):
        shortest, longest = NEMESES[fault.kind].hold_ms
        assert shortest <= fault.hold_ms <= longest


def test_what_the_host_cannot_do_is_named_and_left_out():
    plan = make_plan("mixed", seed=1, duration_s=600, capabilities={"clocks"})
    assert not {kind for kind in kinds(plan) if NEMESES[kind].needs - {"clocks"}}
    assert plan.missing["loss"] == CAPABILITIES["slow-links"]
    assert plan.missing["fsync-error"] == CAPABILITIES["strace"]
    assert plan.missing["disk-full"] == CAPABILITIES["tmpfs"]


def test_a_scenario_of_which_nothing_can_be_done_is_refused():
    with pytest.raises(InputError, match="loopback proxy"):
        make_plan("slow-links", seed=1, duration_s=60, capabilities=())
    with pytest.raises(InputError, match="choose one of calm, mixed"):
        make_plan("apocalypse", seed=1, duration_s=60, capabilities=ALL)


def test_calm_has_no_faults_and_certificate_one():
    assert make_plan("calm", seed=1, duration_s=60, capabilities=()).steps == ()
    assert kinds(make_plan("certificate", seed=1, duration_s=600, capabilities=ALL)) == ["certificate-expired"]


def test_every_kind_is_in_a_scenario_and_explained():
    named = {kind for scenario in SCENARIOS.values() for kind in scenario.kinds}
    assert named == set(NEMESES)
    for kind, nemesis in NEMESES.items():
        assert nemesis.explanation
        assert nemesis.needs <= set(CAPABILITIES), kind
        assert nemesis.group in {"node", "network", "cluster"}
        assert 0 < nemesis.hold_ms[0] < nemesis.hold_ms[1]
