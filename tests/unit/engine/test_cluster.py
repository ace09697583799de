"""What a whole cluster does: latency, idling, failover, catching up, observers."""

from __future__ import annotations

from typing import Any

import pytest

from govraft.adapters.engine.frames import AppendEntries, Message, decode_frame
from govraft.ports.store import HardState


def test_two_round_trips_commit_everywhere(simulate: Any) -> None:
    simulation = simulate(3)
    leader = simulation.elect()
    simulation.delay_s = (0.001, 0.001)
    for member in simulation.members.values():
        member.sync_s = 0.002
    started = simulation.now
    leader.run(lambda sequencer: sequencer.propose(b"x"))
    applied = dict.fromkeys(simulation.members, 0.0)
    while not all(applied.values()):
        simulation.run(0.0001)
        for name, member in simulation.members.items():
            if not applied[name] and member.applied:
                applied[name] = simulation.now - started
    # Leader's sync 2 ms, hop 1, follower's sync 2, hop 1: the leader commits. One hop more: the followers do.
    assert applied[leader.id] == pytest.approx(0.006, abs=0.0003)
    assert max(applied.values()) == pytest.approx(0.007, abs=0.0003)


def test_an_idle_cluster_sends_heartbeats_only(simulate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = simulate(4)
    simulation.elect()
    sent: list[Message] = []
    transmit = simulation.transmit
    monkeypatch.setattr(
        simulation,
        "transmit",
        lambda sender, receiver, frame: (sent.append(decode_frame(frame)), transmit(sender, receiver, frame)),
    )
    simulation.run(4.0)
    heartbeats = [message for message in sent if isinstance(message, AppendEntries)]
    assert len(heartbeats) <= 2 * 4.0 / 0.04 + 2
    assert len(sent) == pytest.approx(2 * len(heartbeats), abs=4)
    assert all(message.entries == () for message in heartbeats)


def test_a_member_that_was_away_catches_up(simulate: Any) -> None:
    simulation = simulate(5)
    leader = simulation.elect()
    away = next(name for name in simulation.members if name != leader.id)
    simulation.isolate(away)
    for _ in range(1500):
        leader.run(lambda sequencer: sequencer.propose(bytes(1000)))
    simulation.run(1.0)
    assert len(leader.applied) == 1500
    assert simulation.members[away].applied == []
    simulation.heal()
    simulation.converge()


def test_a_half_deaf_member_does_not_depose_the_leader(simulate: Any) -> None:
    simulation = simulate(6)
    leader = simulation.elect()
    deaf = next(name for name in simulation.members if name != leader.id)
    simulation.blocked = {(name, deaf) for name in simulation.members}
    term = leader.sequencer.term
    simulation.run(6.0)
    assert simulation.leader is leader
    assert leader.sequencer.term == term
    assert simulation.members[deaf].sequencer.term == term
    assert simulation.members[deaf].sequencer.leader_hint is None


def test_a_member_whose_term_ran_ahead_comes_back(simulate: Any) -> None:
    simulation = simulate(7)
    leader = simulation.elect()
    ahead = next(member for member in simulation.members.values() if member is not leader)
    ahead.crash()
    ahead.disk.hard_state = HardState(leader.sequencer.term + 5, None, ahead.disk.hard_state.commit_index)
    ahead.start()
    simulation.converge()
    assert simulation.leader.sequencer.term > 5


def test_a_dead_leader_is_replaced_and_its_tail_dropped(simulate: Any) -> None:
    simulation = simulate(8)
    old = simulation.elect()
    simulation.isolate(old.id)
    old.run(lambda sequencer: sequencer.propose(b"never committed"))
    simulation.run(1.5)
    assert not old.sequencer.is_leader
    assert old.sequencer.leader_hint is None
    assert simulation.leader is not old
    simulation.propose()
    simulation.heal()
    simulation.converge()
    assert all(entry != b"never committed" for _, entry in old.applied)


def test_observers_receive_everything_and_count_for_nothing(simulate: Any) -> None:
    simulation = simulate(9, voters=3, observers=2)
    leader = simulation.elect()
    simulation.propose()
    simulation.run(0.2)
    assert all(len(member.applied) == 1 for member in simulation.members.values())
    others = [name for name in simulation.voters if name != leader.id]
    simulation.isolate(*others)
    leader.run(lambda sequencer: sequencer.propose(b"without a quorum"))
    simulation.run(0.1)
    assert leader.sequencer.commit_index == leader.sequencer.last_index - 1
    simulation.run(2.0)
    assert not leader.sequencer.is_leader
    simulation.heal()
    simulation.converge()


def test_without_a_link_nothing_is_replicated_and_a_new_link_resumes(simulate: Any) -> None:
    simulation = simulate(10)
    leader = simulation.elect()
    cut = next(member for member in simulation.members.values() if member is not leader)
    leader.sequencer.link(cut.id, False)
    simulation.propose()
    simulation.run(0.1)
    assert cut.applied == []
    leader.sequencer.link(cut.id, True)
    simulation.run(0.02)
    assert len(cut.applied) == 1


def test_a_leader_that_resigns_stands_aside(simulate: Any) -> None:
    simulation = simulate(3)
    leader = simulation.elect()
    others = [member for member in simulation.members.values() if member is not leader]
    leader.run(lambda sequencer: sequencer.propose(b"x"))
    simulation.run_until(lambda: all(member.applied for member in simulation.members.values()))
    last = leader.sequencer.last_index
    assert leader.sequencer.holders(last) == {member.id for member in others}
    assert leader.sequencer.holders(last + 1) == frozenset()
    assert others[0].sequencer.holders(1) == frozenset()
    term = leader.sequencer.term
    leader.run(lambda sequencer: sequencer.resign(30.0))
    assert not leader.sequencer.is_leader
    assert (leader.sequencer.term, leader.sequencer.leader_hint) == (term, None)
    others[0].run(lambda sequencer: sequencer.resign(30.0))  # Who does not lead has nothing to give up.
    simulation.run_until(lambda: any(member.sequencer.is_leader for member in others))


def test_who_resigned_does_not_stand_before_its_time(simulate: Any) -> None:
    """Though it is the only one that could win: of the two that reach each other, the other one lacks an entry."""
    simulation = simulate(3)
    leader = simulation.elect()
    behind, away = (member for member in simulation.members.values() if member is not leader)
    simulation.isolate(behind.id)
    leader.run(lambda sequencer: sequencer.propose(b"x"))
    simulation.run_until(lambda: away.applied)
    leader.run(lambda sequencer: sequencer.resign(30.0))
    simulation.isolate(away.id)
    simulation.run(0.1)  # Nothing is on its way any more.
    simulation.blocked -= {(leader.id, behind.id), (behind.id, leader.id)}
    for _ in range(200):
        simulation.run(0.1)
        assert not any(member.sequencer.is_leader for member in (leader, behind))
    simulation.run_until(lambda: leader.sequencer.is_leader)
