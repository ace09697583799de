"""Terms that a member with a real key throws about: they lift, but they neither exile anybody nor run out."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

import pytest

from govraft.adapters.engine import EngineTiming, PysyncobjSequencer
from govraft.adapters.engine.frames import (
    NO_OP,
    REGULAR,
    TERM_MAX,
    AppendEntries,
    Message,
    NextNodeIndex,
    PreVote,
    PreVoteResponse,
    RequestVote,
    ResponseVote,
    decode_frame,
    encode_frame,
)
from govraft.adapters.engine.terms import TERM_JUMP, TERM_STEP
from govraft.ports.sequencer import JournalOp
from govraft.ports.store import HardState, SetHardState

LEASE_S = 1.0

TOO_HIGH = [
    partial(AppendEntries, commit_index=0, prev_index=0, prev_term=0, entries=()),
    partial(RequestVote, last_log_index=99, last_log_term=1),
    partial(PreVote, last_log_index=99, last_log_term=1),
    partial(PreVoteResponse, granted=False),
    partial(PreVoteResponse, granted=True),
    partial(NextNodeIndex, prev_index=0, next_index=1, reset=False, success=True),
    ResponseVote,
]


def append(term: int, **changes: Any) -> AppendEntries:
    return AppendEntries(
        **({"term": term, "commit_index": 0, "prev_index": 0, "prev_term": 0, "entries": ()} | changes)
    )


def rested(member: Any) -> Any:
    """A lease after its start."""
    member.now += LEASE_S
    return member


def test_h13b_a_term_far_above_lifts_by_a_step(contained: Any, stock: Any) -> None:
    plain = stock()
    plain.hear("n2", type="append_entries", term=TERM_MAX, commit_index=1, entries=[], prevLogIdx=1, prevLogTerm=0)
    assert plain.engine.raftCurrentTerm == TERM_MAX  # One frame used up all of them.

    member = rested(contained())
    member.follow(commit=3)
    member.hear("n3", append(TERM_MAX))
    assert member.sequencer.term == 1 + TERM_STEP
    assert member.sequencer.leader_hint is None
    member.hear("n2", append(1))
    assert member.answers(NextNodeIndex) == [NextNodeIndex(1 + TERM_STEP, 0, 4, False, False)]


@pytest.mark.parametrize("make", TOO_HIGH)
def test_any_frame_of_a_voter_lifts(contained: Any, make: Any) -> None:
    member = rested(contained())
    member.follow(commit=3)
    member.hear("n3", make(2**40))
    assert (member.sequencer.term, member.sequencer.leader_hint) == (1 + TERM_STEP, None)
    assert member.sent == []
    assert member.ops == [SetHardState(HardState(1 + TERM_STEP, None, 3))]


@pytest.mark.parametrize("make", TOO_HIGH)
def test_who_leads_steps_down(contained: Any, make: Any) -> None:
    member = rested(contained())
    term = member.lead()
    member.hear("n3", make(2**40))
    assert (member.sequencer.term, member.sequencer.is_leader) == (term + TERM_STEP, False)
    member.hear("n2", ResponseVote(term + TERM_STEP))
    member.sequencer.turn()
    assert not member.sequencer.is_leader


def test_who_stands_steps_down(contained: Any) -> None:
    member = rested(contained())
    term = member.stand()
    member.hear("n3", append(2**40))
    member.hear("n2", ResponseVote(term))
    member.hear("n2", ResponseVote(term + TERM_STEP))
    member.hear("n3", PreVoteResponse(term + TERM_STEP + 1, True))
    member.sequencer.turn()
    assert (member.sequencer.term, member.sequencer.is_leader) == (term + TERM_STEP, False)


@pytest.mark.parametrize("count", [1, 2, 3, 10, 10**6])
def test_a_second_large_rise_waits_for_a_lease(contained: Any, count: int) -> None:
    member = rested(contained())
    member.follow(commit=3)
    message, engine = append(2**61), member.sequencer._engine
    with member.sequencer._engaged():
        for _ in range(count):
            engine._SyncObj__onMessageReceived(engine.peer("n3"), message)
    assert member.sequencer.term == 1 + TERM_STEP
    assert member.sequencer.term_jumps == {"n3": count}
    member.now += LEASE_S - 0.01
    member.hear("n2", append(2**61))
    member.hear("n3", append(1 + TERM_STEP + TERM_JUMP + 1))
    assert member.sequencer.term == 1 + TERM_STEP
    member.now += 0.01
    member.hear("n2", append(2**61))
    assert member.sequencer.term == 1 + 2 * TERM_STEP


def test_a_large_rise_that_is_taken_counts_too(contained: Any) -> None:
    member = rested(contained())
    member.follow(commit=3)
    member.hear("n3", append(1 + TERM_STEP))
    assert (member.sequencer.term, member.sequencer.leader_hint) == (1 + TERM_STEP, "n3")
    member.hear("n2", append(2 + TERM_STEP + TERM_JUMP))
    assert (member.sequencer.term, member.sequencer.leader_hint) == (1 + TERM_STEP, "n3")
    member.hear("n2", append(1 + TERM_STEP + TERM_JUMP))
    assert (member.sequencer.term, member.sequencer.leader_hint) == (1 + TERM_STEP + TERM_JUMP, "n2")
    assert member.sequencer.term_jumps == {"n3": 1, "n2": 1}


def test_a_frame_that_raises_nothing_does_not_count(contained: Any) -> None:
    member = rested(contained())
    member.follow(commit=3)
    member.hear("n3", PreVote(1 + TERM_STEP, 99, 1))
    assert member.sequencer.term == 1
    member.hear("n3", append(2**40))
    assert member.sequencer.term == 1 + TERM_STEP


def test_a_start_is_no_second_chance(contained: Any) -> None:
    member = contained(hard_state=HardState(term=7))
    member.hear("n3", append(2**40))
    member.now += LEASE_S - 0.01
    member.hear("n3", append(2**40))
    assert member.sequencer.term == 7
    member.now += 0.01
    member.hear("n3", append(2**40))
    assert member.sequencer.term == 7 + TERM_STEP


def test_a_claimed_later_epoch_lifts_nobody(contained: Any) -> None:
    member = rested(contained(options={"observers": ["o1"]}))
    member.follow(commit=3)
    for peer in ("o1", "stranger"):
        member.hear(peer, append(2**40, epoch=2))
        member.hear(peer, RequestVote(2**40, 99, 1, epoch=2))
        member.hear(peer, NextNodeIndex(2**40, 0, 1, False, True))
    assert (member.sequencer.term, member.sequencer.leader_hint) == (1, "n2")
    member.hear("n3", append(2**40, epoch=2))
    assert (member.sequencer.term, member.sequencer.leader_hint) == (1 + TERM_STEP, None)


def test_the_new_term_is_recorded_before_a_frame_leaves_in_it(contained: Any) -> None:
    happened: list[object] = []
    member = rested(contained())
    member.follow(commit=3)
    member.sequencer._send = lambda _peer, frame: happened.append(decode_frame(frame).term)
    member.sequencer._journal._record = lambda op: happened.append(op.hard_state.term)
    member.hear("n3", append(2**40))
    member.hear("n2", append(1))
    assert happened == [1 + TERM_STEP] * 2


def test_the_last_term_is_the_end(contained: Any) -> None:
    member = rested(contained(hard_state=HardState(term=TERM_MAX - 1)))
    assert member.lead() == TERM_MAX
    member.hear("n3", append(TERM_MAX))
    assert member.sequencer.is_leader
    member.now += 5
    member.sequencer.turn()
    member.now += 5
    member.sent.clear()
    member.sequencer.turn()
    assert (member.sequencer.term, member.sent) == (TERM_MAX, [])
    member.sequencer.adopt_term(TERM_MAX + 1, "n2")
    member.sequencer.adopt_term(2**63 - 1, "n2")
    assert (member.sequencer.term, member.sequencer.leader_hint) == (TERM_MAX, None)
    alone = contained(voters=1, hard_state=HardState(term=TERM_MAX))
    alone.sequencer.turn()
    assert (alone.sequencer.term, alone.sequencer.is_leader) == (TERM_MAX, False)


# The term of a lease.


def test_the_term_of_a_lease_is_entered_whole_and_at_once(contained: Any) -> None:
    member = contained()
    member.follow(commit=3)
    member.sequencer.adopt_term(1 + 3_600 * TERM_STEP, "n3")
    term = 1 + 3_600 * TERM_STEP
    assert (member.sequencer.term, member.sequencer.leader_hint) == (term, "n3")
    assert member.ops == [SetHardState(HardState(term, None, 3))]
    member.hear("n3", append(term, prev_index=3, prev_term=1, entries=((term, NO_OP),)))
    assert member.answers(NextNodeIndex) == [NextNodeIndex(term, 3, 5, False, True)]
    assert member.sequencer.term_jumps == {}


def test_a_lease_makes_a_leader_of_an_earlier_term_step_down(contained: Any) -> None:
    member = contained()
    term = member.lead()
    member.sequencer.adopt_term(term, "n1")
    assert member.sequencer.is_leader
    member.sequencer.adopt_term(term + 2**40, "n2")
    assert (member.sequencer.is_leader, member.sequencer.leader_hint) == (False, "n2")


def test_a_lease_says_who_leads_the_term(contained: Any) -> None:
    """Whoever was first to say so in it: a liar takes nobody away from the leader that a quorum has acked."""
    member = contained()
    member.follow(commit=3)
    member.hear("n3", append(9))
    member.hear("n2", append(9))
    assert member.sequencer.leader_hint == "n3"
    member.sequencer.adopt_term(9, "n2")
    assert member.sequencer.leader_hint == "n2"
    member.hear("n2", append(9, prev_index=3, prev_term=1))
    assert member.answers(NextNodeIndex)[-1].success


def test_nobody_follows_itself_by_its_own_old_lease(contained: Any) -> None:
    member = contained()
    member.sequencer.adopt_term(5, "n1")
    assert (member.sequencer.term, member.sequencer.leader_hint, member.sequencer.is_leader) == (5, None, False)


def test_a_voter_never_falls_back(contained: Any) -> None:
    member = rested(contained())
    member.hear("n2", append(9))
    member.sequencer.adopt_term(8, "n3")
    assert (member.sequencer.term, member.sequencer.leader_hint) == (9, "n2")


class Watching:
    """A member that does not vote, fed by hand."""

    def __init__(self, hard_state: HardState | None = None, voters: str = "n1 n2 n3") -> None:
        self.now, self.sent = 0.0, list[Message]()
        self.ops: list[JournalOp] = []
        self.sequencer = PysyncobjSequencer(
            node_id="o1",
            voters=voters.split(),
            observers=["o1"],
            journal=[],
            hard_state=hard_state or HardState(),
            timing=EngineTiming(0.1, 0.5, 1.0, LEASE_S),
            monotonic=lambda: self.now,
            rng=random.Random(1),
            send=lambda _peer, frame: self.sent.append(decode_frame(frame)),
            record=self.ops.append,
            on_commit=lambda *_: None,
        )

    def hear(self, peer: str, message: Message) -> None:
        self.sequencer.receive(peer, encode_frame(message))


@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_an_observer_that_was_lifted_alone_is_back_with_the_first_lease(count: int) -> None:
    observer = Watching()
    log = ((1, NO_OP), (1, REGULAR + b"entry"))
    observer.hear("n1", append(1, entries=log))
    for number in range(count):
        observer.now += LEASE_S
        term = 1 + (number + 1) * TERM_STEP
        observer.hear("n3", append(term, prev_index=2, prev_term=1, entries=((term, REGULAR + b"lie"),)))
    assert observer.sequencer.term == 1 + count * TERM_STEP
    observer.sequencer.adopt_term(1, "n1")
    assert (observer.sequencer.term, observer.sequencer.leader_hint) == (1, "n1")
    observer.sent.clear()
    observer.hear("n1", append(1, commit_index=3, prev_index=2, prev_term=1, entries=((1, REGULAR + b"truth"),)))
    assert observer.sent == [NextNodeIndex(1, 2, 4, False, True)]
    assert (observer.sequencer.commit_index, observer.sequencer.entry(3)) == (3, b"truth")
    # The next term comes as ever, and one that was recorded before needs no second record.
    before = len(observer.ops)
    observer.hear("n2", append(2))
    assert (observer.sequencer.term, observer.sequencer.leader_hint, len(observer.ops)) == (2, "n2", before)


def test_an_observer_does_not_fall_to_the_term_of_an_earlier_lease() -> None:
    observer = Watching()
    observer.sequencer.adopt_term(5, "n1")
    observer.sequencer.adopt_term(7, "n2")
    observer.sequencer.adopt_term(5, "n1")
    assert (observer.sequencer.term, observer.sequencer.leader_hint) == (7, "n2")


def test_a_member_that_votes_again_is_back_in_its_highest_term() -> None:
    member = Watching(HardState(term=9, voted_for="n3"))
    member.sequencer.adopt_term(5, "n1")
    assert member.sequencer.term == 5
    member.sequencer.set_voters(["n1", "n2", "n3", "o1"], [], 2)
    assert (member.sequencer.term, member.sequencer.leader_hint) == (9, None)
    member.now += 2.0
    member.hear("n2", RequestVote(9, 1, 1, epoch=2))
    assert not [message for message in member.sent if isinstance(message, ResponseVote)]
    member.hear("n3", RequestVote(9, 1, 1, epoch=2))
    assert [message for message in member.sent if isinstance(message, ResponseVote)] == [ResponseVote(9)]


def test_a_member_that_votes_again_keeps_the_vote_of_the_term_that_it_came_back_to() -> None:
    member = Watching(HardState(term=9, voted_for="n3"))
    member.sequencer.adopt_term(5, "n1")
    member.hear("n1", append(9))
    assert member.sequencer.term == 9
    member.sequencer.set_voters(["n1", "n2", "n3", "o1"], [], 2)
    member.now += 2.0
    member.hear("n2", RequestVote(9, 1, 1, epoch=2))
    assert not [message for message in member.sent if isinstance(message, ResponseVote)]


# Clusters.


@pytest.mark.parametrize("voters", [3, 4])
@pytest.mark.parametrize("count", [1, 2, 3, 10, 1_000])
@pytest.mark.parametrize("victims", [("n2",), ("n1", "n2"), ("n1", "n2", "n3")])
def test_a_burst_exiles_nobody(simulate: Any, voters: int, count: int, victims: tuple[str, ...]) -> None:
    """The last voter is a liar's, which is silent but for the burst: 2 of 3, and 3 of 4, must have come together."""
    cluster = simulate(seed=count, voters=voters)
    liar = f"n{voters}"
    cluster.elect()
    cluster.isolate(liar)
    cluster.elect()
    for place in range(count):
        for victim in victims:
            if victim != liar:
                frame = encode_frame(append((place + 1) * 2**32 + 1))
                cluster.members[victim].run(lambda sequencer, frame=frame: sequencer.receive(liar, frame))
    cluster.run(4.0)
    before = max(cluster.checkers.committed, default=0)
    cluster.propose()
    cluster.run_until(lambda: max(cluster.checkers.committed, default=0) > before)
    cluster.heal()
    cluster.converge()


@pytest.mark.parametrize("lifts", [1, 2, 3, 10])
def test_where_no_quorum_stands_it_comes_together_in_as_many_leases(
    simulate: Any, timing: EngineTiming, lifts: int
) -> None:
    """A victim that is cut off is lifted once a lease; then the others need it, as the liar is silent."""
    cluster = simulate(seed=lifts, voters=3)
    cluster.elect()
    cluster.isolate("n1", "n2")
    cluster.isolate("n2", "n3")
    victim = cluster.members["n2"]
    for _ in range(lifts):
        cluster.run(timing.lease_s + 0.01)
        frame = encode_frame(append(TERM_MAX))
        victim.run(lambda sequencer, frame=frame: sequencer.receive("n3", frame))
    assert victim.sequencer.term > lifts * TERM_STEP
    cluster.blocked.clear()
    cluster.isolate("n3")
    # A frame that lifts comes with each election time-out, so a step takes a little longer than a lease.
    cluster.run((lifts + 1) * (timing.lease_s + timing.election_max_s) + 2.0)
    before = max(cluster.checkers.committed, default=0)
    cluster.propose()
    cluster.run_until(lambda: max(cluster.checkers.committed, default=0) > before)
