"""A node speaking for itself: signed messages to members, on the channel of convergence."""

from __future__ import annotations

from govraft.core.convergence.messages import Kind, Sign, sign
from govraft.node.effects import Effects, Send

__all__ = ["Voice"]


class Voice:
    """Signs and addresses what one node says.

    Args:
        node_id: This node.
        cluster: 32-byte cluster digest.
        signing: Signs with the node's key.
        channel: Of convergence.
    """

    def __init__(self, node_id: str, cluster: bytes, signing: Sign, channel: int) -> None:
        self._node_id, self._cluster, self._signing, self._channel = node_id, cluster, signing, channel

    def send(self, peer: str, kind: Kind, body: bytes, effects: Effects) -> None:
        """Say something to a member."""
        signed = sign(kind, body, signer=self._node_id, cluster=self._cluster, signing=self._signing)
        effects.sends.append(Send(peer, self._channel, signed.encode()))
