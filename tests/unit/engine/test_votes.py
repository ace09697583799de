"""Votes and terms: durable before they are told, one per term, for up-to-date candidates only."""

from __future__ import annotations

import random
from typing import Any

import pytest

from govraft.adapters.engine import EngineTiming, PysyncobjSequencer
from govraft.adapters.engine.frames import (
    AppendEntries,
    Message,
    PreVote,
    PreVoteResponse,
    RequestVote,
    ResponseVote,
    decode_frame,
    encode_frame,
)
from govraft.ports.store import HardState, JournalEntry, SetHardState


def member(events: list[object], timing: EngineTiming, **state: Any) -> PysyncobjSequencer:
    """A voter n1 of three whose ops and frames go to `events` in their order."""
    clock = iter(range(0, 10**6, 2))
    return PysyncobjSequencer(
        node_id="n1",
        voters=state.get("voters", ["n1", "n2", "n3"]),
        journal=state.get("journal", []),
        hard_state=state.get("hard_state", HardState()),
        timing=timing,
        monotonic=lambda: float(next(clock)),
        rng=random.Random(1),
        send=lambda peer, frame: events.append((peer, decode_frame(frame))),
        record=events.append,
        on_commit=lambda *_: None,
    )


def hear(sequencer: PysyncobjSequencer, peer: str, message: Message) -> None:
    sequencer.receive(peer, encode_frame(message))


def test_a_vote_is_recorded_before_it_is_sent(timing: EngineTiming) -> None:
    events: list[object] = []
    hear(member(events, timing), "n2", RequestVote(3, 0, 0))
    assert events == [
        SetHardState(HardState(3, None, 0)),
        SetHardState(HardState(3, "n2", 0)),
        ("n2", ResponseVote(3)),
    ]


def test_standing_is_recorded_before_votes_are_asked_for(timing: EngineTiming) -> None:
    events: list[object] = []
    sequencer = member(events, timing)
    sequencer.turn()
    assert sorted(events, key=str) == [("n2", PreVote(1, 0, 0)), ("n3", PreVote(1, 0, 0))]
    assert sequencer.term == 0
    events.clear()
    hear(sequencer, "n3", PreVoteResponse(1, True))
    sequencer.turn()
    assert events[0] == SetHardState(HardState(1, "n1", 0))
    assert sorted(events[1:], key=str) == [("n2", RequestVote(1, 0, 0)), ("n3", RequestVote(1, 0, 0))]


@pytest.mark.parametrize("voted_for", ["n1", "n3"])
def test_a_restarted_member_does_not_vote_twice(timing: EngineTiming, voted_for: str) -> None:
    events: list[object] = []
    sequencer = member(events, timing, hard_state=HardState(3, voted_for, 0))
    hear(sequencer, "n2", RequestVote(3, 0, 0))
    assert events == []
    hear(sequencer, "n2", RequestVote(4, 0, 0))
    assert events[-1] == ("n2", ResponseVote(4))


def test_a_lost_vote_is_repeated_for_the_same_candidate(timing: EngineTiming) -> None:
    events: list[object] = []
    sequencer = member(events, timing, hard_state=HardState(3, "n2", 0))
    hear(sequencer, "n2", RequestVote(3, 0, 0))
    assert events == [("n2", ResponseVote(3))]


@pytest.mark.parametrize(
    ("index", "term", "is_granted"),
    [(2, 2, True), (1, 3, True), (3, 2, True), (1, 2, False), (9, 1, False), (0, 0, False)],
)
def test_only_an_up_to_date_candidate_is_elected(timing: EngineTiming, index: int, term: int, is_granted: bool) -> None:
    journal = [JournalEntry(1, 1, b"\1"), JournalEntry(2, 2, b"\1")]
    events: list[object] = []
    sequencer = member(events, timing, journal=journal, hard_state=HardState(3, None, 0))
    hear(sequencer, "n2", PreVote(5, index, term))
    assert events == [("n2", PreVoteResponse(5 if is_granted else 3, is_granted))]
    events.clear()
    hear(sequencer, "n2", RequestVote(5, index, term))
    assert (("n2", ResponseVote(5)) in events) is is_granted


def test_a_refused_pre_vote_teaches_the_term(timing: EngineTiming) -> None:
    sequencer = member([], timing)
    hear(sequencer, "n2", PreVoteResponse(8, False))
    assert sequencer.term == 0  # nobody had asked
    sequencer.turn()
    hear(sequencer, "n2", PreVoteResponse(8, False))
    assert sequencer.term == 8


def test_a_candidate_of_an_older_term_gets_nothing(timing: EngineTiming) -> None:
    events: list[object] = []
    sequencer = member(events, timing, hard_state=HardState(5, None, 0))
    hear(sequencer, "n2", RequestVote(4, 9, 3))
    assert events == []
    assert sequencer.term == 5


def test_votes_of_an_earlier_candidacy_do_not_add_up(timing: EngineTiming) -> None:
    sequencer = member([], timing, voters=["n1", "n2", "n3", "n4", "n5"])
    for term, voter in ((1, "n2"), (2, "n3")):
        sequencer.turn()
        for peer in ("n2", "n3"):
            hear(sequencer, peer, PreVoteResponse(term, True))
        sequencer.turn()
        assert sequencer.term == term
        hear(sequencer, voter, ResponseVote(term))
        assert not sequencer.is_leader
    hear(sequencer, "n4", ResponseVote(2))
    assert sequencer.is_leader


def test_a_leader_helps_nobody_to_depose_it(timing: EngineTiming) -> None:
    events: list[object] = []
    sequencer = member(events, timing)
    sequencer.turn()
    hear(sequencer, "n2", PreVoteResponse(1, True))
    sequencer.turn()
    hear(sequencer, "n2", ResponseVote(1))
    events.clear()
    hear(sequencer, "n3", PreVote(2, 9, 1))
    hear(sequencer, "n3", RequestVote(2, 9, 1))
    assert events == [("n3", PreVoteResponse(1, False))]
    assert sequencer.is_leader


def test_hearing_a_leader_voids_the_pre_votes(timing: EngineTiming) -> None:
    events: list[object] = []
    sequencer = member(events, timing, hard_state=HardState(1, None, 0))
    sequencer.turn()
    hear(sequencer, "n2", PreVoteResponse(2, True))
    hear(sequencer, "n3", AppendEntries(1, 0, 0, 0, ()))
    events.clear()
    sequencer.turn()
    assert sorted(events, key=str) == [("n2", PreVote(2, 0, 0)), ("n3", PreVote(2, 0, 0))]
    assert sequencer.term == 1
