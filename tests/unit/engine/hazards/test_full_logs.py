"""A log that a liar has filled with entries which nobody commits: its bearer follows, and leads, as before."""

from __future__ import annotations

from typing import Any

import pytest

import govraft.adapters.engine.following as following_module
from govraft.adapters.engine.frames import NO_OP, REGULAR, AppendEntries, NextNodeIndex, encode_frame

LIMIT = 4
LIE, TRUTH = REGULAR + b"lie", REGULAR + b"truth"


@pytest.fixture(autouse=True)
def _limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following_module, "ENGINE_BACKLOG_ENTRIES", LIMIT)


def lies(term: int, count: int) -> list[AppendEntries]:
    return [AppendEntries(term, 0, prev, term if prev else 0, ((term, LIE),)) for prev in range(count)]


def test_a_full_log_gives_way_to_another_one(contained: Any) -> None:
    member = contained()
    for message in lies(1, 40):
        member.hear("n3", message)
    assert member.sequencer.last_index == 2 * LIMIT + 1
    member.sent.clear()
    member.hear("n2", AppendEntries(3, 3, 0, 0, ((2, TRUTH), (2, TRUTH), (3, NO_OP))))
    assert member.answers(NextNodeIndex) == [NextNodeIndex(3, 0, 4, False, True)]
    assert (member.sequencer.last_index, member.sequencer.commit_index) == (3, 3)


def test_what_a_log_holds_already_is_acknowledged_though_it_is_full(contained: Any) -> None:
    member = contained()
    for message in lies(1, 40):
        member.hear("n3", message)
    member.sent.clear()
    member.hear("n3", AppendEntries(1, 5, 0, 0, ((1, LIE),) * 40))
    assert member.answers(NextNodeIndex) == [NextNodeIndex(1, 0, 2 * LIMIT + 2, False, True)]
    assert member.sequencer.commit_index == 5


def test_many_that_open_a_term_are_too_many_in_one_term(contained: Any) -> None:
    member = contained()
    member.hear("n3", AppendEntries(1, 0, 0, 0, ((1, NO_OP),) * 40))
    assert member.sequencer.last_index == 2 * LIMIT + 1


@pytest.mark.parametrize("voters", [3, 4])
def test_who_leads_with_a_full_log_commits_it(simulate: Any, voters: int) -> None:
    """The liar falls silent; the bearer of the full log cannot be outvoted, so it leads."""
    cluster = simulate(seed=1, voters=voters)
    cluster.elect()
    liar, victim = f"n{voters}", "n1"
    cluster.isolate(liar)
    cluster.elect()
    member = cluster.members[victim]
    term, commit = member.sequencer.term + 1, member.sequencer.commit_index
    before = member.sequencer._journal.term_at(commit)
    for size in (1, 40):
        frame = encode_frame(AppendEntries(term, 0, commit, before, ((term, LIE),) * size))
        member.run(lambda sequencer, frame=frame: sequencer.receive(liar, frame))
    assert member.sequencer.last_index == commit + 2 * LIMIT + 1
    cluster.run(4.0)
    reached = max(cluster.checkers.committed, default=0)
    cluster.propose()
    cluster.run_until(lambda: max(cluster.checkers.committed, default=0) > reached)
    cluster.heal()
    cluster.converge()
