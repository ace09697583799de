"""What goes wrong between peers: counted each time, logged once until the peer is well again."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum

import structlog

__all__ = ["PeerEvent", "PeerEvents"]


class PeerEvent(StrEnum):
    """Why a connection was not made, was closed, or a frame was dropped."""

    ACCEPT_FAILED = "accept_failed"
    ADMISSION_EVICTED = "admission_evicted"
    ADMISSION_TIMED_OUT = "admission_timed_out"
    DIAL_FAILED = "dial_failed"
    FRAME_DROPPED = "frame_dropped"
    FRAME_MALFORMED = "frame_malformed"
    HANDSHAKE_FAILED = "handshake_failed"
    HELLO_REFUSED = "hello_refused"
    LINK_LOST = "link_lost"
    LINK_REPLACED = "link_replaced"
    MEMBER_UNUSABLE = "member_unusable"


class PeerEvents:
    """Counters, and a log that a stranger at the port cannot fill."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._logged: set[tuple[PeerEvent, str]] = set()
        self._log = structlog.get_logger("govraft.peers")

    @property
    def counts(self) -> dict[str, int]:
        """How often each event happened; absent for never."""
        return dict(self._counts)

    def record(self, event: PeerEvent, peer: str, detail: str) -> None:
        """Count `event`; log it unless the same happened with `peer` since its last recovery.

        Args:
            event: What happened.
            peer: An authenticated or dialled member, or "" for anyone else: never a name that a stranger chose.
            detail: One line for people.
        """
        self._counts[event.value] += 1
        if (event, peer) not in self._logged:
            self._logged.add((event, peer))
            self._log.warning("peer_trouble", trouble=event.value, peer=peer, detail=detail[:300])

    def recovered(self, peer: str) -> None:
        """Log the next trouble with `peer` again."""
        self._logged = {key for key in self._logged if key[1] != peer}
