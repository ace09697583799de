"""systemd, if it started this process: what the node is about, and that its loop still turns (sd_notify)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Mapping

__all__ = ["ServiceManager"]

_US_PER_S = 1_000_000


class ServiceManager:
    """Tells systemd, and nobody if it did not ask. Never raises, never waits."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        """Read what systemd has put into the environment."""
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._timer: asyncio.TimerHandle | None = None
        self.watchdog_s = _watchdog_s(environment)
        """How long it may hear nothing before it ends the process, seconds; None if it does not watch."""

    def tell(self, state: str) -> None:
        """Send one state, such as `READY=1`."""
        if not self._address:
            return
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as notifier,
        ):
            notifier.sendto(state.encode(), self._address)

    def begin_watchdog(self) -> None:
        """From now on, say twice in each period that the running loop turns."""
        if self.watchdog_s is None:
            return
        # SAFETY: said by the loop itself: a thread would go on saying so while the loop hangs
        # (test_service_manager.py::test_a_loop_that_hangs_says_nothing).
        self._timer = asyncio.get_running_loop().call_later(self.watchdog_s / 2, self.begin_watchdog)
        self.tell("WATCHDOG=1")

    def end_watchdog(self) -> None:
        """Say nothing more."""
        if self._timer is not None:
            self._timer.cancel()


def _watchdog_s(environment: Mapping[str, str]) -> float | None:
    wanted, process = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not (wanted.isascii() and wanted.isdigit() and len(wanted) < 20 and int(wanted) > 0):
        return None
    if process and process != str(os.getpid()):
        return None  # Meant for a process that started this one.
    return int(wanted) / _US_PER_S
