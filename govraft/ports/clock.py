"""The two clocks of a node, and nothing else that ticks."""

from __future__ import annotations

from typing import Protocol

from govraft.core.model.units import BoottimeNs, WallMs

__all__ = ["Clock"]


class Clock(Protocol):
    """Reads the time. Never sleeps, never schedules."""

    def boottime(self) -> BoottimeNs:
        """CLOCK_BOOTTIME in nanoseconds: never steps back, counts suspend. Leases live on it."""
        ...

    def wall(self) -> WallMs:
        """CLOCK_REALTIME in milliseconds since the Unix epoch. May step; only for signed times and expiries."""
        ...
