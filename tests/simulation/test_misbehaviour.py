"""An engine that lies never makes a node allow wrongly: it ends in denial, refusal to start, or isolation with evidence."""

from __future__ import annotations

import pytest
from simulation import plans

from govraft.core.codec.canonical import unpack
from govraft.core.convergence.messages import Kind, Signed
from govraft.testing.history import NodeState
from govraft.testing.simulation.misbehaviour import LIES
from govraft.testing.simulation.run import simulate
from govraft.testing.simulation.world import World

AT = 5_000


def lie(kind: str, *, to_leader: bool) -> tuple[World, object, str]:
    """A cluster of three in which one engine tells a lie from the fifth second on."""
    options = {"profile": "misbehaviour", "seconds": 10.0}
    scout = World(plans.plan(**options))
    scout.start_all()
    scout.run(AT - 10)
    assert scout.leader is not None
    followers = [name for name in plans.NAMES if name != scout.leader.name]
    name = scout.leader.name if to_leader else followers[0]
    plan = plans.plan(plans.fault(kind, AT, name, for_ms=3_000, amount=3), **options)
    world = World(plan)
    return world, simulate(plan, world=world), name


@pytest.mark.parametrize("to_leader", [False, True], ids=["follower", "leader"])
@pytest.mark.parametrize("kind", ["replace_entry", "apply_twice", "skip_entry"])
def test_a_node_whose_state_was_changed_isolates_itself(kind, to_leader):
    world, outcome, name = lie(kind, to_leader=to_leader)
    assert outcome.findings == ()
    assert outcome.isolated == (name,)
    record = world.hosts[name].disk.isolation
    assert record is not None
    # The evidence is the certificate of the quorum, byte for byte.
    evidence = unpack(record.evidence, max_bytes=2**20)
    assert Signed.decode(evidence["received"], Kind.LEASE).signer in plans.NAMES
    others = [host for host in world.hosts.values() if host.name != name]
    assert all(host.core.gate.standing().lease for host in others)
    allowed_after = [
        event
        for event in outcome.history
        if isinstance(event, NodeState)
        and event.node == name
        and event.standing == "allow"
        and event.at > 9_000 * 10**6
    ]
    assert allowed_after == []


@pytest.mark.parametrize("to_leader", [False, True], ids=["follower", "leader"])
@pytest.mark.parametrize("kind", ["lose_journal", "lose_suffix", "alter_journal"])
def test_a_node_whose_journal_was_changed_refuses_to_start(kind, to_leader):
    _, outcome, name = lie(kind, to_leader=to_leader)
    assert outcome.findings == ()
    assert [(node, code) for node, code, _ in outcome.endings] == [(name, "refused")]
    assert "CorruptionError" in outcome.endings[0][2]
    assert "lineage" in outcome.endings[0][2]


@pytest.mark.parametrize("kind", ["forget_vote", "vote_twice", "ack_blindly", "self_styled_leader"])
def test_a_vote_an_ack_or_a_claim_that_is_a_lie_makes_nobody_allow_wrongly(kind):
    _, outcome, _ = lie(kind, to_leader=False)
    assert outcome.findings == ()
    assert outcome.effective > 10


def test_a_usurper_takes_no_lease_from_anybody():
    """It believes to lead; the others do not, so nobody acks its probes, and it denies."""
    _, outcome, name = lie("self_styled_leader", to_leader=False)
    during = [
        event.standing
        for event in outcome.history
        if isinstance(event, NodeState) and event.node == name and 6_500 * 10**6 < event.at < 8_000 * 10**6
    ]
    assert during
    assert "allow" not in during


def test_every_lie_is_told_by_some_test():
    assert set(LIES) == {
        *("replace_entry", "apply_twice", "skip_entry"),
        *("lose_journal", "lose_suffix", "alter_journal"),
        *("forget_vote", "vote_twice", "ack_blindly", "self_styled_leader"),
    }
