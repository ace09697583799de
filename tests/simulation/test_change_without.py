"""Machines are gone for good, and the rest is just a quorum: no change that it cannot certify is proposed."""

from __future__ import annotations

import pytest
from simulation import plans

from govraft.node import member_changes
from govraft.testing.simulation.run import Outcome, simulate


def done_without(voters: int) -> Outcome:
    fault = plans.fault("change_without", 4_000)
    # With a spare there is somebody who changes members.
    setup = {"voters": voters, "spares": 1, "rates": (1.0,) * (voters + 1), "seconds": 24.0}
    return simulate(plans.plan(fault, **setup), keep_history=False)


@pytest.mark.parametrize("voters", [3, 5])
def test_the_living_go_on(voters: int) -> None:
    outcome = done_without(voters)
    assert outcome.findings == ()
    assert outcome.faults == {"change_without": 1}
    assert outcome.changes >= 2, "those who are gone are removed, and another one joins"


def test_a_change_that_nobody_can_certify_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(member_changes, "_judge_quorums", lambda *_: None)
    assert "change_uncertifiable" in {finding.rule for finding in done_without(3).findings}
