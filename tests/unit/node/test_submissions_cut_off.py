"""What a node says of a command when its state is old, its clock is wrong, or nobody hears it."""

from __future__ import annotations

import pytest
from sim_cluster import HEARTBEAT_MS, LEASE_MS, SimCluster

from govraft.core.codec.canonical import pack
from govraft.core.crypto.digests import digest
from govraft.core.model.commands import (
    EntityPatch,
    Invalidate,
    Isolate,
    Quarantine,
    Revoke,
    TargetKind,
)
from govraft.core.model.reasons import Reason
from govraft.errors import AvailabilityError, RejectedError
from govraft.node.effects import Effects

RAFT, CONVERGENCE, SUBMISSION = 1, 2, 3
X = 'Agent::"x"'
PATIENCE_MS = 2 * LEASE_MS


@pytest.fixture
def sim() -> SimCluster:
    sim = SimCluster()
    sim.run_until(sim.all_serving)
    return sim


def follower(sim: SimCluster) -> str:
    return next(name for name in sim.nodes if name != sim.leader.id)


def effective(sim: SimCluster, name: str, envelope: bytes) -> dict:
    answers = sim.submit(name, envelope)
    sim.run_until(lambda: answers)
    assert isinstance(answers[0], dict), answers
    return answers[0]


def told(sim: SimCluster, name: str, envelope: bytes, limit_ms: int = 12_000) -> object:
    answers = sim.submit(name, envelope)
    sim.run_until(lambda: answers, limit_ms=limit_ms)
    return answers[0]


def mark(sim: SimCluster, kind: type, command_id: str, target: str = X, of: TargetKind = TargetKind.SUBJECT) -> bytes:
    return sim.envelope(kind(**sim.header(command_id), kind=of, id=target, reason="test"), "operator-1")


@pytest.fixture
def stale(sim: SimCluster) -> tuple[SimCluster, str, str]:
    """X was quarantined, one node cut off, and X released by the others: cluster, that node, another one."""
    effective(sim, "node-1", sim.quarantine("c", X))
    cut = follower(sim)
    sim.run_until(lambda: sim.nodes[cut].core.machine.marks("subject", X))
    sim.partition(cut)
    other = sim.leader.id
    effective(sim, other, sim.lift("r", X))
    return sim, cut, other


STOPS = {"quarantine": Quarantine, "isolate": Isolate, "revoke": Revoke, "invalidate": Invalidate}


@pytest.mark.parametrize("name", STOPS)
def test_no_node_that_is_cut_off_calls_a_target_stopped(sim, name):
    """The others have ended what it still holds; whoever is told `already_…` believes the target stopped."""
    kind = STOPS[name]
    effective(sim, "node-1", mark(sim, kind, "first"))
    cut = follower(sim)
    sim.run_until(lambda: sim.nodes[cut].core.machine.marks("subject", X))
    sim.partition(cut)
    answer = told(sim, cut, mark(sim, kind, "second"))
    assert isinstance(answer, AvailabilityError)
    assert (answer.code, answer.definite) == ("unavailable", True)


def test_a_quarantine_at_a_node_that_missed_the_release_works_once_it_is_back(stale):
    sim, cut, other = stale
    answers = sim.submit(cut, sim.quarantine("again", X))
    sim.heal()
    sim.run_until(lambda: answers)
    assert isinstance(answers[0], dict)
    assert sim.nodes[other].core.machine.marks("subject", X)


