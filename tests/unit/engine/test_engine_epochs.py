"""Electorates that change: who votes, who is heard, and what a leader commits meanwhile."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from govraft.adapters.engine import EngineTiming, PysyncobjSequencer
from govraft.adapters.engine.frames import (
    NO_OP,
    REGULAR,
    AppendEntries,
    Committed,
    Message,
    NextNodeIndex,
    PreVote,
    PreVoteResponse,
    RequestVote,
    ResponseVote,
    decode_frame,
    encode_frame,
)
from govraft.errors import InputError
from govraft.ports.sequencer import AdvanceCommit
from govraft.ports.store import HardState, JournalEntry, SetHardState

CHANGE = b"change"
"""The entry that makes a new epoch of the state."""


@dataclass
class Voter:
    """One member, fed by hand; each applied `CHANGE` raises the epoch of its state."""

    id: str = "n1"
    voters: tuple[str, ...] = ("n1", "n2", "n3")
    observers: tuple[str, ...] = ()
    epoch: int = 1
    state_epoch: int = 1
    now: float = 0.0
    sent: list[tuple[str, Message]] = field(default_factory=list)
    ops: list[object] = field(default_factory=list)
    applied: list[bytes] = field(default_factory=list)
    journal: list[JournalEntry] = field(default_factory=list)
    hard_state: HardState = field(default_factory=HardState)

    def __post_init__(self) -> None:
        self.sequencer = PysyncobjSequencer(
            node_id=self.id,
            voters=self.voters,
            observers=self.observers,
            epoch=self.epoch,
            state_epoch=lambda: self.state_epoch,
            journal=self.journal,
            hard_state=self.hard_state,
            timing=EngineTiming(0.1, 0.5, 1.0, 1.0),
            monotonic=lambda: self.now,
            rng=random.Random(1),
            send=lambda peer, frame: self.sent.append((peer, decode_frame(frame))),
            record=self.ops.append,
            on_commit=self._apply,
        )
        for peer in ("n1", "n2", "n3", "n4", "n5", "o1"):
            if peer != self.id:
                self.sequencer.link(peer, True)

    def _apply(self, _index: int, _term: int, entry: bytes) -> None:
        self.applied.append(entry)
        self.state_epoch += entry == CHANGE

    def hear(self, peer: str, message: Message) -> None:
        self.sequencer.receive(peer, encode_frame(message))

    def turn(self, seconds: float = 0.0) -> None:
        self.now += seconds
        self.sequencer.turn()

    def stand(self, *supporters: str) -> int:
        """Ask for an election and win the pre-vote; returns the term."""
        self.turn(1.5)
        term = self.sequencer.term + 1
        for peer in supporters:
            self.hear(peer, PreVoteResponse(term, True))
        self.turn()
        return self.sequencer.term

    def lead(self, *supporters: str) -> int:
        term = self.stand(*supporters)
        for peer in supporters:
            self.hear(peer, ResponseVote(term))
        self.turn()
        assert self.sequencer.is_leader
        return term

    def hold(self, *peers: str) -> None:
        """These followers hold the whole log."""
        last, term = self.sequencer.last_index, self.sequencer.term
        for peer in peers:
            self.hear(peer, NextNodeIndex(term, last, last + 1, reset=False, success=True))
        self.turn()

    def sent_to(self, peer: str) -> list[Message]:
        return [message for to, message in self.sent if to == peer]


# Votes.


def test_a_candidate_of_an_earlier_epoch_gets_no_vote() -> None:
    voter = Voter(epoch=3, state_epoch=3)
    voter.hear("n2", PreVote(5, 9, 4, epoch=2))
    voter.hear("n2", RequestVote(5, 9, 4, epoch=2))
    assert voter.sent == voter.ops == []
    assert voter.sequencer.term == 0
    assert voter.sequencer.faults["earlier_epoch"] == 2
    voter.hear("n2", RequestVote(5, 9, 4, epoch=3))
    assert voter.sent == [("n2", ResponseVote(5))]


def test_the_epoch_goes_out_with_each_request_and_with_the_entries() -> None:
    voter = Voter(epoch=4, state_epoch=4)
    voter.lead("n2", "n3")
    kinds = {type(message) for _, message in voter.sent}
    assert kinds == {PreVote, RequestVote, AppendEntries}
    assert {message.epoch for _, message in voter.sent if not isinstance(message, NextNodeIndex)} == {4}


@pytest.mark.parametrize("stranger", ["n4", "o1"])
def test_a_candidate_of_a_later_epoch_is_heard_though_it_is_no_voter_here(stranger: str) -> None:
    voter = Voter(observers=("o1",))
    voter.hear(stranger, PreVote(2, 0, 0))
    voter.hear(stranger, RequestVote(2, 0, 0))
    assert voter.sent == []
    voter.hear(stranger, PreVote(2, 0, 0, epoch=2))
    voter.hear(stranger, RequestVote(2, 0, 0, epoch=2))
    assert voter.sent == [(stranger, PreVoteResponse(2, granted=True)), (stranger, ResponseVote(2))]


def test_whoever_does_not_vote_answers_only_candidates_of_a_later_epoch() -> None:
    joiner = Voter(id="n4")
    joiner.hear("n2", RequestVote(2, 0, 0))
    assert joiner.sent == []
    joiner.hear("n2", RequestVote(3, 0, 0, epoch=2))
    assert joiner.sent == [("n2", ResponseVote(3))]


@pytest.mark.parametrize("voter", ["n4", "o1"])
def test_votes_of_strangers_do_not_count_whatever_the_epoch(voter: str) -> None:
    candidate = Voter(observers=("o1",))
    term = candidate.stand("n2", "n3")
    candidate.hear(voter, ResponseVote(term))
    assert not candidate.sequencer.is_leader


def test_a_lagging_member_is_fed_by_a_leader_that_it_does_not_know_as_a_voter() -> None:
    joiner = Voter(id="n4")
    entries = ((1, NO_OP), (1, REGULAR + b"x"))
    joiner.hear("n5", AppendEntries(1, 2, 0, 0, entries))
    assert joiner.sequencer.last_index == 0
    joiner.hear("n5", AppendEntries(1, 2, 0, 0, entries, epoch=7))
    joiner.turn()
    assert joiner.applied == [b"x"]
    assert joiner.sequencer.leader_hint == "n5"
    assert joiner.sent_to("n5") == [NextNodeIndex(1, 0, 3, reset=False, success=True)]


def test_whoever_is_no_member_never_stands() -> None:
    joiner = Voter(id="n4")
    for _ in range(50):
        joiner.turn(0.3)
    assert joiner.sent == joiner.ops == []


def test_a_member_whose_state_is_behind_its_epoch_does_not_stand() -> None:
    joiner = Voter(epoch=3, state_epoch=2)
    for _ in range(50):
        joiner.turn(0.3)
        # What it hears may be what it lacks; nobody whose epoch is its own would vote for it.
        for peer, question in joiner.sent:
            assert (type(question), question.epoch) == (PreVote, 2)
            joiner.hear(peer, PreVoteResponse(1, granted=True))
        joiner.sent.clear()
    assert joiner.sequencer.term == 0
    joiner.state_epoch = 3
    joiner.turn(1.5)
    assert {(peer, message.epoch) for peer, message in joiner.sent} == {("n2", 3), ("n3", 3)}


def test_a_lone_member_whose_state_is_behind_its_epoch_does_not_lead() -> None:
    joiner = Voter(voters=("n1",), epoch=3, state_epoch=2)
    joiner.turn()
    assert not joiner.sequencer.is_leader


def test_a_refused_candidate_is_told_what_is_committed() -> None:
    """It holds the longest log and lacks the certificate, which it can be given once it has applied the change."""
    entries = [JournalEntry(1, 1, NO_OP), JournalEntry(2, 1, REGULAR + CHANGE), JournalEntry(3, 1, REGULAR + b"x")]
    voter = Voter(epoch=2, state_epoch=2, journal=entries[:2], hard_state=HardState(1, None, 2))
    candidate = Voter(id="n2", journal=entries, hard_state=HardState(1, None, 0))
    candidate.turn(1.5)
    (question,) = candidate.sent_to("n1")
    voter.hear("n2", question)
    assert voter.sent == [("n2", Committed(2, 1))]
    candidate.hear("n1", voter.sent[0][1])
    candidate.turn()
    assert candidate.applied == [CHANGE]
    assert candidate.ops[-1] == AdvanceCommit(HardState(1, None, 2))


@pytest.mark.parametrize(("index", "term", "commit"), [(2, 1, 2), (2, 2, 1), (4, 1, 1), (1, 1, 1)])
def test_a_commit_is_believed_of_the_same_entry_only(index: int, term: int, commit: int) -> None:
    journal = [JournalEntry(number, 1, REGULAR + b"x") for number in (1, 2, 3)]
    candidate = Voter(journal=journal, hard_state=HardState(2, None, 1))
    candidate.hear("n2", Committed(index, term))
    assert candidate.sequencer.commit_index == commit
    candidate.hear("n4", Committed(3, 1))
    assert candidate.sequencer.commit_index == commit


def test_a_leader_commits_by_its_own_count() -> None:
    leader = Voter()
    term = leader.lead("n2", "n3")
    leader.hear("n2", Committed(1, term))
    assert leader.sequencer.commit_index == 0


# Commits.


def test_nothing_is_committed_beyond_a_change_that_is_not_certified() -> None:
    leader = Voter()
    term = leader.lead("n2", "n3")
    for entry in (b"a", CHANGE, b"b", CHANGE, b"c"):
        leader.sequencer.propose(entry)
    leader.hold("n2", "n3")
    assert leader.applied == [b"a", CHANGE]
    assert leader.sequencer.commit_index == 3
    assert leader.ops[-1].hard_state.commit_index == 3
    leader.hold("n2", "n3")
    leader.turn(0.2)
    assert leader.sequencer.commit_index == 3
    leader.sequencer.set_voters(("n1", "n2", "n3", "n4"), (), 2, led_term=term)
    leader.turn()
    assert leader.applied == [b"a", CHANGE, b"b", CHANGE]
    leader.sequencer.set_voters(("n1", "n2", "n3"), (), 3, led_term=term)
    leader.turn()
    assert leader.applied == [b"a", CHANGE, b"b", CHANGE, b"c"]


def test_a_follower_commits_what_its_leader_says_though_it_lacks_the_certificate() -> None:
    follower = Voter()
    entries = ((1, NO_OP), (1, REGULAR + CHANGE), (1, REGULAR + b"b"))
    follower.hear("n2", AppendEntries(1, 3, 0, 0, entries, epoch=2))
    follower.turn()
    assert follower.applied == [CHANGE, b"b"]


def test_entries_of_an_earlier_term_are_committed_by_one_of_this_term_only() -> None:
    journal = [JournalEntry(1, 1, NO_OP), JournalEntry(2, 1, REGULAR + b"x")]
    leader = Voter(journal=journal, hard_state=HardState(1, None, 0))
    term = leader.lead("n2", "n3")
    for peer in ("n2", "n3"):
        leader.hear(peer, NextNodeIndex(term, 2, 3, reset=False, success=True))
    leader.turn()
    assert leader.sequencer.commit_index == 0
    leader.hold("n2")
    assert (leader.sequencer.commit_index, leader.applied) == (3, [b"x"])


def test_a_grown_quorum_takes_effect_at_once() -> None:
    leader = Voter()
    term = leader.lead("n2", "n3")
    leader.hold("n2", "n3")
    leader.state_epoch = 2
    leader.sequencer.set_voters(("n1", "n2", "n3", "n4"), (), 2, led_term=term)
    leader.sequencer.propose(b"x")
    leader.turn()
    leader.hold("n2")
    assert leader.applied == []
    leader.hold("n4")
    assert leader.applied == [b"x"]


def test_a_shrunk_quorum_takes_effect_at_once() -> None:
    leader = Voter(voters=("n1", "n2", "n3", "n4"))
    term = leader.lead("n2", "n3")
    leader.hold("n2", "n3", "n4")
    leader.sequencer.propose(b"x")
    leader.turn()
    leader.hold("n2")
    assert leader.applied == []
    leader.state_epoch = 2
    leader.sequencer.set_voters(("n1", "n2", "n3"), (), 2, led_term=term)
    leader.turn()
    assert leader.applied == [b"x"]


def test_the_old_entries_count_for_a_member_that_is_promoted() -> None:
    leader = Voter(observers=("n4",))
    term = leader.lead("n2", "n3")
    leader.sequencer.propose(b"x")
    leader.turn()
    leader.hold("n2", "n3", "n4")
    leader.state_epoch = 2
    leader.sequencer.set_voters(("n1", "n2", "n3", "n4"), (), 2, led_term=term)
    leader.sent.clear()
    leader.turn()
    assert leader.sent_to("n4") == []  # nothing is lacking


# Leaders.


def test_a_leader_that_votes_no_longer_steps_down() -> None:
    leader = Voter()
    term = leader.lead("n2", "n3")
    leader.sequencer.set_voters(("n2", "n3"), ("n1",), 2, led_term=term)
    assert not leader.sequencer.is_leader
    assert leader.sequencer.leader_hint is None
    leader.sent.clear()
    for _ in range(20):
        leader.turn(0.3)
    assert leader.sent == []


@pytest.mark.parametrize("led_before", [0, 1])
def test_a_leader_that_was_handed_the_certificate_steps_down(led_before: int) -> None:
    leader = Voter(hard_state=HardState(1, None, 0))
    term = leader.lead("n2", "n3")
    assert term == 2
    leader.sequencer.set_voters(("n1", "n2"), (), 2, led_term=led_before)
    assert not leader.sequencer.is_leader


def test_a_leader_that_completed_the_certificate_leads_on() -> None:
    leader = Voter()
    term = leader.lead("n2", "n3")
    leader.sequencer.set_voters(("n1", "n2", "n3", "n4"), (), 2, led_term=term)
    assert leader.sequencer.is_leader
    assert leader.sequencer.leader_hint == "n1"
    leader.sent.clear()
    leader.turn(0.2)
    assert {message.epoch for message in leader.sent_to("n4") if isinstance(message, AppendEntries)} == {2}


def test_a_candidate_begins_again() -> None:
    candidate = Voter()
    term = candidate.stand("n2", "n3")
    candidate.sequencer.set_voters(("n1", "n2", "n3", "n4"), (), 2)
    candidate.hear("n2", ResponseVote(term))
    candidate.hear("n4", ResponseVote(term))
    assert not candidate.sequencer.is_leader
    assert candidate.sequencer.term == term
    assert candidate.ops[-1] == SetHardState(HardState(term, "n1", 0))


def test_whoever_is_removed_is_told_of_the_commit_and_then_nothing() -> None:
    leader = Voter()
    term = leader.lead("n2", "n3")
    leader.hold("n2", "n3")
    leader.sequencer.propose(CHANGE)
    leader.turn()
    leader.hold("n2", "n3")
    leader.sent.clear()
    leader.sequencer.set_voters(("n1", "n2"), (), 2, led_term=term)
    assert [message.commit_index for message in leader.sent_to("n3") if isinstance(message, AppendEntries)] == [2]
    leader.sent.clear()
    leader.turn(0.2)
    assert leader.sent_to("n3") == []
    leader.hear("n3", NextNodeIndex(term, 2, 3, reset=False, success=True))
    assert leader.sequencer.faults["not_a_member"] == 1


def test_a_last_voter_left_over_leads_by_itself() -> None:
    voter = Voter(voters=("n1", "n2"), state_epoch=2)
    voter.sequencer.set_voters(("n1",), (), 2)
    voter.turn()
    voter.turn()
    assert voter.sequencer.is_leader


def test_an_observer_that_becomes_a_voter_stands_after_a_while() -> None:
    observer = Voter(id="n4", observers=("n4",), state_epoch=2)
    observer.turn(5.0)
    observer.sequencer.set_voters(("n1", "n2", "n3", "n4"), (), 2)
    observer.turn()
    assert observer.sent == []
    observer.turn(1.5)
    assert {peer for peer, _ in observer.sent} == {"n1", "n2", "n3"}


def test_an_old_epoch_changes_nothing() -> None:
    voter = Voter(epoch=3, state_epoch=3)
    voter.sequencer.set_voters(("n2",), (), 3)
    voter.sequencer.set_voters(("n2",), (), 2)
    assert voter.sequencer.epoch == 3
    voter.turn(1.5)
    assert {peer for peer, _ in voter.sent} == {"n2", "n3"}


def test_impossible_voters_are_refused() -> None:
    with pytest.raises(InputError, match="twice"):
        Voter().sequencer.set_voters(("n1", "n1"), (), 2)
    with pytest.raises(InputError, match="voters"):
        Voter().sequencer.set_voters((), ("n1",), 2)
