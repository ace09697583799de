"""A leader whose wall clock is wrong, by accident or on purpose, must not stop the cluster for good."""

import pytest
from sim_cluster import SimCluster

from govraft.core.model.commands import Quarantine, TargetKind
from govraft.core.model.reasons import Reason
from govraft.core.model.units import WallMs

HOUR_MS = 3_600_000


def quarantine(sim: SimCluster, command_id: str) -> bytes:
    # Valid for the true time and for a clock that is an hour ahead.
    not_after = sim.nodes["node-1"].clock.wall() + 3 * HOUR_MS
    command = Quarantine(
        cluster=sim.genesis.cluster_id,
        command_id=command_id,
        not_after=WallMs(not_after),
        kind=TargetKind.SUBJECT,
        id='Agent::"a"',
        reason="test",
    )
    return sim.envelope(command, "operator-1")


@pytest.mark.clause("6 timestamp-bound synchronization validation")
@pytest.mark.parametrize("seed", range(5))
def test_an_entry_dated_ahead_is_never_committed(seed):
    sim = SimCluster(seed=seed)
    sim.run_until(sim.all_serving)
    wrong = sim.leader
    others = [name for name in sim.nodes if name != wrong.id]
    envelope = quarantine(sim, "c1")
    wrong.clock.wall_step_ms = HOUR_MS
    answers = sim.submit(others[0], envelope)
    # The others refuse the entry, elect one of themselves, and the command that was handed in takes effect there.
    sim.run_until(lambda: answers)
    assert answers[0]["outcome"] == "applied"
    sim.run_until(lambda: all(sim.serving(name) for name in others))
    for name in others:
        assert sim.nodes[name].core.machine.time < wrong.clock.wall() - HOUR_MS // 2
    assert not sim.serving(wrong.id) or wrong.core.machine.time < wrong.clock.wall() - HOUR_MS // 2


def test_a_node_whose_clock_is_behind_hinders_nobody_but_itself():
    sim = SimCluster(seed=7)
    sim.run_until(sim.all_serving)
    behind = next(node for node in sim.nodes.values() if node is not sim.leader)
    behind.clock.wall_step_ms = -HOUR_MS
    answers = sim.submit(sim.leader.id, quarantine(sim, "c1"))
    sim.run_until(lambda: answers)
    assert answers[0]["certified_seq"] >= answers[0]["seq"]
    assert not sim.serving(behind.id)
    behind.clock.wall_step_ms = 0
    sim.run_until(sim.all_serving)


def test_nothing_of_a_distrusted_leader_enters_the_log():
    sim = SimCluster(seed=3)
    sim.run_until(sim.all_serving)
    leader = sim.leader
    deaf = next(node for node in sim.nodes.values() if node is not leader)
    deaf.core.convergence.distrust(leader.id, Reason.QUORUM_UNVERIFIABLE, "planted")
    held = deaf.core.sequencer.last_index
    sim.submit(leader.id, quarantine(sim, "c1"))
    sim.run_until(lambda: leader.core.machine.seq > deaf.core.machine.seq)
    sim.step(100)
    assert deaf.core.convergence.is_distrusted(leader.id)
    assert deaf.core.sequencer.last_index == held < leader.core.sequencer.last_index
