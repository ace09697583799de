"""Scripted hazards of the stock engine, each seen to happen there and not in the contained one.

The ids are those of the list that the engine package contains.
"""

from __future__ import annotations

import pickle
import random
from typing import Any

import msgpack
import pytest

from govraft.adapters.engine import EngineTiming, PysyncobjSequencer
from govraft.adapters.engine.frames import (
    NO_OP,
    REGULAR,
    AppendEntries,
    NextNodeIndex,
    PreVote,
    PreVoteResponse,
    RequestVote,
    ResponseVote,
    encode_frame,
)
from govraft.core.model.limits import ENTRY_BYTES, FRAME_BYTES
from govraft.errors import AvailabilityError, InvariantViolation
from govraft.ports.store import HardState, TruncateFrom

ENTRY = REGULAR + b"entry"


def test_h1_repeated_vote(contained: Any, stock: Any) -> None:
    plain = stock(5)
    term = plain.stand()
    for _ in range(2):
        plain.hear("n2", type="response_vote", term=term)
    assert plain.engine._isLeader()

    member = contained(voters=5)
    term = member.stand()
    for _ in range(4):
        member.hear("n2", ResponseVote(term))
    assert not member.sequencer.is_leader
    member.hear("n3", ResponseVote(term))
    assert member.sequencer.is_leader


def test_h1_repeated_pre_vote(contained: Any) -> None:
    member = contained(voters=5)
    member.now = 1.5
    member.sequencer.turn()
    for _ in range(4):
        member.hear("n2", PreVoteResponse(1, True))
    member.sequencer.turn()
    assert member.sequencer.term == 0
    member.hear("n3", PreVoteResponse(1, True))
    member.sequencer.turn()
    assert member.sequencer.term == 1


def test_h1_vote_of_an_older_term(contained: Any) -> None:
    member = contained()
    member.stand()
    term = member.stand()
    member.hear("n2", ResponseVote(term - 1))
    assert not member.sequencer.is_leader


def test_h19_votes_of_strangers(contained: Any, stock: Any) -> None:
    plain = stock()
    term = plain.stand()
    plain.hear("stranger", type="response_vote", term=term)
    assert plain.engine._isLeader()

    member = contained()
    term = member.stand()
    member.hear("stranger", ResponseVote(term))
    member.hear("stranger", RequestVote(term + 7, 9, term))
    member.hear("stranger", AppendEntries(term + 7, 0, 0, 0, ()))
    assert not member.sequencer.is_leader
    assert member.sequencer.term == term
    assert member.sequencer.faults["not_a_member"] == 3


def test_h19_an_observer_neither_votes_nor_leads() -> None:
    sent: list[tuple[str, bytes]] = []
    arguments: dict[str, Any] = {
        "voters": ["n1", "n2"],
        "observers": ["o1"],
        "journal": [],
        "hard_state": HardState(),
        "timing": EngineTiming(0.1, 0.5, 1.0, 1.0),
        "rng": random.Random(1),
        "send": lambda peer, frame: sent.append((peer, frame)),
        "record": lambda _op: None,
        "on_commit": lambda *_: None,
    }
    voter = PysyncobjSequencer(node_id="n1", monotonic=lambda: 0.0, **arguments)
    voter.receive("o1", encode_frame(AppendEntries(5, 0, 0, 0, ())))
    voter.receive("o1", encode_frame(RequestVote(5, 0, 0)))
    voter.receive("o1", encode_frame(NextNodeIndex(5, 0, 1, False, True)))
    assert voter.term == 0
    observer = PysyncobjSequencer(node_id="o1", monotonic=lambda: 99.0, **arguments)
    observer.turn()
    observer.receive("n1", encode_frame(RequestVote(5, 0, 0)))
    observer.receive("n1", encode_frame(PreVote(5, 0, 0)))
    assert sent == []


def test_h2_acknowledgement_of_an_older_term(contained: Any, stock: Any) -> None:
    plain = stock()
    plain.lead()
    before = plain.engine.raftCommitIndex
    # An answer made in any earlier term looks like this one:
    plain.hear("n2", type="next_node_idx", next_node_idx=3, reset=False, success=True)
    plain.engine.doTick(0.0)
    assert plain.engine.raftCommitIndex > before

    member = contained(hard_state=HardState(term=4))
    term = member.lead()
    member.hear("n2", NextNodeIndex(term - 1, 0, 2, False, True))
    member.sequencer.turn()
    assert member.sequencer.commit_index == 0
    member.hear("n2", NextNodeIndex(term, 0, 2, False, True))
    member.sequencer.turn()
    assert member.sequencer.commit_index == 1


