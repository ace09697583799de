"""A voter loses its store, and another one is made for it, while those that know what it signed are away."""

from __future__ import annotations

import pytest
from simulation import plans

from govraft.node.late_store import OLDER_THAN_OWN_SIGNATURES, LateStore
from govraft.testing.simulation.run import simulate
from govraft.testing.simulation.world import World


def lost(*, is_forgotten: bool) -> World:
    """`n3` misses what `n1` and `n2` certify; then `n2` is wiped and `n1` is down, and `n3` comes back.

    Args:
        is_forgotten: Whether `n3` was restarted meanwhile, so that it shows nobody what it saw `n2` sign.
    """
    faults = [
        plans.fault("partition", 3_000, "n3", for_ms=3_000, number=0),
        plans.fault("crash", 5_500, "n1", for_ms=4_000, amount=0, number=1),
        plans.fault("lost_store", 5_600, "n2", for_ms=100, amount=0, number=2),
    ]
    if is_forgotten:
        faults.append(plans.fault("crash", 3_500, "n3", for_ms=200, amount=0, number=3))
    return World(plans.plan(*faults, seconds=12.0))


def test_no_second_history_is_certified() -> None:
    world = lost(is_forgotten=True)
    outcome = simulate(world.plan, world=world)
    assert outcome.findings == ()
    assert outcome.faults == {"partition": 1, "crash": 2, "lost_store": 1}
    core = world.hosts["n2"].core
    assert core is not None
    assert core.convergence.isolation is None
    assert not core.convergence.cosigner.is_late
    assert core.gate.standing().lease is not None


def test_whoever_is_shown_its_signature_is_mute() -> None:
    world = lost(is_forgotten=False)
    outcome = simulate(world.plan, world=world)
    assert outcome.findings == ()
    core = world.hosts["n2"].core
    assert core is not None
    assert core.convergence.isolation is not None
    assert core.convergence.isolation.reason == OLDER_THAN_OWN_SIGNATURES


def test_without_the_floor_it_would_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LateStore, "_floor", lambda self: 0)
    world = lost(is_forgotten=True)
    found = {finding.rule for finding in simulate(world.plan, world=world).findings}
    assert found & {"fork", "signed_seq_fell", "isolated", "stale_allow", "halted"}, found
