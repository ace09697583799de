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


@pytest.mark.parametrize(
    ("leader", "since", "until", "apart"),
    [
        (1000, 1000, 1000, 0),
        (1000, 1500, 1500, 0),
        (1000, 1501, 1501, 501),
        (1000, 500, 500, 0),
        (1000, 499, 499, -501),
        (1000, 400, 5000, 0),
        (1000, 1500, 9000, 0),
        (1000, -9000, 500, 0),
        (1000, 3_901_000, 3_901_100, 3_900_000),
    ],
)
def test_a_clock_is_apart_if_no_moment_between_explains_it(leader, since, until, apart):
    timing = LeaseTiming(lease_ms=1000, drift_ppm=10_000, skew_ms=500)
    assert timing.apart_ms(leader, since, until) == apart


@pytest.mark.parametrize(("time_s", "is_timely"), [(0, True), (103, True), (104, False), (2**63 - 1, False)])
def test_an_ack_is_timely_up_to_skew_grant_and_a_second(time_s, is_timely):
    """500 ms + 1,010 ms make 2 whole seconds, and 1 more: 99.9 s + 3 s reach into second 102, 100.0 s + 3 s into 103."""
    timing = LeaseTiming(lease_ms=1000, drift_ppm=10_000, skew_ms=500)
    assert timing.is_timely(time_s, 100_000) is is_timely
    assert timing.is_timely(time_s, None)
    assert not timing.is_timely(103, 99_999)
