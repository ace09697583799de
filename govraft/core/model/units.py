"""Points in time and spans, kept apart by type so that a wall time can never end a lease."""

from __future__ import annotations

from typing import NewType

__all__ = ["NS_PER_MS", "BoottimeNs", "WallMs"]

BoottimeNs = NewType("BoottimeNs", int)
"""Nanoseconds of CLOCK_BOOTTIME: counts suspend, never steps. Leases live on it."""

WallMs = NewType("WallMs", int)
"""Milliseconds since the Unix epoch. Signed times and expiries live on it; it may step."""

NS_PER_MS = 1_000_000
