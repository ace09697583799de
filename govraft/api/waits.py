"""The checks that wait for the next certificate: bounded in number and bytes, and shared fairly.

A request that waits is held decoded, which takes up to a hundred times its bytes on the wire. When all places or bytes
are taken, whoever holds most gives one back, its newest: a client with thousands of waiting checks gives way to one
with a single check, never the other way round.
"""

from __future__ import annotations

import asyncio
from typing import Any

__all__ = ["Waits", "was_crowded_out"]

_CROWDED = "crowded out"


class _Share:
    """What one client holds."""

    __slots__ = ("bytes", "sizes")

    def __init__(self) -> None:
        self.sizes: dict[asyncio.Future[Any], int] = {}
        self.bytes = 0


class Waits:
    """All waiting checks of one socket server."""

    def __init__(self, calls_max: int, bytes_max: int) -> None:
        """At most `calls_max` checks of `bytes_max` bytes on the wire may wait at a time."""
        self._calls_max = calls_max
        self._bytes_max = bytes_max
        self._shares: dict[object, _Share] = {}
        self._calls = 0
        self._bytes = 0
        self.crowded_out = 0

    @property
    def calls(self) -> int:
        """How many wait."""
        return self._calls

    def add(self, owner: object, check: asyncio.Future[Any], size: int) -> None:
        """Count a check of `owner` until it is done; cancel whatever no longer fits, perhaps this one."""
        share = self._shares.setdefault(owner, _Share())
        share.sizes[check] = size
        share.bytes += size
        self._calls += 1
        self._bytes += size
        check.add_done_callback(lambda done: self._remove(owner, done))
        while self._calls > self._calls_max or self._bytes > self._bytes_max:
            self._crowd_out()

    def _crowd_out(self) -> None:
        by_bytes = self._bytes > self._bytes_max
        weights = {owner: share.bytes if by_bytes else len(share.sizes) for owner, share in self._shares.items()}
        owner = max(weights, key=lambda name: weights[name])
        check = next(reversed(self._shares[owner].sizes))
        self._remove(owner, check)
        self.crowded_out += 1
        check.cancel(_CROWDED)

    def _remove(self, owner: object, check: asyncio.Future[Any]) -> None:
        share = self._shares.get(owner)
        size = share.sizes.pop(check, None) if share is not None else None
        if share is None or size is None:
            return
        share.bytes -= size
        self._calls -= 1
        self._bytes -= size
        if not share.sizes:
            del self._shares[owner]


def was_crowded_out(check: asyncio.Future[Any]) -> bool:
    """Whether a cancelled check was cancelled to make room."""
    try:
        check.exception()
    except asyncio.CancelledError as cancelled:
        return cancelled.args == (_CROWDED,)
    return False
