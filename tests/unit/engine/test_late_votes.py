"""A member that may have forgotten its votes and its log: it neither votes nor stands until it is told to."""

from __future__ import annotations

from typing import Any

from unit.engine.test_votes import hear, member

from govraft.adapters.engine import EngineTiming
from govraft.adapters.engine.frames import AppendEntries, NextNodeIndex, PreVote, RequestVote, ResponseVote
from govraft.ports.store import HardState, SetHardState


def sent(events: list[Any]) -> list[Any]:
    return [item for item in events if isinstance(item, tuple)]


def test_a_late_node_neither_votes_nor_stands(timing: EngineTiming) -> None:
    events: list[Any] = []
    sequencer = member(events, timing)
    sequencer.withhold_votes()
    for _ in range(9):
        sequencer.turn()
    hear(sequencer, "n2", PreVote(3, 0, 0))
    hear(sequencer, "n2", RequestVote(3, 0, 0))
    assert events == []
    assert sequencer.faults["vote_withheld"] == 2
    hear(sequencer, "n2", AppendEntries(3, 0, 0, 0, ()))
    assert [type(message) for _, message in sent(events)] == [NextNodeIndex], "entries are taken"


def test_no_vote_is_cast_in_the_term_in_which_votes_are_released(timing: EngineTiming) -> None:
    events: list[Any] = []
    sequencer = member(events, timing, hard_state=HardState(3))
    sequencer.withhold_votes()
    sequencer.release_votes()
    assert events == [SetHardState(HardState(3, "n1"))]
    hear(sequencer, "n2", RequestVote(3, 0, 0))
    assert sent(events) == []
    hear(sequencer, "n2", RequestVote(4, 0, 0))
    assert sent(events) == [("n2", ResponseVote(4))]


def test_a_new_link_begins_at_what_the_log_holds(simulate: Any) -> None:
    """Within one reign of its leader, a follower comes back without its log."""
    simulation = simulate(3)
    leader = simulation.elect()
    simulation.converge()
    engine = leader.sequencer._engine
    follower = next(node for node in engine._SyncObj__otherNodes)
    assert engine._SyncObj__raftMatchIndex[follower] > 0
    leader.run(lambda sequencer: (sequencer.link(follower.id, False), sequencer.link(follower.id, True)))
    assert engine._SyncObj__raftMatchIndex[follower] == 0
    simulation.converge()
    assert engine._SyncObj__raftMatchIndex[follower] > 0
