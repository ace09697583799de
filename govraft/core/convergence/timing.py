"""Lease arithmetic. The one place where the clock-rate error enters.

Two clocks that each run within `drift` of true time measure a lease from its two ends: the voter that granted it
waits L(1+ρ) before it considers the grant dead, the holder stops serving at L(1−ρ). Both round towards safety.
"""

from __future__ import annotations

import msgspec

from govraft.core.model.units import NS_PER_MS, BoottimeNs
from govraft.errors import require

__all__ = ["LeaseTiming"]

_PPM = 1_000_000


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