def test_h2_a_higher_term_deposes(contained: Any) -> None:
    member = contained()
    term = member.lead()
    member.hear("n2", NextNodeIndex(term + 1, 0, 2, False, False))
    assert not member.sequencer.is_leader
    assert member.sequencer.term == term + 1
    assert member.sequencer.leader_hint is None


def test_acknowledgement_beyond_the_log_is_dropped(contained: Any) -> None:
    member = contained()
    term = member.lead()
    member.hear("n2", NextNodeIndex(term, 0, 9, False, True))
    member.sequencer.turn()
    assert member.sequencer.commit_index == 0
    assert member.sequencer.faults["acknowledged_beyond_log"] == 1


def test_h3_matching_entries_stay(contained: Any, stock: Any) -> None:
    plain = stock()
    plain.follow([(NO_OP, 2, 1), (b"\0x", 3, 1), (b"\0x", 4, 1)], commit=4)
    plain.follow([(NO_OP, 2, 1)], commit=4)  # the same leader's earlier message, late
    assert [index for _, index, _ in plain.log] == [1, 2]

    member = contained()
    member.follow(commit=3)
    member.hear("n2", AppendEntries(1, 3, 0, 0, ((1, NO_OP),)))
    assert member.sequencer.last_index == 3
    assert member.ops == []
    assert member.answers(NextNodeIndex) == [NextNodeIndex(1, 0, 2, False, True)]


def test_h3_committed_entries_stay(contained: Any) -> None:
    member = contained()
    member.follow(commit=3)
    member.hear("n3", AppendEntries(2, 9, 1, 1, ((2, NO_OP), (2, ENTRY), (2, ENTRY))))
    member.hear("n3", AppendEntries(2, 9, 2, 2, ((2, ENTRY),)))
    member.sequencer.turn()
    assert member.sequencer.last_index == 3
    assert member.sequencer.faults["conflict_below_commit"] == 2
    assert not any(isinstance(op, TruncateFrom) for op in member.ops)
    assert member.answers(NextNodeIndex) == []


def test_h3_a_conflicting_tail_is_replaced(contained: Any) -> None:
    member = contained()
    member.follow(commit=1)
    member.hear("n3", AppendEntries(2, 2, 1, 1, ((2, NO_OP),)))
    assert [op for op in member.ops if isinstance(op, TruncateFrom)] == [TruncateFrom(2)]
    assert member.sequencer.last_index == 2
    assert member.sequencer.commit_index == 2


def test_same_term_with_another_entry_is_refused(contained: Any) -> None:
    member = contained()
    member.follow(commit=1)
    member.hear("n2", AppendEntries(1, 3, 1, 1, ((1, REGULAR + b"another"),)))
    assert member.sequencer.faults["same_term_other_entry"] == 1
    assert member.sequencer.commit_index == 1


def test_second_leader_in_a_term_is_refused(contained: Any) -> None:
    member = contained()
    member.follow(commit=1)
    member.hear("n3", AppendEntries(1, 3, 3, 1, ()))
    assert member.sequencer.leader_hint == "n2"
    assert member.sequencer.commit_index == 1
    leader = contained()
    term = leader.lead()
    leader.hear("n2", AppendEntries(term, 0, 0, 0, ()))
    assert leader.sequencer.is_leader
    # Nor is it when it leads no longer.
    leader.now += 0.5
    leader.sequencer.turn()
    leader.hear("n2", AppendEntries(term, 0, 0, 0, ()))
    assert (leader.sequencer.is_leader, leader.sequencer.leader_hint) == (False, None)
    assert leader.sequencer.faults["second_leader_in_term"] == 2


def test_a_claimed_term_is_free_again_when_the_claimant_is_silent(contained: Any) -> None:
    member = contained()
    member.follow(commit=1)
    member.now += 0.49
    member.hear("n3", AppendEntries(1, 3, 3, 1, ()))
    assert member.sequencer.leader_hint == "n2"
    member.now += 0.01
    member.hear("n3", AppendEntries(1, 3, 3, 1, ()))
    assert (member.sequencer.leader_hint, member.sequencer.commit_index) == ("n3", 3)


