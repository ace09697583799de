"""Frames to the other members of the cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from govraft.core.model.electorate import Member

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

    def set_members(self, members: Sequence[Member]) -> None:
        """Speak with exactly these members from now on.

        Whoever is new is dialled and accepted. Whoever is gone is sent what was queued for it, then cut off, and
        refused from then on.

        Args:
            members: All of them, this node too if it is one. An id may occur twice, with two certificates, while a
                rotation is under way: then either comes as that id.
        """
        ...
