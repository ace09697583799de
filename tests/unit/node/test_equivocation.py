"""A voter that was proven to have signed two roots is not needed, and cannot be used, for a certificate."""

from __future__ import annotations

from test_convergence import core_of, lying, reign


def test_a_liar_that_turns_honest_makes_no_quorum():
    sim = reign()
    lying(sim, "c", root=bytes(32))
    sim.step(150)
    assert set(core_of(sim, "a").convergence.witness.equivocators) == {"c"}
    # From now on `c` says nothing but the truth; `b` is gone, so the leader would need it.
    sim.tap = lambda source, target, channel, payload: payload
    sim.partition("b")
    sim.step(2500)
    assert not sim.serving("a")
    assert not sim.serving("c")
    sim.heal()
    sim.step(1500)
    assert sim.serving("a")
