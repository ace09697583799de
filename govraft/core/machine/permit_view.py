"""Used permits, decoded from the section `audit`.

permit/<permit id>   UsedPermit
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Mapping

import msgspec

__all__ = ["PERMIT_PREFIX", "PermitsView", "UsedPermit"]

PERMIT_PREFIX = "permit/"


class UsedPermit(msgspec.Struct, frozen=True):
    """A single-use permit that was redeemed.

    Attributes:
        permit: Its id.
        node: To which it was shown.
        not_after: WallMs at which it would have run out; then this record goes too.
        seq, time: Of the entry.
    """

    permit: str
    node: str
    not_after: int
    seq: int
    time: int


_decode = msgspec.msgpack.Decoder(UsedPermit).decode


class PermitsView:
    """Which permits are used, and which of them runs out next."""

    def __init__(self) -> None:
        self._used: dict[str, UsedPermit] = {}
        self._ends: list[tuple[int, str]] = []

    @property
    def used(self) -> Mapping[str, UsedPermit]:
        """Used permits by id."""
        return self._used

    def over(self, time: int, count: int) -> list[str]:
        """Ids of at most `count` permits that have run out, the longest ago first. Changes nothing."""
        return [name for end, name in self._ends[:count] if end <= time]

    def note(self, key: str, value: bytes | None) -> None:
        """Take over a change of the section."""
        name = key[len(PERMIT_PREFIX) :]
        old = self._used.pop(name, None)
        if old is not None:
            del self._ends[bisect_left(self._ends, (old.not_after, name))]
        if value is not None:
            record = self._used[name] = _decode(value)
            insort(self._ends, (record.not_after, name))
