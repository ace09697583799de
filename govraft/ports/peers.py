"""Frames to the other members of the cluster."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Peers"]


class Peers(Protocol):
    """Sends frames to authenticated members, at most once each, in order while one link lasts."""

    def send(self, peer_id: str, channel: int, payload: bytes) -> bool:
        """Queue one frame for `peer_id`. Never blocks.

        Args:
            peer_id: Another member of the cluster.
            channel: 0 to 254; which part of the node the payload is for.
            payload: At most `FRAME_BYTES` - 1 bytes.

        Returns:
            False when the frame was dropped: unknown peer, link down, or its queue full. True promises nothing more
            than that the frame was queued: a frame may still be lost with its link.

        Raises:
            LimitExceededError: The payload is over the limit, which the caller must not let happen.
        """
        ...
