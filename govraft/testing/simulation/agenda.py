"""What is going to happen, in the order of its time; things of one time in the order in which they were planned."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

from govraft.testing.simulation.clock import TrueTime

__all__ = ["Agenda"]


class Agenda:
    """A queue of calls on the simulation's true time."""

    def __init__(self, true_time: TrueTime) -> None:
        self._true_time = true_time
        self._calls: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = 0
        self.count = 0

    @property
    def now(self) -> int:
        """True time, nanoseconds."""
        return self._true_time.now

    def after(self, delay: int, call: Callable[..., None], *arguments: Any) -> None:
        """Plan a call, `delay` nanoseconds from now."""
        self._order += 1
        heapq.heappush(self._calls, (self._true_time.now + max(delay, 0), self._order, call, arguments))

    def run_until(self, end: int, is_over: Callable[[], bool] | None = None) -> bool:
        """Let everything happen that is due until `end`.

        Returns:
            Whether `is_over` said so before the end; it is asked after each call.
        """
        calls, true_time = self._calls, self._true_time
        while calls and calls[0][0] <= end:
            at, _, call, arguments = heapq.heappop(calls)
            true_time.now = at
            self.count += 1
            call(*arguments)
            if is_over is not None and is_over():
                return True
        true_time.now = max(true_time.now, end)
        return False
