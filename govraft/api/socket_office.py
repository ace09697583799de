"""What all connections of one socket server share: the service, the rules, the limits and the counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from govraft.api.peer_credentials import PeerRules
from govraft.api.service import Service
from govraft.core.model.limits import (
    CLIENT_BUFFERED_BYTES,
    CLIENT_PIPELINE,
    CLIENTS,
    FRAME_BYTES,
    RESPONSE_BYTES,
)
from govraft.errors import InvariantViolation

__all__ = ["Connection", "Office", "SocketCounts", "SocketLimits"]


class Connection(Protocol):
    """One client, as far as the others and the server are concerned."""

    @property
    def unread_bytes(self) -> int:
        """Answers that the client has not read."""
        ...

    def sweep(self, now: float) -> None:
        """End the connection if the client is too slow. `now` is the loop's time, seconds."""
        ...

    def abort(self) -> None:
        """Drop the connection at once."""
        ...

    async def finish(self) -> None:
        """Wait until nothing of the connection runs any more. Call after `abort`."""
        ...


@dataclass(frozen=True, slots=True)
class SocketLimits:
    """What clients may use. The defaults are the limits of govraft; tests lower them.

    `frame_timeout_s` and `drain_timeout_s` say how long a begun frame may stay incomplete and a client may leave its
    answers unread. `buffered_bytes` is the budget of all clients together, each way.
    """

    clients: int = CLIENTS
    pipeline_calls: int = CLIENT_PIPELINE
    turn_calls: int = 16
    frame_bytes: int = FRAME_BYTES
    response_bytes: int = RESPONSE_BYTES
    buffered_bytes: int = CLIENT_BUFFERED_BYTES
    frame_timeout_s: float = 5.0
    drain_timeout_s: float = 5.0
    sweep_s: float = 1.0


@dataclass(slots=True)
class SocketCounts:
    """Totals since the start."""

    connections: int = 0
    refused_peers: int = 0
    refused_full: int = 0
    calls: int = 0
    malformed: int = 0
    slow_clients: int = 0
    internal_errors: int = 0


@dataclass(slots=True)
class Office:
    """What all connections of one server share.

    Attributes:
        on_error: Called with an exception that should not have happened; it is logged there.
        on_violation: Called with a broken invariant; the process must halt.
        inbound_bytes: Incomplete frames of all clients.
        congested: Clients that do not read.
    """

    service: Service
    rules: PeerRules
    node: str
    cluster: str
    limits: SocketLimits
    on_error: Callable[[Exception], None]
    on_violation: Callable[[InvariantViolation], None]
    counts: SocketCounts = field(default_factory=SocketCounts)
    connections: set[Connection] = field(default_factory=set)
    congested: set[Connection] = field(default_factory=set)
    inbound_bytes: int = 0

    def outbound_bytes(self) -> int:
        """Answers that wait for clients which do not read."""
        return sum(connection.unread_bytes for connection in self.congested)