@pytest.mark.parametrize("at", ["leader", "follower"])
@pytest.mark.parametrize(
    ("kind", "target", "of", "code"),
    [
        (Quarantine, X, TargetKind.SUBJECT, "already_quarantined"),
        (Isolate, X, TargetKind.SUBJECT, "applied"),
        (Revoke, 'Agent::"gone"', TargetKind.SUBJECT, "already_revoked"),
        (Quarantine, "node-9", TargetKind.NODE, "target_unknown"),
        (Invalidate, "no uid", TargetKind.SUBJECT, "target_invalid"),
    ],
)
def test_a_stop_is_never_refused_for_its_target(sim, at, kind, target, of, code):
    """It is proposed, and the log says what it came to: even where the node is sure."""
    effective(sim, "node-1", sim.quarantine("c", X))
    effective(sim, "node-1", mark(sim, Revoke, "g", 'Agent::"gone"'))
    sim.run_until(sim.all_serving)
    before = sim.leader.core.machine.seq
    answer = told(sim, sim.leader.id if at == "leader" else follower(sim), mark(sim, kind, "d", target, of))
    if code == "applied":
        assert answer["outcome"] == "applied"
        return
    assert isinstance(answer, RejectedError)
    assert (answer.code, answer.definite, answer.diagnostics()["seq"]) == (code, True, before + 1)


@pytest.mark.parametrize("at", ["leader", "follower"])
def test_under_a_live_lease_a_refusal_is_definite_and_costs_no_entry(sim, at):
    name = sim.leader.id if at == "leader" else follower(sim)
    answer = told(sim, name, sim.lift("r", X), limit_ms=10)
    assert isinstance(answer, RejectedError)
    assert (answer.code, answer.definite) == ("not_quarantined", True)
    assert sim.leader.core.machine.seq == 1


def test_no_refusal_by_an_old_state_is_definite(sim):
    """The others have quarantined X; what this node still holds knows nothing of it."""
    cut = follower(sim)
    sim.partition(cut)
    effective(sim, sim.leader.id, sim.quarantine("c", X))
    sim.step(LEASE_MS)
    answer = told(sim, cut, sim.lift("r", X))
    assert isinstance(answer, AvailabilityError)
    assert (answer.code, answer.definite) == ("unavailable", True)


def test_a_node_that_is_cut_off_proposes_nothing(sim):
    """Neither at once nor later: what it said stays true when it is back."""
    cut = follower(sim)
    sim.partition(cut)
    answers = sim.submit(cut, sim.quarantine("c", X))
    sim.step(PATIENCE_MS + 5)
    assert (answers[0].code, answers[0].definite) == ("unavailable", True)
    sim.heal()
    sim.run_until(sim.all_serving)
    sim.step(1_000)
    assert not sim.nodes[cut].core.machine.marks("subject", X)


def test_a_node_without_a_lease_lets_the_leader_judge(sim):
    """Only leases are lost on the way to it: its state is the newest, but it cannot know."""
    name = follower(sim)
    sim.tap = lambda source, target, channel, payload: None if target == name and channel == CONVERGENCE else payload
    sim.step(LEASE_MS + 50)
    assert not sim.serving(name)
    answer = told(sim, name, sim.lift("r", X), limit_ms=50)
    assert isinstance(answer, RejectedError)
    assert (answer.code, answer.definite) == ("not_quarantined", False), "a leader may lie"


def test_a_node_that_is_about_to_know_waits_for_that(sim):
    """Its next certificate is on its way: no need to trouble the leader, and the refusal is definite."""
    name = follower(sim)
    sim.submit(sim.leader.id, sim.put("c"), wait="none")
    sim.run_until(lambda: sim.nodes[name].core.machine.seq == 2 and not sim.serving(name))
    frames = []

    def tap(source, target, channel, payload):
        frames.extend([payload] if channel == SUBMISSION else [])
        return payload

    sim.tap = tap
    answer = told(sim, name, sim.lift("r", X), limit_ms=200)
    assert (answer.code, answer.definite) == ("not_quarantined", True)
    assert not frames


@pytest.mark.parametrize("at", ["leader", "follower"])
def test_a_refusal_waits_for_the_seq_that_its_author_asks_for(sim, at):
    """The author has seen a later state than this node: its refusal counts from there on."""
    name = sim.leader.id if at == "leader" else follower(sim)
    answers: list[object] = []
    core = sim.nodes[name].core
    core.submit(sim.lift("r", X), wait="effective", timeout_ms=10_000, done=answers.append, at_least=2)
    sim.step(50)
    assert not answers
    marked = sim.submit(sim.leader.id, sim.quarantine("c", X))
    sim.run_until(lambda: marked and answers)
    assert marked[0]["seq"] == 2
    assert answers[0]["outcome"] == "applied"


