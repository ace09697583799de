"""The gate under grants and boundaries: an allow ends with what it rests on, and rates are kept."""

import msgspec
import pytest

from govraft.core.model.commands import BoundaryRemove, BoundarySet, GrantIssue, GrantRevoke, Rate, Window
from govraft.core.model.reasons import Reason
from govraft.core.model.units import NS_PER_MS
from govraft.core.policy.compiled import CompiledPolicies

PERMIT = '@requires_grant("true") permit(principal, action == Action::"run", resource);'
FREE = 'permit(principal, action == Action::"run", resource);'


def wall(sim, name="b"):
    return sim.core(name).gate._clock.wall()


def do(sim, kind, identifier, **fields):
    header = sim.header(f"{kind.__name__}-{sim.now_ns}-{identifier}")
    sim.commit_envelopes(sim.envelope(kind(**header, id=identifier, **fields), "operator-1"))
    sim.step(300)
    assert sim.all_serving()


def issue(sim, lasts_ms):
    do(
        sim,
        GrantIssue,
        "g",
        holder='Agent::"a"',
        actions=('Action::"run"',),
        resources=('Tool::"t"',),
        not_before=1,
        not_after_grant=wall(sim) + lasts_ms,
        delegate=None,
        depth=0,
    )


@pytest.fixture
def granted(make_sim):
    return make_sim(PERMIT)


def test_a_grant_opens_and_a_revocation_closes(granted):
    assert granted.check().reason is Reason.GRANT_MISSING
    issue(granted, 60_000)
    verdict = granted.check()
    assert verdict.allowed
    assert verdict.valid_until == granted.core().convergence.lease.end
    do(granted, GrantRevoke, "g", reason="why")
    for name in "abc":
        assert granted.check(name=name).reason is Reason.GRANT_MISSING


def test_an_allow_ends_with_the_grant_that_it_rests_on(granted):
    issue(granted, 400)
    verdict, core = granted.check(), granted.core()
    left_ms = core.machine.state.grants.grants["g"].not_after - wall(granted)
    assert 0 < left_ms < 400
    assert verdict.valid_until == granted.now_ns + left_ms * NS_PER_MS
    assert verdict.valid_until < core.convergence.lease.end
    granted.now_ns = verdict.valid_until - 1
    assert granted.check().allowed
    granted.now_ns = verdict.valid_until
    assert granted.check().reason is Reason.GRANT_EXPIRED


def test_a_grant_that_ends_during_evaluation_denies(granted, monkeypatch):
    issue(granted, 400)
    original, end = CompiledPolicies.evaluate, granted.check().valid_until

    def slow(self, request, entities):
        decision = original(self, request, entities)
        granted.now_ns = end
        return decision

    monkeypatch.setattr(CompiledPolicies, "evaluate", slow)
    verdict = granted.check()
    assert verdict.reason is Reason.LEASE_EXPIRED
    assert verdict.seq == granted.core().machine.seq


@pytest.mark.clause("2 execution boundaries")
def test_a_window_that_closes_ends_the_allow(sim):
    minutes = wall(sim) // 60_000
    closes = minutes % 1_440 + 1
    do(sim, BoundarySet, "w", windows=(Window((0, 1, 2, 3, 4, 5, 6), 0, closes),))
    assert sim.check().allowed
    left_ms = (minutes + 1) * 60_000 - wall(sim)
    core = sim.core()
    if left_ms > 1_000:
        sim.step(left_ms - 500)
        left_ms = 500
    assert sim.check().valid_until <= sim.now_ns + left_ms * NS_PER_MS
    sim.step(left_ms)
    assert core.gate.standing().lease is not None
    assert sim.check().reason is Reason.BOUNDARY_EXCEEDED


@pytest.mark.clause("2 execution boundaries")
def test_each_node_allows_its_share_and_no_more(sim):
    sim.step(2_000)
    do(sim, BoundarySet, "r", rate=Rate(7, 1))
    sim.step(100)
    for name in "abc":
        verdicts = [sim.check(name=name) for _ in range(5)]
        assert [verdict.allowed for verdict in verdicts] == [True, True, False, False, False]
        assert verdicts[2].reason is Reason.BOUNDARY_EXCEEDED
        assert verdicts[2].policies == verdicts[0].policies
    sim.step(1_100)
    assert sim.check().allowed
    do(sim, BoundaryRemove, "r")
    assert all(sim.check().allowed for _ in range(9))


def test_a_denial_uses_up_nothing(sim):
    sim.step(2_000)
    do(sim, BoundarySet, "r", rate=Rate(3, 1))
    sim.step(100)
    lease = sim.core().convergence.lease
    sim.core().convergence.holder.lease = msgspec.structs.replace(lease, term=lease.term + 1)
    assert not sim.check().allowed
    sim.core().convergence.holder.lease = lease
    assert sim.check().allowed
    assert sim.check().reason is Reason.BOUNDARY_EXCEEDED


def test_a_restarted_node_has_used_up_its_window(sim):
    sim.step(2_000)
    do(sim, BoundarySet, "r", rate=Rate(3, 30))
    sim.crash("b")
    sim.start("b")
    sim.lead("a", "b", "c")
    sim.run_until(lambda: sim.serving("b"))
    assert sim.check().reason is Reason.BOUNDARY_EXCEEDED


def test_of_fewer_than_members_nothing_is_allowed(sim):
    sim.step(2_000)
    do(sim, BoundarySet, "r", rate=Rate(2, 1))
    sim.step(2_000)
    assert sim.check().reason is Reason.BOUNDARY_EXCEEDED


def test_the_gate_says_until_when_its_allow_can_hold(granted):
    """A permit outlives the lease, but not the grant."""
    issue(granted, 60_000)
    core = granted.core()
    assert granted.check().allowed
    assert core.gate.allow_expires == core.machine.state.grants.grants["g"].not_after
