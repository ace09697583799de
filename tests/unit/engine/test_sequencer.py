"""The port's promises, one by one, on single members and on a simulated cluster."""

from __future__ import annotations

import random
from typing import Any

import pytest

from govraft.adapters.engine import EngineTiming, PysyncobjSequencer
from govraft.adapters.engine import following as following_module
from govraft.adapters.engine import sequencer as sequencer_module
from govraft.adapters.engine.frames import (
    NO_OP,
    REGULAR,
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
from govraft.adapters.engine.progress import WINDOW_BYTES
from govraft.core.model.limits import APPLIED_BYTES_PER_TURN, ENTRY_BYTES, FRAME_BYTES
from govraft.errors import AvailabilityError, InputError, InvariantViolation, LimitExceededError
from govraft.ports.sequencer import JournalOp, Sequencer
from govraft.ports.store import HardState, JournalEntry


class Single:
    """One member and all it did."""

    def __init__(self, timing: EngineTiming, voters: list[str], **state: Any) -> None:
        self.now = 0.0
        self.sent: list[tuple[str, bytes]] = []
        self.ops: list[JournalOp] = []
        self.applied: list[tuple[int, int, bytes]] = []
        self.sequencer = PysyncobjSequencer(
            node_id=voters[0],
            voters=voters,
            observers=state.get("observers", ()),
            journal=state.get("journal", []),
            hard_state=state.get("hard_state", HardState()),
            timing=timing,
            monotonic=lambda: self.now,
            rng=random.Random(1),
            send=lambda peer, frame: self.sent.append((peer, frame)),
            record=self.ops.append,
            on_commit=lambda index, term, entry: self.applied.append((index, term, entry)),
        )


def test_one_turn_hands_on_only_so_many(timing: EngineTiming) -> None:
    """The rest is known to be committed meanwhile, so that nobody answers on a state in between."""
    single = Single(timing, ["a"])
    sequencer = single.sequencer
    sequencer.limit_turn(2)
    sequencer.turn()
    sequencer.made_durable(sequencer.mark())
    sequencer.turn()
    for number in range(5):
        sequencer.propose(b"%d" % number)
    sequencer.made_durable(sequencer.mark())
    counts = []
    for _ in range(6):
        sequencer.turn()
        counts.append((len(single.applied), sequencer.has_more, sequencer.has_unapplied))
    assert counts[0][:2] == (2, True)
    assert (5, False, False) in counts
    assert [entry for _, _, entry in single.applied] == [b"0", b"1", b"2", b"3", b"4"]


def test_one_turn_hands_on_only_so_many_bytes(timing: EngineTiming) -> None:
    """A long entry takes long: none of those that follow it is handed on in the same turn."""
    for voters in (["a"], ["a", "b"]):
        single = Single(timing, voters)
        sequencer = single.sequencer
        sequencer.turn()
        if len(voters) == 1:
            sequencer.made_durable(sequencer.mark())
            sequencer.turn()
            for number in range(4):
                sequencer.propose(b"%d" % number * APPLIED_BYTES_PER_TURN)
            sequencer.made_durable(sequencer.mark())
        else:
            entries = ((1, NO_OP), *((1, REGULAR + b"%d" % number * APPLIED_BYTES_PER_TURN) for number in range(4)))
            message = AppendEntries(term=1, commit_index=5, prev_index=0, prev_term=0, entries=entries)
            sequencer.link("b", True)  # noqa: FBT003 - the port's signature
            sequencer.receive("b", encode_frame(message))
        counts = []
        while not counts or sequencer.has_more:
            sequencer.turn()
            counts.append(len(single.applied))
        assert counts == [1, 2, 3, 4], voters


def test_a_leader_commits_nothing_above_what_it_has_yet_to_hand_on(timing: EngineTiming) -> None:
    """Among it may be a change of the electorate, beyond which another majority counts."""
    single = Single(timing, ["a"])
    sequencer = single.sequencer
    sequencer.turn()
    sequencer.made_durable(sequencer.mark())
    sequencer.turn()
    engine = sequencer._engine
    for number in range(4):
        sequencer.propose(b"%d" % number)
    sequencer.made_durable(sequencer.mark())
    engine._SyncObj__raftLastApplied -= 1
    before = sequencer.commit_index
    engine.commit()
    assert sequencer.commit_index == before
    assert sequencer.has_more


def test_it_is_a_sequencer(timing: EngineTiming) -> None:
    sequencer: Sequencer = Single(timing, ["a"]).sequencer
    assert (sequencer.term, sequencer.commit_index, sequencer.last_index) == (0, 0, 0)
    assert (sequencer.leader_hint, sequencer.is_leader) == (None, False)


def test_a_cluster_of_one_leads_at_once_and_commits_in_one_turn(timing: EngineTiming) -> None:
    single = Single(timing, ["a"])
    single.sequencer.turn()
    assert (single.sequencer.is_leader, single.sequencer.leader_hint, single.sequencer.term) == (True, "a", 1)
    single.sequencer.propose(b"x")
    single.sequencer.propose(b"y")
    single.sequencer.turn()
    single.sequencer.turn()
    assert single.applied == [(2, 1, b"x"), (3, 1, b"y")]
    assert single.sent == []


def test_a_restart_replays_what_was_committed_without_any_network(timing: EngineTiming) -> None:
    journal = [
        JournalEntry(1, 1, b"\1"),
        JournalEntry(2, 1, b"\0a"),
        JournalEntry(3, 4, b"\0b"),
        JournalEntry(4, 4, b"\0not committed"),
    ]
    single = Single(timing, ["a", "b", "c"], journal=journal, hard_state=HardState(6, "b", 3))
    for _ in range(3):
        single.sequencer.turn()
    assert single.applied == [(2, 1, b"a"), (3, 4, b"b")]
    assert single.ops == []
    assert (single.sequencer.term, single.sequencer.commit_index, single.sequencer.last_index) == (6, 3, 4)


def test_a_restarted_cluster_of_one_commits_its_tail(timing: EngineTiming) -> None:
    journal = [JournalEntry(1, 1, b"\1"), JournalEntry(2, 1, b"\0a")]
    single = Single(timing, ["a"], journal=journal, hard_state=HardState(1, "a", 1))
    single.sequencer.turn()
    assert single.applied == [(2, 1, b"a")]
    assert single.sequencer.commit_index == 3


def test_proposals_are_bounded(timing: EngineTiming, monkeypatch: pytest.MonkeyPatch) -> None:
    single = Single(timing, ["a"])
    with pytest.raises(AvailabilityError) as caught:
        single.sequencer.propose(b"x")
    assert (caught.value.code, caught.value.definite) == ("not_leader", True)
    single.sequencer.turn()
    with pytest.raises(InputError):
        single.sequencer.propose(b"")
    with pytest.raises(LimitExceededError):
        single.sequencer.propose(bytes(ENTRY_BYTES + 1))
    monkeypatch.setattr(sequencer_module, "ENGINE_BACKLOG_ENTRIES", 3)
    before = single.sequencer.last_index
    for _ in range(3):
        single.sequencer.propose(bytes(ENTRY_BYTES))
    with pytest.raises(AvailabilityError) as caught:
        single.sequencer.propose(b"x")
    assert (caught.value.code, caught.value.definite) == ("queue_full", True)
    assert single.sequencer.last_index == before + 3
    single.sequencer.turn()
    while single.sequencer.has_more:
        single.sequencer.turn()
    monkeypatch.setattr(sequencer_module, "ENGINE_BACKLOG_BYTES", 1000)
    single.sequencer.propose(bytes(900))
    with pytest.raises(AvailabilityError):
        single.sequencer.propose(bytes(200))


@pytest.mark.parametrize(
    ("voters", "observers"), [(["a", "a"], []), (["a"], ["a"]), ([f"v{n}" for n in range(10)], []), (["a"], ["o"] * 2)]
)
def test_impossible_members_are_refused(timing: EngineTiming, voters: list[str], observers: list[str]) -> None:
    with pytest.raises(InputError):
        Single(timing, voters, observers=observers)


@pytest.mark.parametrize(
    "times",
    [
        (0.0, 1.0, 2.0, 1.0),
        (0.1, 0.3, 1.0, 1.0),
        (0.1, 0.5, 0.5, 1.0),
        (float("nan"), 1.0, 2.0, 1.0),
        (0.1, 0.5, 1.0, 0.0),
    ],
)
def test_impossible_timing_is_refused(times: tuple[float, float, float, float]) -> None:
    with pytest.raises(InputError):
        EngineTiming(*times)


def test_a_failing_record_halts(timing: EngineTiming, monkeypatch: pytest.MonkeyPatch) -> None:
    single = Single(timing, ["a"])

    def failing(_op: JournalOp) -> None:
        raise InvariantViolation("planted")

    monkeypatch.setattr(single.sequencer._journal, "_record", failing)
    for _ in range(2):
        with pytest.raises(InvariantViolation):
            single.sequencer.turn()
    with pytest.raises(InvariantViolation, match="halted"):
        single.sequencer.link("b", True)


def test_a_follower_bounds_what_a_leader_can_make_it_hold(
    timing: EngineTiming, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following_module, "ENGINE_BACKLOG_ENTRIES", 4)
    single = Single(timing, ["a", "b", "c"])
    for prev in range(40):
        term = 1 if prev else 0
        single.sequencer.receive("b", encode_frame(AppendEntries(1, 0, prev, term, ((1, b"\0x"),))))
    assert single.sequencer.last_index == 9
    assert single.sequencer.faults["backlog_full"] > 0
    single.sequencer.receive("b", encode_frame(AppendEntries(1, 9, 9, 1, ())))
    single.sequencer.receive("b", encode_frame(AppendEntries(1, 9, 9, 1, ((1, b"\0x"),))))
    assert single.sequencer.last_index == 10


def test_the_very_first_index_is_applied_too(timing: EngineTiming) -> None:
    # The stock engine takes index 1 for its own and skips it.
    single = Single(timing, ["a", "b", "c"])
    single.sequencer.receive("b", encode_frame(AppendEntries(1, 2, 0, 0, ((1, b"\0x"), (1, b"\0y")))))
    single.sequencer.turn()
    assert single.applied == [(1, 1, b"x"), (2, 1, b"y")]


def test_a_conflicting_term_is_skipped_whole_but_not_below_the_commit(timing: EngineTiming) -> None:
    journal = [JournalEntry(index, 1 if index < 3 else 2, b"\1") for index in range(1, 9)]
    for commit, hint in ((1, 3), (4, 5)):
        single = Single(timing, ["a", "b", "c"], journal=journal, hard_state=HardState(2, None, commit))
        single.sequencer.receive("b", encode_frame(AppendEntries(3, 0, 8, 3, ())))
        assert [decode_frame(frame) for _, frame in single.sent] == [NextNodeIndex(3, 8, hint, True, False)]


def lead(single: Single) -> None:
    """Make the member leader of term 1 over b and c, whose logs match up to its NO_OP."""
    for peer in "bc":
        single.sequencer.link(peer, True)
    single.now = 1.0
    single.sequencer.turn()
    single.sequencer.receive("b", encode_frame(PreVoteResponse(1, True)))
    single.sequencer.turn()
    single.sequencer.receive("b", encode_frame(ResponseVote(1)))
    for peer in "bc":
        single.sequencer.receive(peer, encode_frame(NextNodeIndex(1, 0, 2, False, True)))
    single.sequencer.turn()
    single.sent.clear()


def test_a_new_link_is_served_at_once_from_what_matches(timing: EngineTiming) -> None:
    single = Single(timing, ["a", "b", "c"])
    lead(single)
    single.sequencer.propose(b"x")
    single.sequencer.turn()  # and both frames are lost
    single.sent.clear()
    single.sequencer.link("b", False)
    single.sequencer.link("b", True)
    single.sequencer.turn()
    assert [(peer, decode_frame(frame)) for peer, frame in single.sent] == [
        ("b", AppendEntries(1, 1, 1, 1, ((1, b"\0x"),)))
    ]


def test_what_is_contained_stays_shut(timing: EngineTiming) -> None:
    engine: Any = Single(timing, ["a"]).sequencer._engine
    for name in ("_applyCommand", "_SyncObj__loadDumpFile", "_SyncObj__doChangeCluster"):
        with pytest.raises(InvariantViolation):
            getattr(engine, name)(b"x")
    for action in (lambda: engine.addNodeToCluster("b"), lambda: engine.setCodeVersion(0)):
        with pytest.raises((Exception, InvariantViolation)):
            action()
    assert engine.otherNodes == set()
    with pytest.raises(InvariantViolation):
        engine._SyncObj__transport.send(None, {"type": "append_entries"})


def random_message(rng: random.Random, own_term: int, last_index: int) -> Message:
    """Any well-formed message, sent at the right or the wrong moment."""
    term = max(1, own_term + rng.choice([-1, 0, 0, 0, 0, 1, 1]))
    index = max(0, last_index + rng.choice([-3, -1, 0, 0, 0, 1]))
    prev_term = rng.randint(1, term) if index else 0
    terms = sorted(rng.randint(max(prev_term, 1), term) for _ in range(rng.randint(0, 3)))
    return rng.choice(
        [
            PreVote(term, index, prev_term) if prev_term < term else PreVote(term, 0, 0),
            RequestVote(term, index, prev_term) if prev_term < term else RequestVote(term, 0, 0),
            PreVoteResponse(term, rng.random() < 0.8),
            ResponseVote(term),
            NextNodeIndex(
                term,
                index,
                max(1, index + rng.randint(-1, 2)),
                *rng.choice([(True, False), (False, True), (False, False)]),
            ),
            AppendEntries(
                term,
                index + rng.randint(0, 2),
                index,
                prev_term,
                tuple((at, b"\0%d" % rng.randint(0, 1)) for at in terms),
            ),
        ]
    )


def test_no_message_of_a_faulty_member_raises_or_undoes_a_commit(timing: EngineTiming) -> None:
    rng = random.Random(11)
    led = followed = 0
    for _ in range(400):
        single = Single(timing, ["a", "b", "c"], observers=["o"])
        for peer in "bco":
            single.sequencer.link(peer, True)
        committed: list[tuple[int, int, bytes]] = []
        for _ in range(60):
            single.now += rng.choice([0.0, 0.01, 0.5])
            message = random_message(rng, single.sequencer.term, single.sequencer.last_index)
            single.sequencer.receive(rng.choice(["b", "c", "o", "stranger"]), encode_frame(message))
            if rng.random() < 0.5:
                single.sequencer.turn()
            if single.sequencer.is_leader:
                led += 1
                single.sequencer.propose(b"own")
            assert single.applied[: len(committed)] == committed
            assert [index for index, _, _ in single.applied] == sorted({index for index, _, _ in single.applied})
            committed = list(single.applied)
        followed += len(committed)
    assert led > 100
    assert followed > 300


def test_a_stuck_follower_is_sent_a_bounded_amount(timing: EngineTiming) -> None:
    single = Single(timing, ["a", "b", "c"])
    lead(single)
    for _ in range(300):
        single.sequencer.propose(bytes(60_000))
        single.sequencer.turn()
        last = single.sequencer.last_index
        single.sequencer.receive("b", encode_frame(NextNodeIndex(1, last - 1, last + 1, False, True)))
    assert single.sequencer.commit_index > 290
    assert sum(len(frame) for peer, frame in single.sent if peer == "c") <= WINDOW_BYTES + FRAME_BYTES


def test_an_announced_commit_is_unapplied_until_it_arrives(timing: EngineTiming) -> None:
    follower = Single(timing, ["b", "a", "c"])
    entries = tuple((1, REGULAR + text) for text in (b"x", b"y"))
    follower.sequencer.receive("a", encode_frame(AppendEntries(1, 6, 0, 0, ())))
    follower.sequencer.turn()
    assert follower.sequencer.has_unapplied
    assert follower.sequencer.commit_index == 0
    follower.sequencer.receive("a", encode_frame(AppendEntries(1, 2, 0, 0, entries)))
    assert follower.sequencer.has_unapplied
    follower.sequencer.turn()
    assert [entry for _, _, entry in follower.applied] == [b"x", b"y"]
    assert not follower.sequencer.has_unapplied
