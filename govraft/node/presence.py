"""Who can be heard: the difference between a connection that is up and a member that is there.

A connection may end in a proxy, a load balancer or a broken route and stay up while nothing passes. So each node says
an empty word to every member a few times a lease, and counts as present only whom it has itself heard lately. What is
decided by it is which reason a denial gives, and whether a command can be brought to the leader.
"""

from __future__ import annotations

from collections.abc import Iterable

from govraft.core.convergence.timing import LeaseTiming
from govraft.core.model.units import NS_PER_MS, BoottimeNs
from govraft.node.convergence import HEARTBEATS_HEARD
from govraft.node.effects import Effects, Send

__all__ = ["PRESENCE_CHANNEL", "Presence"]

PRESENCE_CHANNEL = 4
WORDS_PER_LEASE = 3


class Presence:
    """What one node has heard of the others. Times are boot time."""

    def __init__(self, timing: LeaseTiming, heartbeat_ms: int) -> None:
        self._lease_ns = timing.lease_ms * NS_PER_MS
        self._near_ns = HEARTBEATS_HEARD * heartbeat_ms * NS_PER_MS
        self._heard: dict[str, BoottimeNs] = {}
        self._said = BoottimeNs(-self._lease_ns)

    def note(self, peer: str, now: BoottimeNs) -> None:
        """A frame of an authenticated member has arrived."""
        self._heard[peer] = now

    def is_present(self, peer: str, now: BoottimeNs) -> bool:
        """Whether that member has been heard within a lease."""
        return self._was_heard(peer, now, self._lease_ns)

    def is_near(self, peer: str, now: BoottimeNs) -> bool:
        """Whether that member has been heard within three heartbeats: a leader that can be reached has."""
        return self._was_heard(peer, now, self._near_ns)

    def _was_heard(self, peer: str, now: BoottimeNs, within_ns: int) -> bool:
        heard = self._heard.get(peer)
        return heard is not None and now - heard < within_ns

    def turn(self, peers: Iterable[str], now: BoottimeNs, effects: Effects) -> None:
        """Say a word to each of `peers`, if it is time."""
        if now - self._said >= self._lease_ns // WORDS_PER_LEASE:
            self._said = now
            effects.sends.extend(Send(peer, PRESENCE_CHANNEL, b"") for peer in peers)
