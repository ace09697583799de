"""What all connections of one socket server share: the service, the rules, the limits, the line and the counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from govraft.api.peer_credentials import PeerRules
from govraft.api.service import Service
from govraft.api.waits import Waits
from govraft.core.model.limits import (
    CLIENT_BUFFERED_BYTES,
    CLIENT_PIPELINE,
    CLIENTS,
    FRAME_BYTES,
    RESPONSE_BYTES,
)
from govraft.core.model.verdict import Deny
from govraft.errors import GovraftError, InvariantViolation
from govraft.turns import Turns

__all__ = ["Connection", "Office", "OnDenial", "SocketCounts", "SocketLimits", "ignore_denial"]


OnDenial = Callable[[Deny, "bytes | None", str], None]
"""Called with a denial, the request's bytes if they can be read, and why it was made here: `edge` or `withdrawn`."""


def ignore_denial(denial: Deny, request: bytes | None, source: str) -> None:
    """Record nothing."""


class Connection(Protocol):
    """One client, as far as the others and the server are concerned."""

    @property
    def held_bytes(self) -> int:
        """Bytes that the client has sent, and that are not dealt with yet."""
        ...

    @property
    def unread_bytes(self) -> int:
        """Answers that the client has not read."""
        ...

    def sweep(self, now: float) -> None:
        """End the connection if the client is too slow. `now` is the loop's time, seconds."""
        ...

    def refuse(self, error: GovraftError) -> None:
        """Say why, once, and close."""
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

    `turn_calls` and `turn_s` are what a client gets before the next one's turn, `loop_s` and `loop_submits` what all of
    them get in one turn of the loop. A client's calls under way are bounded by `pipeline_calls`, `held_bytes` (passed
    by at most one frame), `client_batches` and `client_watches`; `waiting_calls` and `waiting_bytes` bound all checks
    that wait for a certificate.
    """

    clients: int = CLIENTS
    pipeline_calls: int = CLIENT_PIPELINE
    turn_calls: int = 16
    turn_s: float = 0.001
    loop_s: float = 0.005
    loop_submits: int = 4
    held_bytes: int = FRAME_BYTES
    client_batches: int = 2
    client_watches: int = 16
    watches: int = CLIENTS
    waiting_calls: int = 2_048
    waiting_bytes: int = 1024 * 1024
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
    refused_busy: int = 0
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
        on_denial: Told of each denial that the service did not give.
        inbound_bytes: Incomplete frames, and calls under way, of all clients.
        congested: Clients that do not read.
        watches: Subscriptions of all clients.
        turns: Whose turn it is.
        waits: The checks that wait for a certificate.
    """

    service: Service
    rules: PeerRules
    node: str
    cluster: str
    limits: SocketLimits
    on_error: Callable[[Exception], None]
    on_violation: Callable[[InvariantViolation], None]
    on_denial: OnDenial = ignore_denial
    counts: SocketCounts = field(default_factory=SocketCounts)
    connections: set[Connection] = field(default_factory=set)
    congested: set[Connection] = field(default_factory=set)
    inbound_bytes: int = 0
    watches: int = 0
    turns: Turns = field(init=False)
    waits: Waits = field(init=False)

    def __post_init__(self) -> None:
        self.turns = Turns(self.limits.loop_s, self.limits.loop_submits)
        self.waits = Waits(self.limits.waiting_calls, self.limits.waiting_bytes)

    def outbound_bytes(self) -> int:
        """Answers that wait for clients which do not read."""
        return sum(connection.unread_bytes for connection in self.congested)
