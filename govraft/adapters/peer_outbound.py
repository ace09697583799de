"""Sending to one member: dial, say hello, be welcomed, send; when the connection is lost, begin again.

=========== ============================ ===========
state       event                        next
=========== ============================ ===========
waiting     back-off over                dialling
dialling    refused, cut, timed out      waiting
dialling    welcome of the meant member  up
up          connection lost              waiting
any         its pins are gone            closed once what is queued has left
=========== ============================ ===========

Frames are accepted only while up: one sent to a link that is down is stale before it leaves. What does not fit into
the queue is dropped, newest first, so that a slow peer costs a bounded amount of memory and nobody else's time.
"""

from __future__ import annotations

import asyncio
import math
import random
import ssl
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from govraft.adapters import peer_sockets
from govraft.adapters.frames import CONTROL_CHANNEL, FrameDecoder, encode_frame
from govraft.adapters.peer_events import PeerEvent, PeerEvents
from govraft.adapters.peer_hello import HELLO_BYTES_MAX, accept_hello, encode_hello
from govraft.adapters.tls import pinned_member
from govraft.core.model.electorate import Member
from govraft.core.model.limits import PEER_QUEUE_BYTES, PEER_QUEUE_FRAMES
from govraft.errors import DecodeError, GovraftError, require

__all__ = ["OutboundLink", "OutboundStats", "Target"]

BACKOFF_MIN_S = 0.02
BACKOFF_MAX_S = 1.0
HANDSHAKE_TIMEOUT_S = 3.0
FAREWELL_S = 1.0
WRITE_BUFFER_BYTES = 256 * 1024


class OutboundStats(msgspec.Struct, frozen=True):
    """How sending to one member goes. Counters since the start of the process."""

    up: bool
    frames_sent: int
    frames_dropped: int
    queue_frames: int
    queue_bytes: int


class Target(msgspec.Struct, frozen=True):
    """How to reach one member.

    Attributes:
        pins: Its entries, of one id: two while its key or address is being changed.
        addresses: Where to dial, in turn.
    """

    pins: tuple[Member, ...]
    addresses: tuple[tuple[str, int], ...]

    @property
    def certificates(self) -> frozenset[bytes]:
        """Of the pins."""
        return frozenset(pin.certificate for pin in self.pins)

    def has_pin(self, member: Member | None) -> bool:
        """Whether a certificate that was good for `member` is good still."""
        return member is not None and member.certificate in self.certificates


class OutboundLink:
    """The sending side towards one member.

    Args:
        target: Whom to dial, and where.
        context: From `tls.client_context` for the target's pins.
        hello: Own cluster id, node id and session.
        events: Where trouble is counted.
        on_link: Told of each change between up and down; when up, with the newest rules that the member knows, else 0.
        rng: Spreads the back-off.
    """

    def __init__(
        self,
        target: Target,
        context: ssl.SSLContext,
        hello: tuple[str, str, bytes],
        events: PeerEvents,
        on_link: Callable[[str, bool, int], None],
        rng: random.Random,
    ) -> None:
        self.target = target
        self._peer_id = target.pins[0].id
        self._context = context
        self._attempts = 0
        self._is_dismissed = False
        self._cluster_id = hello[0]
        self._hello = encode_hello(*hello)
        self._events = events
        self._on_link = on_link
        self._rng = rng
        self._connection: _Connection | None = None
        self._queue: deque[bytes] = deque()
        self._queue_bytes = 0
        self._flush_scheduled = False
        self._rose_s = math.inf
        self._frames_sent = 0
        self._frames_dropped = 0

    def retarget(self, target: Target, context: ssl.SSLContext) -> None:
        """Dial by other pins or addresses from now on. A connection to a pin that is gone ends."""
        self.target, self._context, self._attempts = target, context, 0
        if self._connection is not None and not target.has_pin(self._connection.member):
            self._connection.abort()

    def dismiss(self) -> bool:
        """Take leave: what is queued still goes out, nothing more is taken. `run` ends then, by itself if this is True.

        Otherwise there was no connection, and it is to be cancelled.
        """
        connection = self._connection
        self._is_dismissed = True
        if connection is None:
            return False
        self.flush()
        self._connection = None
        self._on_link(self._peer_id, False, 0)
        connection.finish()
        asyncio.get_running_loop().call_later(FAREWELL_S, connection.abort)
        return True

    def send(self, channel: int, payload: bytes) -> bool:
        """Queue one frame; False when it was dropped.

        Raises:
            InvariantViolation: The channel is the control channel.
            LimitExceededError: The payload is over the limit.
        """
        require(channel != CONTROL_CHANNEL, "the control channel carries hello frames only")
        frame = encode_frame(channel, payload)
        if (
            self._connection is None
            or len(self._queue) >= PEER_QUEUE_FRAMES
            or self._queue_bytes + len(frame) > PEER_QUEUE_BYTES
        ):
            self._frames_dropped += 1
            if self._connection is not None:
                self._events.record(PeerEvent.FRAME_DROPPED, self._peer_id, "the peer reads too slowly")
            return False
        self._queue.append(frame)
        self._queue_bytes += len(frame)
        if not self._flush_scheduled:
            # Once a loop turn, so that the frames of one turn share a TLS record and a system call.
            self._flush_scheduled = True
            asyncio.get_running_loop().call_soon(self.flush)
        return True

    def flush(self) -> None:
        """Hand queued frames to the transport until it is full."""
        self._flush_scheduled = False
        while self._queue and self._connection is not None and self._connection.is_writable:
            chunk = [self._queue.popleft()]
            size = len(chunk[0])
            while self._queue and size + len(self._queue[0]) <= WRITE_BUFFER_BYTES:
                chunk.append(self._queue.popleft())
                size += len(chunk[-1])
            self._queue_bytes -= size
            self._frames_sent += len(chunk)
            self._connection.write(b"".join(chunk))

    def stats(self) -> OutboundStats:
        """The counters now."""
        return OutboundStats(
            up=self._connection is not None,
            frames_sent=self._frames_sent,
            frames_dropped=self._frames_dropped,
            queue_frames=len(self._queue),
            queue_bytes=self._queue_bytes,
        )

    async def run(self) -> None:
        """Keep the link up until cancelled."""
        loop = asyncio.get_running_loop()
        backoff_s = BACKOFF_MIN_S
        while not self._is_dismissed:
            self._rose_s = math.inf
            try:
                await self._run_once()
            except (OSError, GovraftError) as error:  # TLS errors and time-outs are OSErrors.
                self._events.record(PeerEvent.DIAL_FAILED, self._peer_id, str(error) or type(error).__name__)
            if self._is_dismissed:
                return
            # A peer that accepts and hangs up at once is not well: only a link that lasted resets the back-off.
            if loop.time() - self._rose_s > BACKOFF_MAX_S:
                backoff_s = BACKOFF_MIN_S
            await asyncio.sleep(backoff_s * self._rng.uniform(0.5, 1.0))
            backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)

    async def _run_once(self) -> None:
        """One connection, from dialling to its loss."""
        loop = asyncio.get_running_loop()
        addresses = self.target.addresses
        address = addresses[self._attempts % len(addresses)]
        self._attempts += 1
        raw = await peer_sockets.connect(address)
        connection = _Connection(self)
        try:
            async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
                await loop.create_connection(
                    lambda: connection,
                    sock=raw,
                    ssl=self._context,
                    server_hostname="",
                    ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S,
                )
                connection.greet(self.target.pins, self._cluster_id, self._hello)
                await connection.welcomed
            if self._is_dismissed or not self.target.has_pin(connection.member):
                return
            self._rise(connection)
            reason = await connection.lost
            self._events.record(PeerEvent.LINK_LOST, self._peer_id, reason)
        finally:
            self._fall(connection)
            raw.close()

    def _rise(self, connection: _Connection) -> None:
        self._attempts -= 1  # What has worked is tried first again.
        self._connection = connection
        self._rose_s = asyncio.get_running_loop().time()
        self._events.recovered(self._peer_id)
        self._on_link(self._peer_id, True, connection.rules)

    def _fall(self, connection: _Connection) -> None:
        connection.abort()
        self._queue.clear()
        self._queue_bytes = 0
        if self._connection is not None:
            self._connection = None
            self._on_link(self._peer_id, False, 0)


