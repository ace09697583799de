"""The clocks of the operating system."""

from __future__ import annotations

import time

from govraft.core.model.units import NS_PER_MS, BoottimeNs, WallMs

__all__ = ["SystemClock"]


class SystemClock:
    """`ports.Clock` on Linux."""

    def boottime(self) -> BoottimeNs:
        """CLOCK_BOOTTIME, ns. Unlike CLOCK_MONOTONIC it counts suspend, so a lease cannot outlive a sleep."""
        return BoottimeNs(time.clock_gettime_ns(time.CLOCK_BOOTTIME))

    def wall(self) -> WallMs:
        """CLOCK_REALTIME, ms since the Unix epoch, rounded down."""
        return WallMs(time.time_ns() // NS_PER_MS)
