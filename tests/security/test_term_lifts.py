"""An attacker with one member's key throws terms about that are far above those of the others.

Each of its frames is true to form. What it may cost is a leader once a lease, while it lasts; nobody is exiled.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from changing_electorate import ChangingCluster
from security.stricken_cluster import RAFT, StrickenCluster
from sim_cluster import LEASE_MS

from govraft.adapters.engine.frames import AppendEntries, NextNodeIndex, RequestVote, decode_frame, encode_frame
from govraft.adapters.engine.terms import TERM_STEP
from govraft.core.model.electorate import QuorumRule

LIFTED = 1 + 3_600 * TERM_STEP
SETTLE_MS = 3 * LEASE_MS
"""The next election and the first lease after it, with room."""


def append(term: int, epoch: int = 1) -> bytes:
    return encode_frame(AppendEntries(term, 0, 0, 0, (), epoch))


def burst(sim: StrickenCluster, count: int, *victims: str) -> None:
    """As many frames to each, each one step above the one before, and the last ones higher than any."""
    for place in range(count):
        for victim in victims:
            sim.liar.send(victim, append(1 + (place + 1) * TERM_STEP), RAFT)
            sim.liar.send(victim, append(2**62), RAFT)


def lift_stores(sim: Any, *names: str) -> None:
    """As if these nodes had been lifted once a lease for an hour."""
    for name in names:
        sim.crash(name)
    for name in names:
        disk = sim.nodes[name].disk
        disk.hard_state = msgspec.structs.replace(disk.hard_state, term=LIFTED, voted_for=None)
    for name in names:
        sim.start(name)


@pytest.fixture(params=[(4, QuorumRule.BYZANTINE), (3, QuorumRule.MAJORITY)], ids=["four", "three"])
def sim(request: pytest.FixtureRequest) -> StrickenCluster:
    nodes, quorum = request.param
    made = StrickenCluster(nodes, quorum=quorum)
    made.elect_honest()
    made.step_ms = 10
    made.step(LEASE_MS)
    made.run_until(made.honest_serve)
    return made


@pytest.mark.parametrize("count", [1, 2, 3, 10])
@pytest.mark.parametrize("who", ["leader", "follower", "all"])
def test_a_burst_exiles_nobody(sim: StrickenCluster, count: int, who: str) -> None:
    """The liar is silent but for it, so that all others must come together again."""
    leader = sim.leader.id
    follower = next(name for name in sim.honest if name != leader)
    sim.liar.silence(1, 2)
    victims = {"leader": [leader], "follower": [follower], "all": sim.honest}[who]
    burst(sim, count, *victims)
    assert min(sim.core(name).sequencer.term for name in victims) > TERM_STEP
    sim.step(SETTLE_MS)
    sim.run_until(sim.honest_serve, limit_ms=2 * LEASE_MS)
    for name in sim.honest:
        sim.crash(name)
    for name in sim.honest:
        sim.start(name)
    sim.step(SETTLE_MS)
    sim.govern_honest(sim.quarantine("after"))
    assert len(sim.roots()) == 1


def test_one_lift_a_lease_costs_no_more_than_a_leader_each(sim: StrickenCluster) -> None:
    """The others serve in between, and are whole as soon as it ends."""
    sim.liar.silence(1, 2)
    served, lifts = 0, 10
    for place in range(lifts):
        burst(sim, 1, sim.honest[place % len(sim.honest)])
        for _ in range(10):
            sim.step(LEASE_MS // 10)
            served += sim.honest_serve()
    assert served > 0
    sim.step(SETTLE_MS)
    assert sim.honest_serve()
    term = sim.core(sim.honest[0]).sequencer.term
    assert lifts * TERM_STEP // 2 < term <= (lifts + 1) * TERM_STEP


def test_alternate_lifts_of_different_victims_end_with_the_attack(sim: StrickenCluster) -> None:
    """Each victim is cut off from the others while it is lifted, so that their terms come far apart."""
    sim.liar.silence(1, 2)
    first, second = sim.honest[:2]
    lifts = 5
    sim.partition(first)
    sim.partition(second)
    for place in range(lifts):
        for number, victim in enumerate((first, second)):
            if place % (number + 1) == 0:
                sim.liar.send(victim, append(2**62), RAFT)
        sim.step(LEASE_MS + 10)
    assert sim.core(first).sequencer.term - sim.core(second).sequencer.term >= 2 * TERM_STEP
    sim.heal()
    sim.run_until(sim.honest_serve, limit_ms=(lifts + 2) * 2 * LEASE_MS)


def test_what_is_dropped_and_taken_is_counted(sim: StrickenCluster) -> None:
    victim = sim.honest[0]
    before = sim.core(victim).sequencer.term_jumps.get(sim.liar.id, 0)
    burst(sim, 3, victim)
    assert sim.core(victim).sequencer.term_jumps[sim.liar.id] - before == 6


def test_a_term_that_is_claimed_before_its_leader_speaks_is_not_lost() -> None:
    """One of five is caught for a silent liar: the leader has a majority without it, but no quorum of 4 acks."""
    sim = StrickenCluster(5, quorum=QuorumRule.BYZANTINE)
    sim.elect_honest()
    sim.step_ms = 10
    sim.run_until(sim.honest_serve)
    sim.liar.silence(1, 2)
    caught: list[str] = []
    before, first = sim.tap, sim.leader
    term = first.core.sequencer.term

    def tap(source: str, target: str, channel: int, payload: bytes) -> bytes | None:
        message = decode_frame(payload) if channel == RAFT and source != sim.liar.id else None
        is_first = isinstance(message, AppendEntries) and message.term > term
        if is_first and not caught and target not in (source, sim.liar.id):
            caught.append(target)
            sim.liar.send(target, append(message.term), RAFT)
        return before(source, target, channel, payload)

    sim.tap = tap
    sim.liar.send(first.id, append(term + 1), RAFT)
    sim.run_until(lambda: caught)
    assert sim.core(caught[0]).sequencer.leader_hint == sim.liar.id
    sim.step(2 * LEASE_MS)
    sim.run_until(sim.honest_serve, limit_ms=LEASE_MS)


# Cut off, new, and watching only.


def test_who_was_cut_off_while_the_terms_rose_is_back_with_the_first_lease() -> None:
    sim = ChangingCluster(4, observers=("node-4",))
    sim.run_until(sim.all_serving)
    sim.step_ms = 10
    sim.step(LEASE_MS)
    sim.partition("node-3")
    sim.partition("node-4")
    lift_stores(sim, "node-1", "node-2")
    sim.step(2 * SETTLE_MS)
    assert sim.serving("node-1") and not sim.serving("node-3")
    low = sim.core("node-3").sequencer.term
    sim.heal()
    sim.step(LEASE_MS)
    assert low < TERM_STEP < LIFTED <= sim.core("node-3").sequencer.term == sim.core("node-4").sequencer.term
    assert sim.all_serving(), [sim.describe(node) for node in sim.nodes.values()]


def test_a_leader_that_was_cut_off_while_the_terms_rose_is_back_too() -> None:
    sim = ChangingCluster(4, observers=("node-4",))
    sim.run_until(sim.all_serving)
    sim.step_ms = 10
    sim.step(LEASE_MS)
    leader = sim.leader.id
    others = [name for name in ("node-1", "node-2", "node-3") if name != leader]
    sim.partition(leader)
    lift_stores(sim, *others)
    sim.step(2 * SETTLE_MS)
    sim.heal()
    sim.step(LEASE_MS)
    assert sim.all_serving(), [sim.describe(node) for node in sim.nodes.values()]


def test_a_new_member_of_a_lifted_cluster_serves_with_the_first_lease() -> None:
    sim = ChangingCluster(3)
    sim.run_until(sim.all_serving)
    sim.step_ms = 10
    sim.step(LEASE_MS)
    lift_stores(sim, "node-1", "node-2", "node-3")
    sim.step(SETTLE_MS)
    sim.enlist("node-4")
    for change in (sim.add, sim.promote):
        answers = sim.submit("node-1", change("node-4"))
        sim.run_until(lambda: answers)  # noqa: B023 - run at once
        assert not isinstance(answers[0], Exception), answers
        sim.step(LEASE_MS)
        assert sim.all_serving(), [sim.describe(node) for node in sim.nodes.values()]
    assert sim.epoch("node-4") == 3
    assert sim.core("node-4").sequencer.term >= LIFTED
    # Its vote counts: without it there is no majority.
    sim.partition("node-1")
    sim.step(SETTLE_MS)
    assert all(sim.serving(name) for name in ("node-2", "node-3", "node-4"))


@pytest.mark.parametrize("count", [1, 2, 3, 10])
@pytest.mark.parametrize("height", [1, TERM_STEP])
def test_an_observer_that_was_lifted_alone_is_back_with_the_first_lease(count: int, height: int) -> None:
    """Nobody counts its word, so nobody comes up to it: it comes down."""
    sim = ChangingCluster(4, observers=("node-4",))
    sim.run_until(sim.all_serving)
    sim.step_ms = 10
    sim.step(LEASE_MS)
    liar = next(name for name in ("node-1", "node-2", "node-3") if name != sim.leader.id)
    reigned = sim.leader.id, sim.leader.core.sequencer.term
    for place in range(count):
        sim.core("node-4").on_frame(liar, RAFT, append(reigned[1] + (place + 1) * height))
    assert sim.core("node-4").sequencer.term > reigned[1]
    sim.step(LEASE_MS)
    assert (sim.leader.id, sim.leader.core.sequencer.term) == reigned
    assert sim.all_serving(), [sim.describe(node) for node in sim.nodes.values()]
    answers = sim.submit("node-4", sim.quarantine("after"))
    sim.run_until(lambda: answers, limit_ms=LEASE_MS)
    assert answers[0]["outcome"] == "applied"
    # A restart finds the highest term again, and that is no harm.
    sim.crash("node-4")
    sim.start("node-4")
    sim.step(SETTLE_MS)
    assert sim.all_serving() and sim.leader.core.sequencer.term == reigned[1]


def test_who_does_not_vote_lifts_nobody() -> None:
    """Though it claims a later electorate, in which it might."""
    sim = ChangingCluster(4, observers=("node-4",))
    sim.run_until(sim.all_serving)
    sim.step_ms = 10
    sim.step(LEASE_MS)
    reigned = sim.leader.id, sim.leader.core.sequencer.term
    for name in ("node-1", "node-2", "node-3"):
        for frame in (
            append(2**40),
            append(2**40, epoch=9),
            encode_frame(RequestVote(2**40, 99, 2**39, 9)),
            encode_frame(NextNodeIndex(2**40, 0, 1, False, True)),
        ):
            sim.core(name).on_frame("node-4", RAFT, frame)
    sim.step(LEASE_MS)
    assert (sim.leader.id, sim.leader.core.sequencer.term) == reigned
    assert sim.all_serving()
