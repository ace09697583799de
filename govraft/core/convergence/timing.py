"""Lease arithmetic. The one place where the clock-rate error enters.

Two clocks that each run within `drift` of true time measure a lease from its two ends: the voter that granted it
waits L(1+ρ) before it considers the grant dead, the holder stops serving at L(1−ρ). Both round towards safety.
"""

from __future__ import annotations

import msgspec

from govraft.core.model.genesis import Genesis
from govraft.core.model.units import NS_PER_MS, BoottimeNs, WallMs
from govraft.errors import require

__all__ = ["LeaseTiming"]

_PPM = 1_000_000
_NS_PER_S = 1_000_000_000


class LeaseTiming(msgspec.Struct, frozen=True):
    """What genesis fixes for the whole cluster.

    Attributes:
        lease_ms: L. A revocation waits at most about this long for a node that has fallen silent.
        drift_ppm: ρ in parts per million: the most by which a clock's rate is assumed to be off.
        skew_ms: How far wall clocks may disagree, and how far wall and boot time may drift apart in one lease.
    """

    lease_ms: int
    drift_ppm: int
    skew_ms: int

    def __post_init__(self) -> None:
        possible = self.lease_ms > 0 and 0 <= self.drift_ppm < _PPM // 2 and self.skew_ms > 0
        require(possible, "lease timing is impossible")

    @classmethod
    def of(cls, genesis: Genesis) -> LeaseTiming:
        """That of the cluster."""
        return cls(genesis.lease_ms, genesis.clock_drift_max_ppm, genesis.clock_skew_max_ms)

    @property
    def grant_ns(self) -> int:
        """L(1+ρ), rounded up: how long a voter holds a grant to be outstanding."""
        return -(-self.lease_ms * NS_PER_MS * (_PPM + self.drift_ppm) // _PPM)

    @property
    def hold_ns(self) -> int:
        """L(1−ρ), rounded down: how long a holder may serve, from when it made the nonce."""
        return self.lease_ms * NS_PER_MS * (_PPM - self.drift_ppm) // _PPM

    def grant_end(self, now: BoottimeNs) -> BoottimeNs:
        """When a grant made now is certainly over, by the granting voter's clock."""
        return BoottimeNs(now + self.grant_ns)

    def lease_end(self, nonce_made: BoottimeNs) -> BoottimeNs:
        """When a lease on a nonce made then must no longer be used, by the holder's clock."""
        return BoottimeNs(nonce_made + self.hold_ns)

    def apart_ms(self, leader: WallMs, since: WallMs, until: WallMs) -> int:
        """By how much a node's wall clock differs from a leader's; 0 if it may be within the skew.

        Args:
            leader: What the leader's clock showed at some moment.
            since: What the node's own clock showed before that moment.
            until: What it showed after it.

        Returns:
            The least difference that explains it, positive if the node is ahead of the leader.
        """
        # SAFETY: whoever allows is within the skew and a lease of the leader's clock, so what begins or ends at a wall
        # time does so at about the same moment everywhere
        # (test_wall_clocks.py::test_a_clock_that_is_wrong_and_stays_wrong_gets_no_lease).
        if since - self.skew_ms > leader:
            return since - leader
        if leader > until + self.skew_ms:
            return until - leader
        return 0

    def is_timely(self, time_s: int, leader: WallMs | None) -> bool:
        """Whether a lease may hold an ack of that Unix time, if its leader's clock showed `leader` at the probe.

        No honest ack is later: its node's clock was within the skew of the leader's, and a round is open for a grant
        at most. None: the probe does not say, and nothing bounds the ack.
        """
        late_s = -(-(self.skew_ms * NS_PER_MS + self.grant_ns) // _NS_PER_S) + 1
        # SAFETY: how much later a lying holder can make a receipt promise is bounded
        # (test_receipt_times.py::test_an_ack_from_the_future_proves_nothing).
        return leader is None or time_s * 1000 <= leader + late_s * 1000
