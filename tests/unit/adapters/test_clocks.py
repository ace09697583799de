"""The system clocks read what they say."""

from __future__ import annotations

import time

from govraft.adapters.clocks import SystemClock
from govraft.ports.clock import Clock


def test_boottime_is_the_boottime_clock_in_nanoseconds() -> None:
    clock: Clock = SystemClock()
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    read = clock.boottime()
    assert before <= read <= time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def test_wall_is_the_realtime_clock_in_milliseconds() -> None:
    before = time.time_ns() // 1_000_000
    read = SystemClock().wall()
    assert before <= read <= time.time_ns() // 1_000_000
