"""An authority that hands in commands without end: it fills its own places, and nobody else's."""

from __future__ import annotations

import pytest
from sim_cluster import SimCluster

from govraft.core.codec.canonical import pack
from govraft.core.crypto.digests import digest
from govraft.core.model import limits
from govraft.core.model.commands import PolicyPublish
from govraft.errors import AvailabilityError
from govraft.node.shares import Shares

SUBMISSION = 3
SCHEMA = "entity Agent; entity Tool; action use appliesTo { principal: [Agent], resource: [Tool] };"


@pytest.fixture
def sim(monkeypatch: pytest.MonkeyPatch) -> SimCluster:
    sim = SimCluster()
    sim.run_until(sim.all_serving)
    monkeypatch.setattr(limits, "PENDING_SUBMITS_OF_ONE", 3)
    return sim


def publish(sim: SimCluster) -> bytes:
    """A command of another authority than the one that floods."""
    command = PolicyPublish(**sim.header("theirs"), version=1, expected="", schema=SCHEMA, policies=(), removed=())
    return sim.envelope(command, "policy-1")


def test_one_authority_leaves_places_for_the_others(sim: SimCluster) -> None:
    answers = [sim.submit("node-1", sim.quarantine(f"c{number}")) for number in range(5)]
    refused = [answer[0] for answer in answers if answer]
    assert [(type(error), error.code, error.definite) for error in refused] == [
        (AvailabilityError, "queue_full", True)
    ] * 2
    theirs = sim.submit("node-1", publish(sim))
    sim.run_until(lambda: theirs)
    assert theirs[0]["outcome"] == "applied"
    sim.run_until(lambda: all(answers))
    # The places are given back, answered or timed out.
    again = [sim.submit("node-1", sim.quarantine(f"d{number}")) for number in range(3)]
    sim.run_until(lambda: all(again))
    assert [answer[0]["outcome"] for answer in again] == ["applied"] * 3


def test_places_are_given_back_when_the_time_is_over(sim: SimCluster) -> None:
    sim.tap = lambda source, target, channel, payload: None
    for number in range(3):
        sim.submit("node-1", sim.quarantine(f"c{number}"), timeout_ms=100)
    full = sim.submit("node-1", sim.quarantine("d"), timeout_ms=100)
    assert full[0].code == "queue_full"
    sim.step(200)
    assert not sim.submit("node-1", sim.quarantine("e"), timeout_ms=100)


def test_a_leaders_queue_is_shared_too(sim: SimCluster) -> None:
    """The other members forward what one authority signed; another one's command finds a place."""
    leader = sim.leader.core
    flood = [sim.quarantine(f"c{number}") for number in range(5)]
    for envelope in (*flood, publish(sim)):
        leader.on_frame("node-3", SUBMISSION, pack({"digest": digest("envelope", envelope), "envelope": envelope}))
    assert len(leader.submissions._proposer.queue) == 4
    sim.step(300)
    assert leader.machine.seq == 1 + 4
    assert leader.machine.policy_versions
    # What found no place comes again, as whoever forwarded it would send it.
    for envelope in flood[3:]:
        leader.on_frame("node-3", SUBMISSION, pack({"digest": digest("envelope", envelope), "envelope": envelope}))
    sim.step(300)
    assert leader.machine.seq == 1 + 6


def test_a_command_of_several_counts_for_each() -> None:
    shares = Shares()
    shares.take(("a", "b"))
    assert not shares.has_room(("a",), 1) and not shares.has_room(("b", "c"), 1) and shares.has_room(("c",), 1)
    shares.give_back(("a", "b"))
    assert shares.has_room(("a", "b"), 1)
    assert not shares._held
