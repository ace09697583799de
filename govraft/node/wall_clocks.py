"""What the leader's probes and leases tell of this node's wall clock.

=========  ==========================================================  ==========================================
state      event                                                       then
=========  ==========================================================  ==========================================
agreed     a test fails that allows for the delay of the message       apart
agreed     a test fails that may have failed because of the delay      doubtful
doubtful   such tests have failed for a lease, or as above             apart
doubtful   a test holds                                                agreed
apart      the test of a lease holds                                   agreed
apart      no test fails for three leases                              agreed: it is not known any more
=========  ==========================================================  ==========================================

A probe alone, which holds, ends nothing: a lying leader can make one for this node with this node's own time.

Which of the two clocks is wrong no node can tell: if it is the leader's, the other voters do not answer it either, and
elect another leader (`node/reign.py`).

Source: protocol, "The round", steps 3 and 5.
"""

from __future__ import annotations

from govraft.core.convergence.cosigner import Answer, Refusal
from govraft.core.convergence.holder import Holder
from govraft.core.convergence.messages import Probe
from govraft.core.convergence.timing import LeaseTiming
from govraft.core.model.units import BoottimeNs, WallMs

__all__ = ["WallClocks", "ahead", "seconds"]

_LEASES_KNOWN = 3


class WallClocks:
    """Whether this node's wall clock and that of its leader are near each other."""

    def __init__(self, node_id: str, holder: Holder, timing: LeaseTiming) -> None:
        self._node_id = node_id
        self._holder = holder
        self._grant_ns = timing.grant_ns
        self._doubted_at: BoottimeNs | None = None
        self._told_at = BoottimeNs(0)
        self._apart = ""

    def learn(self, answer: Answer | Refusal, probe: Probe, now: BoottimeNs, wall: WallMs) -> None:
        """Learn from what the cosigner made of a probe; nothing, if it refused it before it looked at the clock."""
        if isinstance(answer, Answer) or answer in (Refusal.CLOCK_APART, Refusal.CLOCK_AHEAD):
            self._judge(probe, now, wall)

    def learn_from_lease(self, probe: Probe, now: BoottimeNs, wall: WallMs) -> None:
        """Learn from the probe of a verified lease."""
        if self._judge(probe, now, wall):
            self._apart = ""

    def _judge(self, probe: Probe, now: BoottimeNs, wall: WallMs) -> bool:
        """Hold the own wall clock against that of the probe's leader: whether they may be near each other."""
        apart_ms, is_certain = self._holder.apart_ms(probe, now, wall)
        if apart_ms == 0:
            self._doubted_at = None
            return True
        if probe.leader == self._node_id:
            # The one clock was set between two of its readings: the gate says so.
            return False
        if self._doubted_at is None or now - self._told_at >= self._grant_ns:
            self._doubted_at, self._apart = now, self.apart(now)
        self._told_at = now
        if is_certain or self._apart or now - self._doubted_at >= self._grant_ns:
            self._apart = f"this node's wall clock is {seconds(apart_ms)} from that of leader `{probe.leader}`"
        return False

    def apart(self, now: BoottimeNs) -> str:
        """By how much the clocks differ, in words; "" as long as nothing shows that they do."""
        return self._apart if now - self._told_at < _LEASES_KNOWN * self._grant_ns else ""


def ahead(newest: WallMs, wall: WallMs) -> str:
    """The newest entry is dated ahead of a wall clock, in words."""
    return f"this node's wall clock is {seconds(wall - newest)} from the time of the newest entry"


def seconds(milliseconds: int) -> str:
    """With its sign, and to the millisecond."""
    return f"{milliseconds / 1000:+.3f} s"
