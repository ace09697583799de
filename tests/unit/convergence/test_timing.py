from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from govraft.core.convergence.timing import LeaseTiming
from govraft.core.model.units import NS_PER_MS, BoottimeNs
from govraft.errors import InvariantViolation


def test_both_ends_round_towards_safety():
    timing = LeaseTiming(lease_ms=100, drift_ppm=333_333, skew_ms=1)
    assert timing.grant_ns * 1_000_000 >= 100 * NS_PER_MS * 1_333_333 > (timing.grant_ns - 1) * 1_000_000
    assert timing.hold_ns * 1_000_000 <= 100 * NS_PER_MS * 666_667 < (timing.hold_ns + 1) * 1_000_000


@given(
    lease_ms=st.integers(100, 600_000),
    drift=st.integers(0, 100_000),
    holder=st.fractions(-1, 1, max_denominator=1000),
    voter=st.fractions(-1, 1, max_denominator=1000),
    nonce_at=st.integers(0, 10**12),
    delay=st.integers(0, 10**9),
)
@settings(max_examples=200, deadline=None)
def test_a_lease_ends_before_its_grant_however_the_clocks_run(lease_ms, drift, holder, voter, nonce_at, delay):
    """True time: the nonce is made first, the ack comes `delay` later; each clock runs at a rate within ρ of true time."""
    timing = LeaseTiming(lease_ms, drift, 1)
    rho = Fraction(drift, 1_000_000)
    lease_over = nonce_at + timing.hold_ns / (1 + holder * rho)
    grant_over = nonce_at + delay + timing.grant_ns / (1 + voter * rho)
    assert lease_over <= grant_over


def test_ends_are_counted_from_their_beginnings():
    timing = LeaseTiming(lease_ms=1000, drift_ppm=10_000, skew_ms=1)
    assert timing.grant_end(BoottimeNs(5)) == 5 + 1010 * NS_PER_MS
    assert timing.lease_end(BoottimeNs(5)) == 5 + 990 * NS_PER_MS


@pytest.mark.parametrize(("lease_ms", "drift", "skew"), [(0, 1, 1), (1, -1, 1), (1, 500_000, 1), (1, 1, 0)])
def test_impossible_timing_halts(lease_ms, drift, skew):
    with pytest.raises(InvariantViolation):
        LeaseTiming(lease_ms, drift, skew)