def test_h6_h7_a_raising_apply_halts_and_never_repeats(contained: Any, stock: Any) -> None:
    plain = stock()
    runs: list[int] = []

    def raising(_command: bytes) -> None:
        runs.append(1)
        raise OSError("planted")

    plain.engine._SyncObj__doApplyCommand = raising
    plain.follow([(NO_OP, 2, 1)], commit=2)
    for _ in range(3):
        with pytest.raises(OSError, match="planted"):
            plain.engine.doTick(0.0)
    assert len(runs) == 3

    member = contained(is_apply_broken=True)
    member.hear("n2", AppendEntries(1, 2, 0, 0, ((1, NO_OP), (1, ENTRY))))
    with pytest.raises(OSError, match="planted"):
        member.sequencer.turn()
    for action in (
        member.sequencer.turn,
        lambda: member.sequencer.receive("n2", b""),
        lambda: member.sequencer.propose(b"x"),
    ):
        with pytest.raises(InvariantViolation):
            action()
    assert member.applied == [2]


def test_h8_engine_commands_are_refused(contained: Any, stock: Any) -> None:
    plain = stock()
    applied: list[int] = []
    plain.engine._idToMethod[7] = lambda _doApply: applied.append(1)  # noqa: N803
    command = b"\0" + pickle.dumps(7)
    plain.follow([(b"\3" + pickle.dumps(99), 2, 1), (command, 3, 1)], commit=3)
    plain.engine.doTick(0.0)
    plain.engine.doTick(0.0)
    assert len(applied) > 1  # one entry, applied twice

    member = contained()
    member.follow(commit=3)
    for kind in (b"\2", b"\3", b"\4", b"\1x", b"\0", b""):
        frame = encode_frame(AppendEntries(1, 4, 3, 1, ((1, kind),)))
        member.sequencer.receive("n2", frame)
    member.sequencer.turn()
    assert member.sequencer.last_index == 3
    assert member.sequencer.faults["malformed"] == 6


def test_h11_the_largest_entry_fits_into_one_frame(contained: Any, stock: Any) -> None:
    size = 1024
    plain = stock(appendEntriesBatchSizeBytes=size)
    term = plain.lead()
    plain.engine._SyncObj__raftLog.add(b"\0" + bytes(2 * size - 1), 3, term)
    plain.wire.posted.clear()
    plain.tick(0.2)
    parts = [message for peer, message in plain.wire.posted if peer == "n2" and "transmission" in message]
    # The entry is cut by its pickled length, its end is told by another one: two ends, the first too early.
    assert [part["transmission"] for part in parts] == ["start", "finish", "finish"]
    other = stock()
    other.follow([(b"\1", 2, term)], commit=1)
    other.hear("n2", **parts[0])
    with pytest.raises((pickle.UnpicklingError, EOFError)):
        other.hear("n2", **parts[1])
    assert len(other.log) == 2  # the entry never arrives, however often it is sent

    member = contained()
    term = member.lead()
    member.hear("n2", NextNodeIndex(term, 0, 2, False, True))
    for _ in range(20):
        member.sequencer.propose(bytes(ENTRY_BYTES))
    member.sent.clear()
    member.sequencer.turn()
    frames = [message for peer, message in member.sent if peer == "n2"]
    assert sum(len(message.entries) for message in frames if isinstance(message, AppendEntries)) == 20
    assert max(len(encode_frame(message)) for message in frames) <= FRAME_BYTES


def test_h12_a_leader_without_a_quorum_steps_down(contained: Any, stock: Any) -> None:
    plain = stock()
    plain.lead()
    plain.now += 29.0
    plain.engine.doTick(0.0)
    assert plain.engine._isLeader()

    member = contained(voters=5)
    term = member.lead()
    member.now += 0.4
    member.hear("n2", NextNodeIndex(term, 0, 2, False, True))
    member.sequencer.turn()
    assert member.sequencer.is_leader
    member.now += 0.11
    member.sequencer.turn()
    assert not member.sequencer.is_leader
    assert member.sequencer.leader_hint is None