def test_a_seq_that_never_comes_gives_no_definite_refusal(sim):
    for name in sim.nodes:
        answers: list[object] = []
        core = sim.nodes[name].core
        core.submit(sim.lift("r", X), wait="effective", timeout_ms=4_000, done=answers.append, at_least=99)
        sim.run_until(lambda answers=answers: answers)
        assert isinstance(answers[0], AvailabilityError)


@pytest.mark.parametrize("step_ms", [3_600_000 + 60_000, -25 * 3_600_000])
def test_a_node_whose_clock_is_wrong_does_not_call_a_command_void(sim, step_ms):
    """By its clock the command is over, or not yet begun; the others think otherwise, and it stops X."""
    name = follower(sim)
    sim.nodes[name].clock.wall_step_ms = step_ms
    assert not sim.serving(name)
    envelope = sim.quarantine("c", X)
    answers = sim.submit(name, envelope, wait="committed")
    # No lease comes to it: whether it may have one with such a clock is for the rule of wall clocks.
    sim.tap = lambda source, target, channel, payload: None if target == name and channel == CONVERGENCE else payload
    sim.run_until(lambda: sim.leader.core.machine.marks("subject", X))
    sim.run_until(lambda: answers)
    assert not (isinstance(answers[0], RejectedError) and answers[0].definite)


def test_expired_names_both_times(sim):
    envelope = sim.quarantine("c", X)
    for node in sim.nodes.values():
        node.clock.wall_step_ms = 3_600_000
    sim.step(LEASE_MS + 500)
    sim.run_until(sim.all_serving)
    answer = told(sim, sim.leader.id, envelope)
    assert answer.code == "expired"
    assert "2023-11-14T23:13:2" in str(answer), "its `not_after`"
    assert "2023-11-14T23:13:2" in str(answer).split("it is")[1], "and the time that it was held against"


# The way to the leader.


def test_a_leader_that_was_not_heard_lately_is_no_way(sim):
    """The link is up, but nothing comes from there."""
    name, leader = follower(sim), sim.leader.id
    sim.tap = lambda source, target, channel, payload: None if (source, target) == (leader, name) else payload
    sim.step(3 * HEARTBEAT_MS + 10)
    frames = []
    core = sim.nodes[name].core
    assert core.sequencer.leader_hint == leader
    answers = sim.submit(name, sim.quarantine("c", X))
    core.settle()
    frames = [send for send in core.take_effects().sends if send.channel == SUBMISSION]
    assert not frames
    assert not answers


def test_a_frame_that_the_network_does_not_take_was_no_proposal(sim):
    name = follower(sim)
    core = sim.nodes[name].core
    answers = sim.submit(name, sim.quarantine("c", X))
    core.settle()
    (send,) = [send for send in core.take_effects().sends if send.channel == SUBMISSION]
    assert send.told is not None
    send.told(False)
    assert (answers[0].code, answers[0].definite) == ("unavailable", True)
    assert core.submissions._places.count == 0


def test_a_frame_that_the_network_took_once_may_be_a_proposal_for_ever(sim):
    name = follower(sim)
    core = sim.nodes[name].core
    answers = sim.submit(name, sim.quarantine("c", X), timeout_ms=5_000)
    core.settle()
    (send,) = [send for send in core.take_effects().sends if send.channel == SUBMISSION]
    send.told(True)
    sim.partition(name)
    sim.run_until(lambda: answers)
    assert (answers[0].code, answers[0].definite) == ("outcome_unknown", False)


def test_what_is_on_its_way_to_the_network_may_be_a_proposal(sim):
    """The node waits for its disk; meanwhile the client's time is over."""
    name = follower(sim)
    core = sim.nodes[name].core
    answers = sim.submit(name, sim.quarantine("c", X), timeout_ms=1)
    core.settle()
    sim.now_ns += 2_000_000
    core.submissions.turn(core.sequencer, Effects())
    assert (answers[0].code, answers[0].definite) == ("outcome_unknown", False)


