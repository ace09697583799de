"""A node that is no member any more: what it tells those who hand in commands at it."""

from __future__ import annotations

import pytest
from changing_electorate import ChangingCluster

from govraft.errors import AvailabilityError


@pytest.fixture
def shrunk():
    """Three nodes became two; the third, its name, and a command from before."""
    sim = ChangingCluster(3)
    sim.run_until(sim.all_serving)
    gone = next(name for name in sim.nodes if name != sim.leader.id)
    known = sim.quarantine("known", 'Agent::"somebody"')
    for envelope in (known, sim.remove(gone)):
        answers = sim.submit(sim.leader.id, envelope)
        sim.run_until(lambda answers=answers: answers)
        assert isinstance(answers[0], dict), answers
    sim.run_until(lambda: sim.core(gone).epochs.absence)
    return sim, gone, known


def told(sim, name, envelope):
    answers = sim.submit(name, envelope)
    sim.run_until(lambda: answers, limit_ms=100)
    return answers[0]


def test_a_removed_node_takes_no_commands(shrunk):
    sim, gone, _ = shrunk
    answer = told(sim, gone, sim.quarantine("new", 'Agent::"anybody"'))
    assert isinstance(answer, AvailabilityError)
    assert (answer.code, answer.definite) == ("not_a_member", True)


def test_a_removed_node_does_not_judge_by_what_it_knew(shrunk):
    """The others may know the node that it never heard of."""
    sim, gone, _ = shrunk
    answer = told(sim, gone, sim.promote("node-9"))
    assert isinstance(answer, AvailabilityError)
    assert (answer.code, answer.definite) == ("not_a_member", True)


def test_a_removed_node_still_tells_what_became_of_a_command_that_it_saw(shrunk):
    sim, gone, known = shrunk
    answer = told(sim, gone, known)
    assert (answer["command_id"], answer["outcome"]) == ("known", "applied")