def test_h14_h20_h28_nothing_is_forwarded(contained: Any) -> None:
    member = contained()
    member.follow(commit=3)
    with pytest.raises(AvailabilityError) as caught:
        member.sequencer.propose(b"x")
    assert caught.value.code == "not_leader"
    assert caught.value.definite
    assert member.sent == []
    for stray in ({"type": "apply_command", "command": b"\0x"}, {"type": "timeout_now", "term": 9}):
        member.sequencer.receive("n2", msgpack.packb(stray))
    assert member.sequencer.faults["malformed"] == 2
    assert member.sequencer.last_index == 3


def test_h24_commit_stops_at_verified_entries(contained: Any, stock: Any) -> None:
    plain = stock()
    plain.follow([(b"\1", 2, 1), (b"\1", 3, 1), (b"\1", 4, 1)], commit=1)
    plain.hear("n3", type="append_entries", term=2, commit_index=4, serialized=None)
    assert plain.engine.raftCommitIndex == 4  # entries that the leader of term 2 may never have had

    member = contained()
    member.follow(commit=1)
    member.hear("n3", AppendEntries(2, 3, 1, 1, ()))
    assert member.sequencer.commit_index == 1
    assert member.sequencer.last_index == 3


def test_h25_a_late_acknowledgement_does_not_rewind(contained: Any, stock: Any) -> None:
    plain = stock()
    plain.lead()
    node = plain.nodes["n2"]
    plain.engine._SyncObj__raftNextIndex[node] = 90
    plain.hear("n2", type="next_node_idx", next_node_idx=3, reset=False, success=True)
    assert plain.engine._SyncObj__raftNextIndex[node] == 3

    member = contained()
    term = member.lead()
    member.hear("n2", NextNodeIndex(term, 0, 2, False, True))
    for _ in range(9):
        member.sequencer.propose(b"x")
    member.sequencer.turn()
    member.sent.clear()
    member.hear("n2", NextNodeIndex(term, 0, 3, False, True))
    member.hear("n2", NextNodeIndex(term, 0, 2, False, True))
    member.now += 0.2
    member.sequencer.turn()
    heartbeats = [message for peer, message in member.sent if peer == "n2" and isinstance(message, AppendEntries)]
    assert {message.prev_index for message in heartbeats} == {10}


def test_h26_a_reset_only_lowers(contained: Any, stock: Any) -> None:
    plain = stock()
    plain.lead()
    node = plain.nodes["n2"]
    plain.hear("n2", type="next_node_idx", next_node_idx=500, reset=True, success=False)
    assert plain.engine._SyncObj__raftNextIndex[node] == 500  # past the leader's own log

    member = contained()
    term = member.lead()
    member.hear("n2", NextNodeIndex(term, 0, 500, True, False))
    member.now += 0.2
    member.sent.clear()
    member.sequencer.turn()
    heartbeat = member.answers(AppendEntries)[0]
    assert isinstance(heartbeat, AppendEntries)
    assert heartbeat.prev_index == 0


def test_h13_pre_vote_is_refused_while_a_leader_lives(contained: Any, stock: Any) -> None:
    plain = stock()
    term = plain.lead()
    # A member that hears nobody stands again and again; its log need not even be up to date.
    plain.hear("n3", type="request_vote", term=term + 1, last_log_index=0, last_log_term=0)
    assert not plain.engine._isLeader()
    follower = stock()
    follower.follow([(b"\1", 2, 1)], commit=2)
    follower.hear("n3", type="request_vote", term=9, last_log_index=0, last_log_term=0)
    assert (follower.engine.raftCurrentTerm, follower.engine._getLeader()) == (9, None)

    leader = contained()
    term = leader.lead()
    leader.hear("n3", PreVote(term + 1, 99, 1))
    leader.hear("n3", RequestVote(term + 1, 99, 1))
    assert leader.sequencer.is_leader
    assert leader.sequencer.term == term

    member = contained()
    member.follow(commit=3)
    member.hear("n3", PreVote(9, 99, 1))
    member.hear("n3", RequestVote(9, 99, 1))
    assert member.answers(PreVoteResponse) == [PreVoteResponse(1, False)]
    assert member.answers(ResponseVote) == []
    assert member.sequencer.term == 1
    member.now += 0.5
    member.hear("n3", PreVote(9, 99, 1))
    assert member.answers(PreVoteResponse)[-1] == PreVoteResponse(9, True)
    assert member.sequencer.term == 1
