"""Terms thrown about in a member's name: the cluster is whole again soon after, and a missing rule is noticed."""

from __future__ import annotations

import pytest
from simulation import plans

from govraft.adapters.engine.frames import Committed
from govraft.adapters.engine.sequencer import PysyncobjSequencer
from govraft.adapters.engine.terms import TERM_STEP, Terms
from govraft.testing.simulation.run import Outcome, simulate


def lifted(*victims: str, amount: int = 3, **changes: object) -> Outcome:
    faults = [
        plans.fault("term_lifts", 4_000, "n3", victim, amount=amount, for_ms=4_000, number=place)
        for place, victim in enumerate(victims)
    ]
    return simulate(plans.plan(*faults, **changes), keep_history=False)


def dropped(self, node, message):
    """What was there before: a term that is too high is not listened to, and no frame has to wait for another."""
    del node
    return isinstance(message, Committed) or message.term <= self._SyncObj__raftCurrentTerm + TERM_STEP


@pytest.mark.parametrize("victims", [("n1",), ("n2",), ("n1", "n2")])
@pytest.mark.parametrize("voters", [3, 4])
def test_lifted_nodes_are_whole_again(voters, victims):
    quorum = "byzantine" if voters == 4 else "majority"
    outcome = lifted(*victims, voters=voters, quorum=quorum, rates=(1.0,) * voters)
    assert outcome.findings == ()
    assert outcome.faults == {"term_lifts": len(victims)}
    assert outcome.effective > 10


def test_a_lifted_observer_is_whole_again():
    outcome = lifted("n4", observers=1, rates=(1.0,) * 4)
    assert outcome.findings == ()


def test_terms_that_are_only_dropped_are_noticed(monkeypatch):
    """As it was: no step up, and no lease that brings back whom the terms have left behind."""
    monkeypatch.setattr(Terms, "_is_within_reach", dropped)
    monkeypatch.setattr(PysyncobjSequencer, "adopt_term", lambda self, term, leader: None)
    assert {finding.rule for finding in lifted("n1").findings} == {"not_live"}


def cut_off_for_many_lifts() -> Outcome:
    """The terms of two rise once a lease, for longer than healing may take; the third hears of nothing."""
    lifts = [
        plans.fault("term_lifts", 3_000, "n3", name, amount=40, for_ms=45_000, number=place)
        for place, name in enumerate(("n1", "n2"))
    ]
    cut = plans.fault("partition", 2_500, "n3", for_ms=60_000, number=2)
    return simulate(plans.plan(*lifts, cut, seconds=45.0, submit_every_ms=5_000, ask_every_ms=1_000))


def test_who_was_cut_off_is_whole_again():
    assert cut_off_for_many_lifts().findings == ()


def test_a_lease_whose_term_is_not_entered_is_noticed(monkeypatch):
    monkeypatch.setattr(PysyncobjSequencer, "adopt_term", lambda self, term, leader: None)
    assert {finding.rule for finding in cut_off_for_many_lifts().findings} == {"not_live"}
