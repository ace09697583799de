"""A permit ends no later than what it rests on: a grant, an attestation, the window of a boundary."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from permit_cluster import PERMITS, REQUEST, PermitCluster

from govraft.core.codec.canonical import pack, pack_json, unpack
from govraft.core.evidence.statements import PermitStatement
from govraft.core.model.commands import BoundarySet, GrantIssue, PolicyActivate, PolicyPublish, Rate, Window
from govraft.core.model.limits import FRAME_BYTES, PERMIT_LEAST_MS, PERMIT_MS
from govraft.core.model.reasons import Reason
from govraft.node.permits import Denied, Granted

GRANTED = '@requires_grant("true") permit(principal, action == Action::"run", resource);'


@pytest.fixture
def sim() -> PermitCluster:
    return PermitCluster()


def rest_on_a_grant(sim: PermitCluster, lasts_ms: int) -> int:
    """What was permitted to everybody now takes a grant; returns when it ends."""
    latest = sim.core("node-1").machine.policy_versions[-1]
    publish = PolicyPublish(
        **sim.header("publish-2"),
        version=2,
        expected=latest.digest,
        schema=None,
        policies=(GRANTED,),
        removed=(latest.policy_ids[0].hex(),),
    )
    sim.govern(sim.envelope(publish, "policy-1"))
    digest = sim.core("node-1").machine.policy_versions[-1].digest
    sim.govern(sim.envelope(PolicyActivate(**sim.header("activate-2"), version=2, digest=digest), "policy-1"))
    end = sim.wall + lasts_ms
    grant = GrantIssue(
        **sim.header("issue"),
        id="g",
        holder=REQUEST.principal,
        actions=(REQUEST.action,),
        resources=(REQUEST.resource,),
        not_before=1,
        not_after_grant=end,
        delegate=None,
        depth=0,
    )
    sim.govern(sim.envelope(grant, "operator-1"))
    return end


def close_soon(sim: PermitCluster) -> int:
    """A window closes at the next full minute; returns when."""
    minutes = sim.wall // 60_000
    window = Window((0, 1, 2, 3, 4, 5, 6), 0, minutes % 1_440 + 1)
    sim.govern(sim.envelope(BoundarySet(**sim.header("window"), id="w", windows=(window,)), "operator-1"))
    return (minutes + 1) * 60_000


def ask_to_sign(sim: PermitCluster, statement: PermitStatement) -> Any:
    """What `node-2` answers to whoever asks it for a signature: True, a reason, or None."""
    core = sim.core("node-2")
    core.on_frame("node-1", PERMITS, pack({"context": pack_json(REQUEST.context), "statement": statement.encode()}))
    sends = [send for send in core.take_effects().sends if send.channel == PERMITS]
    if not sends:
        return None
    fields = unpack(sends[0].payload, max_bytes=FRAME_BYTES)
    return True if "signature" in fields else fields["denial"]


def restated(statement: PermitStatement, **changes: Any) -> PermitStatement:
    fields = msgspec.structs.asdict(statement) | changes
    del fields["permit"]
    return PermitStatement.make(**fields)


@pytest.mark.parametrize("rest", [lambda sim: rest_on_a_grant(sim, 20_000), close_soon], ids=["grant", "window"])
def test_a_permit_does_not_outlive_what_it_rests_on(sim, rest) -> None:
    end = rest(sim)
    assert end < sim.wall + PERMIT_MS
    granted = sim.authorize(ttl_ms=PERMIT_MS)
    assert isinstance(granted, Granted), granted
    assert sim.prove(granted).statement.not_after == end
    assert sim.authorize(ttl_ms=1_000).statement.not_after <= sim.wall + 1_000


@pytest.mark.parametrize("rest", [lambda sim: rest_on_a_grant(sim, 20_000), close_soon], ids=["grant", "window"])
def test_no_voter_signs_one_that_outlives_its_grant(sim, rest) -> None:
    """The node that asks is compromised: it does not shorten what it asks for."""
    end = rest(sim)
    honest = sim.authorize().statement
    assert ask_to_sign(sim, restated(honest, not_after=end)) is True
    for not_after in (end + 1, honest.issued + PERMIT_MS):
        assert ask_to_sign(sim, restated(honest, not_after=not_after)) is not True, not_after - end


def test_what_ends_too_soon_for_a_permit_is_denied(sim) -> None:
    end = rest_on_a_grant(sim, 3_000)
    sim.step(end - sim.wall - PERMIT_LEAST_MS + 1)
    assert sim.core("node-1").check(REQUEST).allowed
    answer = sim.authorize(ttl_ms=PERMIT_MS)
    assert isinstance(answer, Denied), answer
    assert answer.deny.reason is Reason.LEASE_EXPIRED
    assert "less than 1000 ms" in answer.deny.message


def test_what_a_rate_limits_takes_a_single_use_permit(sim) -> None:
    rate = BoundarySet(**sim.header("rate"), id="r", rate=Rate(1_000, 1))
    sim.govern(sim.envelope(rate, "operator-1"))
    sim.step(1_100)  # A node that has just learned of a rate counts its share as used up for one span.
    answer = sim.authorize(ttl_ms=PERMIT_MS)
    assert isinstance(answer, Denied), answer
    assert answer.deny.reason is Reason.BOUNDARY_EXCEEDED
    granted = sim.authorize(ttl_ms=PERMIT_MS, single_use=True)
    assert isinstance(granted, Granted), granted
    # The node that asks is compromised: it asks for one that can be used again.
    assert ask_to_sign(sim, restated(granted.statement, single_use=True)) is True
    assert ask_to_sign(sim, restated(granted.statement, single_use=False)) is not True