def test_what_must_be_parsed_first_is_not_forwarded_unparsed(sim):
    """By its own state the node cannot even parse it; a leader would propose it without looking."""
    name = follower(sim)
    sim.tap = lambda source, target, channel, payload: None if target == name and channel == CONVERGENCE else payload
    sim.step(LEASE_MS + 50)
    patch = EntityPatch(**sim.header("p"), uid='Agent::"nobody"', set={}, unset=(), add_parents=(), remove_parents=())
    answer = told(sim, name, sim.envelope(patch, "operator-1"), limit_ms=50)
    assert (answer.code, answer.definite) == ("unavailable", True)


# The leader.


def forwarded(envelope: bytes) -> bytes:
    return pack({"digest": digest("envelope", envelope), "envelope": envelope})


def leader_without_lease(sim: SimCluster) -> str:
    """A leader whose own leases are lost on the way; the others have theirs."""
    leader = sim.leader.id
    sim.tap = lambda source, target, channel, payload: (
        None if channel == CONVERGENCE and source == leader and target == leader else payload
    )
    sim.run_until(lambda: not sim.serving(leader))
    sim.step(LEASE_MS)
    assert sim.leader.id == leader
    return leader


def test_a_leader_without_a_lease_proposes_what_it_would_apply(sim):
    leader = leader_without_lease(sim)
    answers = sim.submit(leader, sim.quarantine("c", X), wait="committed")
    sim.run_until(lambda: answers, limit_ms=500)
    assert answers[0]["outcome"] == "applied"


def test_a_leader_without_a_lease_refuses_nothing_for_good(sim):
    leader = leader_without_lease(sim)
    answer = told(sim, leader, sim.lift("r", X), limit_ms=PATIENCE_MS + 10)
    assert isinstance(answer, AvailabilityError)
    assert (answer.code, answer.definite) == ("unavailable", True)
    assert sim.leader.core.machine.seq == 1


def test_a_leader_without_a_lease_says_so_to_who_forwarded(sim):
    leader = leader_without_lease(sim)
    core, effects = sim.nodes[leader].core, Effects()
    envelope = sim.lift("r", X)
    core.submissions.on_frame(follower(sim), forwarded(envelope), core.sequencer, effects)
    assert len(effects.sends) == 1
    name = follower(sim)
    answers: list[object] = []
    taker = sim.nodes[name].core
    # That the follower forwards it, it must hold no lease either.
    taker.submissions._judge._standing = core.gate.standing
    taker.submit(envelope, wait="effective", timeout_ms=5_000, done=answers.append)
    sim.run_until(lambda: answers, limit_ms=PATIENCE_MS + 500)
    assert isinstance(answers[0], AvailabilityError)
    assert (answers[0].code, answers[0].definite) == ("unavailable", False)


def test_another_command_of_a_known_id_is_refused_by_the_leader_too(sim):
    envelope = sim.quarantine("c", X)
    effective(sim, "node-1", envelope)
    leader, effects = sim.leader.core, Effects()
    leader.submissions.on_frame("node-3", forwarded(envelope), leader.sequencer, effects)
    assert not effects.sends, "the very same: whoever sent it sees it in the log"
    leader.submissions.on_frame("node-3", forwarded(sim.quarantine("c", 'Agent::"y"')), leader.sequencer, effects)
    assert len(effects.sends) == 1


def test_an_isolated_node_says_nothing_of_commands(sim):
    name = follower(sim)
    core = sim.nodes[name].core
    waiting = sim.submit(name, sim.quarantine("w", X))
    effects = Effects()
    core.convergence._isolate(Reason.LINEAGE_INCONSISTENT, "test", b"", 1, effects)
    answers = sim.submit(name, sim.quarantine("c", X))
    assert (answers[0].code, answers[0].definite) == ("unavailable", True)
    core.submissions.turn(core.sequencer, effects)
    assert waiting