class _Connection(asyncio.Protocol):
    """One TLS connection to the member. After the welcome the other side has nothing more to say."""

    def __init__(self, link: OutboundLink) -> None:
        loop = asyncio.get_running_loop()
        self.welcomed: asyncio.Future[None] = loop.create_future()
        self.lost: asyncio.Future[str] = loop.create_future()
        self.is_writable = True
        self.member: Member | None = None
        self.rules = 0
        """Of the member's hello; 0 before it."""
        self._link = link
        self._decoder = FrameDecoder(HELLO_BYTES_MAX)
        self._transport: asyncio.Transport | None = None
        self._expected: tuple[str, str] | None = None

    def greet(self, pins: Sequence[Member], cluster_id: str, hello: bytes) -> None:
        """Check who answered, then say hello.

        Raises:
            SignatureError: It is not the member that was meant.
        """
        transport = self._open_transport()
        # The handshake trusted these certificates only. Compared again: they may have changed meanwhile.
        self.member = pinned_member(transport.get_extra_info("ssl_object"), pins)
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        self._expected = (cluster_id, self.member.id)
        transport.write(hello)

    def write(self, data: bytes) -> None:
        self._open_transport().write(data)

    def finish(self) -> None:
        """Close once everything written has gone out."""
        self._open_transport().close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a stream transport, by the protocol's kind

    def data_received(self, data: bytes) -> None:
        try:
            self._receive(data)
        except GovraftError as error:
            self._end(str(error), error)

    def pause_writing(self) -> None:
        self.is_writable = False

    def resume_writing(self) -> None:
        self.is_writable = True
        self._link.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_writable = False
        reason = str(exc) if exc else "closed by the peer"
        self._end(reason, ConnectionResetError(reason))

    def _receive(self, data: bytes) -> None:
        if self._expected is None or self.welcomed.done():
            raise DecodeError("the peer spoke out of turn")
        self._decoder.receive(data)
        frame = self._decoder.next_frame()
        if frame is None:
            return
        hello = accept_hello(frame, cluster_id=self._expected[0], node_id=self._expected[1])
        self.rules = hello.rules
        if self._decoder.buffered_bytes:
            raise DecodeError("the peer spoke out of turn")
        self.welcomed.set_result(None)

    def _end(self, reason: str, error: Exception) -> None:
        self.abort()
        if not self.welcomed.done():
            self.welcomed.set_exception(error)
            # Retrieved here: when the dialler was cancelled nobody else will.
            self.welcomed.exception()
        if not self.lost.done():
            self.lost.set_result(reason)

    def _open_transport(self) -> asyncio.Transport:
        if self._transport is None:
            raise ConnectionResetError("the connection was never made")
        return self._transport
