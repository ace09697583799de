"""Points in time and spans, kept apart by type so that a wall time can never end a lease."""

from __future__ import annotations

import datetime as dt
from typing import NewType

__all__ = ["NS_PER_MS", "BoottimeNs", "WallMs", "time_text"]

BoottimeNs = NewType("BoottimeNs", int)
"""Nanoseconds of CLOCK_BOOTTIME: counts suspend, never steps. Leases live on it."""

WallMs = NewType("WallMs", int)
"""Milliseconds since the Unix epoch. Signed times and expiries live on it; it may step."""

NS_PER_MS = 1_000_000
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def time_text(milliseconds: int) -> str:
    """A wall time in RFC 3339, UTC; a number of milliseconds where no calendar reaches. Never fails."""
    try:
        moment = _EPOCH + dt.timedelta(milliseconds=milliseconds)
    except OverflowError:
        return f"{milliseconds} ms"
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
