"""Frames between the members of a cluster, over mutually authenticated TLS 1.3.

Two simplex connections a pair: each node dials every other member to send, and accepts to receive. So no two nodes
ever negotiate whose connection survives, and a link in one direction says nothing of the other.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import socket
from collections.abc import Callable, Mapping

import msgspec

from govraft.adapters import peer_sockets
from govraft.adapters.node_key import NodeIdentity
from govraft.adapters.peer_events import PeerEvents
from govraft.adapters.peer_hello import SESSION_BYTES
from govraft.adapters.peer_inbound import InboundListener
from govraft.adapters.peer_outbound import OutboundLink, OutboundStats
from govraft.adapters.tls import client_context, server_context
from govraft.core.model.electorate import Member
from govraft.errors import InputError, InvariantViolation, require

__all__ = ["NetworkStats", "PeerNetwork"]


class NetworkStats(msgspec.Struct, frozen=True):
    """How the network goes.

    Attributes:
        outbound: Sending, by member.
        inbound: The members whose receiving link is open.
        events: Counts of `PeerEvent`.
    """

    outbound: dict[str, OutboundStats]
    inbound: frozenset[str]
    events: dict[str, int]


class PeerNetwork:
    """`ports.Peers` on TCP. Everything runs on the loop that called `start`."""

    def __init__(
        self,
        *,
        node_id: str,
        cluster_id: str,
        members: Mapping[str, Member],
        identity: NodeIdentity,
        listen: tuple[str, int],
        addresses: Mapping[str, tuple[str, int]],
        on_frame: Callable[[str, int, bytes], None],
        on_link: Callable[[str, bool], None],
        rng: random.Random,
        on_fault: Callable[[BaseException], None] | None = None,
    ) -> None:
        """Check the pieces; opens nothing yet.

        Args:
            node_id: The own node.
            cluster_id: Hex digest of the genesis.
            members: All members by node id, the own node included.
            identity: Key and certificate of the own node.
            listen: Host and port to accept on; port 0 lets the system choose. A node without peers opens nothing.
            addresses: Where to dial each other member.
            on_frame: Given each received frame: member id, channel, payload.
            on_link: Told when the sending link to a member comes up (True) or is lost (False).
            rng: Spreads the reconnects; needs no secrecy.
            on_fault: Given whatever a callback raised, `InvariantViolation` above all; the node halts then. The
                default hands it to the loop's exception handler.

        Raises:
            InputError: A member has no address, or the own certificate is not the one that others pin.
        """
        own = members.get(node_id)
        if own is None or own.certificate != identity.certificate:
            raise InputError(f"the certificate of `{node_id}` is not the one in the genesis; use the node's own key")
        peers = {peer_id: member for peer_id, member in members.items() if peer_id != node_id}
        missing = sorted(set(peers) - set(addresses))
        if missing:
            raise InputError(f"member `{missing[0]}` has no address; add it to the node's configuration")
        self._listen_address = listen
        self._on_frame = on_frame
        self._on_link = on_link
        self._on_fault = on_fault
        self._events = PeerEvents()
        self._tasks: list[asyncio.Task[None]] = []
        self._socket: socket.socket | None = None
        hello = (cluster_id, node_id, secrets.token_bytes(SESSION_BYTES))
        self._outbound = {
            peer_id: OutboundLink(
                member,
                addresses[peer_id],
                client_context(identity, member),
                hello,
                self._events,
                self._link_changed,
                rng,
            )
            for peer_id, member in peers.items()
        }
        self._inbound = (
            InboundListener(peers, server_context(identity, peers.values()), hello, self._events, self._frame_received)
            if peers
            else None
        )

    async def start(self) -> None:
        """Listen, and begin to dial.

        Raises:
            OSError: The address to listen on is taken or unknown.
        """
        require(not self._tasks, "the network was started before")
        if self._inbound is None:
            return
        self._socket = await peer_sockets.listen(self._listen_address)
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._inbound.serve(self._socket))]
        self._tasks += [loop.create_task(link.run()) for link in self._outbound.values()]
        for task in self._tasks:
            task.add_done_callback(self._task_done)

    async def stop(self) -> None:
        """Close every connection. Idempotent."""
        for task in self._tasks:
            task.cancel()
        # What a task raised was reported when it ended.
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        if self._inbound is not None:
            await self._inbound.close()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def send(self, peer_id: str, channel: int, payload: bytes) -> bool:
        """Queue one frame. See `ports.Peers.send`.

        Raises:
            LimitExceededError: The payload is over the limit: a defect of the caller, not of the network.
        """
        link = self._outbound.get(peer_id)
        return link is not None and link.send(channel, payload)

    @property
    def bound_address(self) -> tuple[str, int]:
        """Host and port that are listened on; as configured before `start`."""
        if self._socket is None:
            return self._listen_address
        host, port = self._socket.getsockname()[:2]
        return str(host), int(port)

    def stats(self) -> NetworkStats:
        """Counters and states now."""
        return NetworkStats(
            outbound={peer_id: link.stats() for peer_id, link in self._outbound.items()},
            inbound=self._inbound.connected if self._inbound is not None else frozenset(),
            events=self._events.counts,
        )

    def _frame_received(self, peer_id: str, channel: int, payload: bytes) -> None:
        try:
            self._on_frame(peer_id, channel, payload)
        except (Exception, InvariantViolation) as error:  # noqa: BLE001 - reported, and the node halts
            # Event loops take what a protocol raises for trouble with its connection, and go on.
            self._fault(error)

    def _link_changed(self, peer_id: str, is_up: bool) -> None:  # noqa: FBT001 - the link's callback
        try:
            self._on_link(peer_id, is_up)
        except (Exception, InvariantViolation) as error:  # noqa: BLE001 - reported, and the node halts
            self._fault(error)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fault(error)

    def _fault(self, error: BaseException) -> None:
        if self._on_fault is not None:
            self._on_fault(error)
            return
        context = {"message": "the peer network met a fault", "exception": error}
        asyncio.get_running_loop().call_exception_handler(context)
