"""Points in time as people write them: `90m` or `1h30m` from now, or RFC 3339."""

from __future__ import annotations

import datetime as dt
import re
import time

from govraft.core.model.genesis import TIME_MAX_MS
from govraft.errors import InputError

__all__ = ["parse_moment", "parse_time"]

_RELATIVE = re.compile(r"\+?((?:[0-9]{1,9}[dhms])+)")
_MS = re.compile(r"[0-9]{1,18}")
_PART = re.compile(r"([0-9]+)([dhms])")
_UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def parse_time(text: str, option: str) -> int:
    """The WallMs that a text means.

    Args:
        text: Such as `15m`, `1h30m`, `2027-01-31T12:00:00Z`, or `2027-01-31T12:00:00+01:00`.
        option: Names it in errors.

    Raises:
        InputError: It means none, or leaves the time zone open.
    """
    relative = _RELATIVE.fullmatch(text)
    if relative is not None:
        ahead_ms = sum(int(count) * _UNIT_MS[unit] for count, unit in _PART.findall(relative[1]))
        found = time.time_ns() // 1_000_000 + ahead_ms
    else:
        try:
            moment = dt.datetime.fromisoformat(text)
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            raise InputError(f"{option} `{text}` is no time: write `2h`, `1h30m`, or `2027-01-31T12:00:00Z`")
        found = int(moment.timestamp() * 1_000)
    return _checked(found, text, option)


def parse_moment(text: str, option: str) -> int:
    """As `parse_time`, and milliseconds since 1970 too."""
    return _checked(int(text), text, option) if _MS.fullmatch(text) else parse_time(text, option)


def _checked(found: int, text: str, option: str) -> int:
    if not 1 <= found <= TIME_MAX_MS:
        raise InputError(f"{option} `{text}` is out of range: choose a time between 1970 and 9999")
    return found
