"""Each scheme of the adversary finds the missing rule that it is there for, at its first try, and nothing else."""

from __future__ import annotations

import pytest
from simulation import plans, test_plants
from simulation import test_rules as rules

from govraft.testing.simulation.run import simulate
from govraft.testing.simulation.world import World

SCHEMES = [
    ("amnesia", rules.no_waiting_after_a_restart),
    ("late_lease", rules.leases_counted_from_receipt),
    ("slow_holder", rules.clocks_trusted_to_be_exact),
    ("slow_holder", test_plants.leases_run_too_long),
    ("slow_holder", test_plants.grants_are_over_too_soon),
    ("careless_leader", test_plants.holders_believe_the_leader),
]


def scheme(kind: str, *others, salt: int = 0, nodes=("n2", "n1"), **changes):
    """One scheme at 3 s, whose victim is the first of the nodes."""
    fault = plans.fault(kind, 3_000, *nodes, for_ms=2_200, salt=salt, number=7)
    given = {"engine": "adversary", "profile": "adversary", "seconds": 7.0, "drift_ppm": 50_000} | changes
    return plans.plan(fault, *others, **given)


@pytest.mark.parametrize("is_stream", [True, False])
@pytest.mark.parametrize("kind", dict.fromkeys(kind for kind, _ in SCHEMES))
def test_under_the_rules_a_scheme_happens_and_comes_to_nothing(kind, is_stream):
    for salt in (0, 1):
        found = simulate(scheme(kind, salt=salt, is_stream=is_stream), keep_history=False)
        assert found.faults == {kind: 1}
        assert found.findings == ()


@pytest.mark.parametrize(("kind", "plant"), SCHEMES, ids=lambda item: getattr(item, "__name__", item))
def test_a_scheme_finds_the_rule_that_is_missing(kind, plant):
    for salt in (0, 1):
        with rules.planted(plant):
            found = simulate(scheme(kind, salt=salt), keep_history=False)
        assert {finding.rule for finding in found.findings} == {"stale_allow"}
        assert found.findings[0].node == "n2"


def test_a_scheme_whose_moment_does_not_come_has_not_happened():
    """The victim is down; after the scheme has been given up, other acts go on."""
    crash = plans.fault("crash", 2_900, "n2", for_ms=4_000, number=1)
    reign = plans.fault("reign", 5_500, "n1", "n3", number=2)
    for kind in dict.fromkeys(kind for kind, _ in SCHEMES):
        found = simulate(scheme(kind, crash, reign), keep_history=False)
        assert found.faults == {"crash": 1, "reign": 1}
        assert found.findings == ()


def test_no_other_act_interrupts_a_scheme():
    reign = plans.fault("reign", 3_050, "n1", "n3", number=2)
    assert simulate(scheme("amnesia", reign), keep_history=False).faults == {"amnesia": 1}


def test_nothing_comes_of_a_scheme_where_all_are_needed():
    """Of three voters of a Byzantine quorum none can be spared."""
    found = simulate(scheme("late_lease", quorum="byzantine"), keep_history=False)
    assert found.faults == {}


def test_a_careless_leader_really_makes_leases_that_convince_nobody():
    class Forgetful(set):
        def __contains__(self, item):
            return False

    world = World(scheme("careless_leader"))
    world.careless = Forgetful()
    found = simulate(world.plan, keep_history=False, world=world)
    assert {finding.rule for finding in found.findings} == {"unverified_lease"}
