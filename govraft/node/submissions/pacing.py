"""When the leader may hand the next batch to Raft, so that checks go on under any flood of commands.

While a batch is on its way to its certificate no node may allow: that time is *closed*. The leader keeps a credit of
open time, at most a quarter of a lease, and none when it begins to lead. The credit grows while nothing is committed
above the certified seq. Each closed time takes its own length from it, at most a quarter of a lease. The next batch
goes out when the credit is not below zero.

So a lone command goes at once, a flood leaves at least half of the time open, and no command waits longer than a
quarter of a lease for this. A closed time that waits for a lost holder may last a lease: then a fifth is open.

Source: protocol.md, "Pacing".
"""

from __future__ import annotations

from govraft.core.model.units import BoottimeNs

__all__ = ["Pacing"]

CREDIT_PARTS = 4
"""The most credit is a lease divided by this."""


class Pacing:
    """The credit of one leader. Times are boot time."""

    def __init__(self, lease_ns: int) -> None:
        self._lease_ns = lease_ns
        self._most_ns = lease_ns // CREDIT_PARTS
        self._credit_ns = 0
        self._looked_at: BoottimeNs | None = None
        self._closed_at: BoottimeNs | None = None
        self._handed_at: BoottimeNs | None = None

    def restart(self) -> None:
        """Lead anew: without credit, and with no batch under way."""
        self._credit_ns, self._looked_at, self._closed_at, self._handed_at = 0, None, None, None

    def look(self, now: BoottimeNs, *, is_certified: bool, is_open: bool) -> None:
        """Learn how things stand.

        Args:
            now: Boot time.
            is_certified: Every batch that was handed over has its certificate.
            is_open: Nothing is committed above the certified seq.
        """
        before, self._looked_at = self._looked_at, now
        if self._closed_at is not None:
            if is_certified:
                self._credit_ns -= min(now - self._closed_at, self._most_ns)
                self._closed_at = None
        elif is_open and before is not None:
            self._credit_ns = min(self._most_ns, self._credit_ns + now - before)

    def may_hand(self, now: BoottimeNs) -> bool:
        """Whether the next batch may go out: as `look` has just learnt, or a lease after the last one."""
        # SAFETY: without the credit a flood leaves no moment in which a node may allow
        # (test_pacing.py::test_a_flood_leaves_half_of_the_time_open).
        if self._credit_ns < 0:
            return False
        if self._closed_at is None:
            return True
        return self._handed_at is not None and now - self._handed_at >= self._lease_ns

    def handed(self, now: BoottimeNs) -> None:
        """A batch goes to Raft now: the time is closed until its certificate."""
        self._handed_at = now
        if self._closed_at is None:
            self._closed_at = now
