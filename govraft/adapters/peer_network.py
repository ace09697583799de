"""Frames between the members of a cluster, over mutually authenticated TLS 1.3.

Two simplex connections a pair: each node dials every other member to send, and accepts to receive. So no two nodes
ever negotiate whose connection survives, and a link in one direction says nothing of the other.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import socket
from collections.abc import Callable, Coroutine, Sequence

import msgspec

from govraft.adapters import peer_sockets
from govraft.adapters.node_key import NodeIdentity
from govraft.adapters.peer_events import PeerEvent, PeerEvents
from govraft.adapters.peer_hello import SESSION_BYTES
from govraft.adapters.peer_inbound import InboundListener
from govraft.adapters.peer_outbound import OutboundLink, OutboundStats, Target
from govraft.adapters.tls import client_context, server_context
from govraft.core.model.electorate import Member
from govraft.errors import InputError, InvariantViolation, require

__all__ = ["NetworkStats", "PeerNetwork"]

LISTEN_PAUSE_S = 1.0


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
        members: Sequence[Member],
        identity: NodeIdentity,
        listen: tuple[str, int],
        address_of: Callable[[Member], tuple[str, int] | None],
        on_frame: Callable[[str, int, bytes], None],
        on_link: Callable[[str, bool, int], None],
        rng: random.Random,
        on_fault: Callable[[BaseException], None] | None = None,
    ) -> None:
        """Take the pieces; opens nothing yet.

        Args:
            node_id: The own node.
            cluster_id: Hex digest of the genesis.
            members: See `set_members`.
            identity: Key and certificate of the own node.
            listen: Host and port to accept on; port 0 lets the system choose. A node without peers opens nothing.
            address_of: Where to dial a member; None if it cannot be dialled.
            on_frame: Given each received frame: member id, channel, payload.
            on_link: Told when the sending link to a member comes up (True) or is lost (False), and by which newest
                rules the member can apply, 0 when lost.
            rng: Spreads the reconnects; needs no secrecy.
            on_fault: Given whatever a callback raised, `InvariantViolation` above all; the node halts then. The
                default hands it to the loop's exception handler.
        """
        self._node_id = node_id
        self._identity = identity
        self._listen_address = listen
        self._address_of = address_of
        self._on_frame = on_frame
        self._on_link = on_link
        self._on_fault = on_fault
        self._rng = rng
        self._events = PeerEvents()
        self._is_started = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._socket: socket.socket | None = None
        self._hello = (cluster_id, node_id, secrets.token_bytes(SESSION_BYTES))
        self._targets: dict[str, Target] = {}
        self._outbound: dict[str, OutboundLink] = {}
        self._dialling: dict[str, asyncio.Task[None]] = {}
        self._serving: asyncio.Task[None] | None = None
        self._inbound = InboundListener(self._hello, self._events, self._frame_received)
        self.set_members(members)

    async def start(self) -> None:
        """Listen, and begin to dial.

        Raises:
            OSError: The address to listen on is taken or unknown.
        """
        require(not self._is_started, "the network was started before")
        if self._inbound.members:
            self._socket = await peer_sockets.listen(self._listen_address)
        self._is_started = True
        self._begin()

    async def stop(self) -> None:
        """Close every connection. Idempotent."""
        self._is_started = False
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        # What a task raised was reported when it ended.
        await asyncio.gather(*tasks, return_exceptions=True)
        self._dialling.clear()
        self._serving = None
        await self._inbound.close()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def set_members(self, members: Sequence[Member]) -> None:
        """Speak with exactly these members from now on. See `ports.Peers.set_members`."""
        peers = [member for member in members if member.id != self._node_id and self._is_usable(member)]
        self._inbound.set_members(peers, server_context(self._identity, peers) if peers else None)
        found = {peer.id: self._target(peer.id, peers) for peer in peers}
        self._targets = {peer_id: target for peer_id, target in found.items() if target is not None}
        for peer_id in self._outbound.keys() - self._targets.keys():
            # Not at once: what the caller sends in the same turn is the last that a removed member hears, and tells it.
            asyncio.get_running_loop().call_soon(self._dismiss, peer_id)
        for peer_id, target in self._targets.items():
            link = self._outbound.get(peer_id)
            context = client_context(self._identity, *target.pins)
            if link is None:
                self._outbound[peer_id] = OutboundLink(
                    target, context, self._hello, self._events, self._link_changed, self._rng
                )
            elif (link.target.certificates, link.target.addresses) != (target.certificates, target.addresses):
                link.retarget(target, context)
        if self._is_started:
            self._begin()

    def _is_usable(self, member: Member) -> bool:
        """Whether TLS takes the member's certificate: one that it does not take must not cost the other members."""
        try:
            client_context(self._identity, member)
        except InputError as error:
            self._events.record(PeerEvent.MEMBER_UNUSABLE, member.id, str(error))
            return False
        return True

    def _target(self, peer_id: str, peers: Sequence[Member]) -> Target | None:
        pins = tuple(peer for peer in peers if peer.id == peer_id)
        # The newest first: that is where a member is after its address was changed.
        found = [self._address_of(pin) for pin in reversed(pins)]
        addresses = tuple(dict.fromkeys(address for address in found if address is not None))
        if not addresses:
            self._events.record(PeerEvent.MEMBER_UNUSABLE, peer_id, f"`{pins[-1].address[:100]}` is no address")
            return None
        return Target(pins, addresses)

    def _begin(self) -> None:
        """Start what does not run yet."""
        if self._inbound.members and self._serving is None:
            self._serving = self._spawn(self._serve())
        for peer_id, link in self._outbound.items():
            if peer_id not in self._dialling:
                self._dialling[peer_id] = self._spawn(link.run())

    def _dismiss(self, peer_id: str) -> None:
        if peer_id in self._targets or peer_id not in self._outbound:
            return
        is_leaving = self._outbound.pop(peer_id).dismiss()
        task = self._dialling.pop(peer_id, None)
        if task is not None and not is_leaving:
            task.cancel()

    async def _serve(self) -> None:
        while self._socket is None:
            # The first peer of a node that had none.
            try:
                self._socket = await peer_sockets.listen(self._listen_address)
            except OSError as error:
                self._events.record(PeerEvent.ACCEPT_FAILED, "", str(error))
                await asyncio.sleep(LISTEN_PAUSE_S)
        await self._inbound.serve(self._socket)

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

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
            inbound=self._inbound.connected,
            events=self._events.counts,
        )

    def _frame_received(self, peer_id: str, channel: int, payload: bytes) -> None:
        try:
            self._on_frame(peer_id, channel, payload)
        except (Exception, InvariantViolation) as error:  # noqa: BLE001 - reported, and the node halts
            # Event loops take what a protocol raises for trouble with its connection, and go on.
            self._fault(error)

    def _link_changed(self, peer_id: str, is_up: bool, rules: int) -> None:  # noqa: FBT001 - the link's callback
        try:
            self._on_link(peer_id, is_up, rules)
        except (Exception, InvariantViolation) as error:  # noqa: BLE001 - reported, and the node halts
            self._fault(error)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fault(error)

    def _fault(self, error: BaseException) -> None:
        if self._on_fault is not None:
            self._on_fault(error)
            return
        context = {"message": "the peer network met a fault", "exception": error}
        asyncio.get_running_loop().call_exception_handler(context)
