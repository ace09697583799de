"""Points in time as people write them: `90m` from now, or RFC 3339."""

from __future__ import annotations

import datetime as dt
import re
import time

from govraft.core.model.genesis import TIME_MAX_MS
from govraft.errors import InputError

__all__ = ["parse_time"]

_RELATIVE = re.compile(r"\+?([0-9]{1,9})(s|m|h|d)")
_UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def parse_time(text: str, option: str) -> int:
    """The WallMs that a text means.

    Args:
        text: Such as `15m`, `2h`, `2027-01-31T12:00:00Z`, or `2027-01-31T12:00:00+01:00`.
        option: Names it in errors.

    Raises:
        InputError: It means none, or leaves the time zone open.
    """
    relative = _RELATIVE.fullmatch(text)
    if relative is not None:
        found = time.time_ns() // 1_000_000 + int(relative[1]) * _UNIT_MS[relative[2]]
    else:
        try:
            moment = dt.datetime.fromisoformat(text)
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            raise InputError(f"{option} `{text}` is no time: write `2h`, or `2027-01-31T12:00:00Z`")
        found = int(moment.timestamp() * 1_000)
    if not 1 <= found <= TIME_MAX_MS:
        raise InputError(f"{option} `{text}` is out of range: choose a time between 1970 and 9999")
    return found
