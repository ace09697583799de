"""One client on the Unix socket: bytes in, answers out.

Rules:

1. Who asks now and then is answered in the loop turn in which the question arrived. Who has more waiting takes turns
   with the others (`turns`), `turn_calls` calls or `turn_s` at a time.
2. Reading stops while the client does not read (its write buffer is full), while too much of it is under way, and
   while it waits for its turn, so that a client costs a bounded amount of memory.
3. A frame that cannot be cut or decoded ends the connection with one error of id 0; a frame whose id can be read, but
   that is no call, fails that call only.
4. When all clients together hold too many bytes, the one that holds most is refused.
"""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import cast

from govraft.api.calls import Answer, Calls
from govraft.api.peer_credentials import SocketOptions, read_credentials
from govraft.api.socket_office import Office
from govraft.api.wire import Failure, FrameReader, describe_error, encode, frame
from govraft.errors import AvailabilityError, GovraftError, InputError, InvariantViolation, LimitExceededError

__all__ = ["ClientConnection"]


class ClientConnection(asyncio.Protocol):
    """The server's end of one connection."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._calls = Calls(office, self)
        self._reader = FrameReader(office.limits.frame_bytes)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._drained = asyncio.Event()
        self._drained.set()
        self._is_in_line = False
        self._is_stopped = False
        self._counted_bytes = 0
        self._partial_since: float | None = None
        self._congested_since: float | None = None

    # The transport's calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit the peer, or tell it why not and close."""
        office = self._office
        self._transport = cast("asyncio.Transport", transport)
        office.counts.connections += 1
        peer = read_credentials(cast("SocketOptions", transport.get_extra_info("socket")))
        # SAFETY: only users named in the config may ask (test_socket_server.py::test_refuses_a_peer_not_in_the_rules).
        if peer is None or not office.rules.admit(peer):
            office.counts.refused_peers += 1
            who = "unknown" if peer is None else str(peer.uid)
            self.refuse(
                AvailabilityError(f"uid {who} may not use this socket: allow it in the config", code="peer_refused")
            )
        elif len(office.connections) >= office.limits.clients:
            office.counts.refused_full += 1
            self.refuse(AvailabilityError("too many clients: close some or ask another node", code="clients_full"))
        else:
            office.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Take bytes in, and answer what they complete."""
        if self._transport is None:
            return
        self._reader.feed(data)
        if self._is_in_line:
            return
        if self._office.turns.has_room():
            self._take_turn()
        else:
            self._stand_in_line()

    def pause_writing(self) -> None:
        """The client does not read: stop answering until it does."""
        self._drained.clear()
        self._congested_since = self._loop.time()
        self._office.congested.add(self)

    def resume_writing(self) -> None:
        """The client reads again."""
        self._drained.set()
        self._congested_since = None
        self._office.congested.discard(self)
        self._stand_in_line()

    def eof_received(self) -> bool:
        """A client that closes its sending half wants no more answers."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client, and whatever it still waited for."""
        del exc
        self._leave()
        self._calls.cancel()

    # What the server and the other connections ask for.

    @property
    def held_bytes(self) -> int:
        """Bytes that the client has sent, and that are not dealt with yet."""
        return self._counted_bytes

    @property
    def unread_bytes(self) -> int:
        """Answers that the client has not read."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    @property
    def is_busy(self) -> bool:
        """Whether anything that was sent is still to be answered."""
        return self._is_in_line or bool(self._calls.under_way)

    def sweep(self, now: float) -> None:
        """End the connection if the client is too slow. `now` is the loop's time, seconds."""
        limits = self._office.limits
        if self._congested_since is not None and now - self._congested_since > limits.drain_timeout_s:
            self._abort_slow()
        elif self._partial_since is not None and now - self._partial_since > limits.frame_timeout_s:
            self._office.counts.slow_clients += 1
            self.refuse(InputError("incomplete frame: send each frame whole", code="frame_timeout"))

    def refuse(self, error: GovraftError) -> None:
        """Say why, once, and close."""
        self.send(Failure(0, describe_error(error)))
        if self._transport is not None:
            self._transport.close()
        self._leave()

    def abort(self) -> None:
        """Drop the connection at once."""
        if self._transport is not None:
            self._transport.abort()
        self._leave()

    async def finish(self) -> None:
        """Wait until nothing of the connection runs any more. Call after `abort`."""
        self._calls.cancel()
        await asyncio.gather(*self._calls.under_way, return_exceptions=True)

    # Reading.

    def _stand_in_line(self) -> None:
        if self._transport is not None and not self._is_in_line:
            self._is_in_line = True
            self._transport.pause_reading()
            self._office.turns.request(self._called_up)

    def _called_up(self) -> None:
        self._is_in_line = False
        if self._transport is not None:
            self._take_turn()

    def _take_turn(self) -> None:
        """Answer a few calls, then let others have their turn."""
        limits, waiting, self._is_stopped = self._office.limits, False, False
        end = perf_counter() + limits.turn_s
        try:
            for _ in range(limits.turn_calls):
                if self._transport is None:
                    return
                if not self._drained.is_set() or self._calls.is_full:
                    # Taken up again by `resume_writing` or by `call_ended`.
                    self._is_stopped = True
                    self._transport.pause_reading()
                    break
                payload = self._reader.next_frame()
                if payload is None:
                    waiting = True
                    self._transport.resume_reading()
                    break
                self._partial_since = None
                self._calls.answer(payload)
                if perf_counter() > end or not self._office.turns.has_room():
                    self._stand_in_line()
                    break
            else:
                self._stand_in_line()
        except InputError as error:
            self._office.counts.malformed += 1
            self.refuse(error)
        except InvariantViolation as violation:
            self.halt(violation)
        except Exception:
            # Its answer is lost, and it may never be read from again: better that the client knows.
            self.abort()
            raise
        else:
            self._account(waiting=waiting)

    def _account(self, *, waiting: bool) -> None:
        partial = self._reader.buffered_bytes
        self._count_bytes()
        if not waiting or partial == 0:
            self._partial_since = None
        elif self._partial_since is None:
            self._partial_since = self._loop.time()
        if self._office.inbound_bytes > self._office.limits.buffered_bytes:
            self._relieve()

    def _count_bytes(self) -> None:
        held = self._reader.buffered_bytes + self._calls.held_bytes
        self._office.inbound_bytes += held - self._counted_bytes
        self._counted_bytes = held

    def _relieve(self) -> None:
        """Refuse the client that holds most; it may be another one than the last that sent something."""
        largest = max(self._office.connections, key=lambda item: (item.held_bytes, item is self), default=self)
        self._office.counts.refused_busy += 1
        largest.refuse(AvailabilityError("too many bytes in flight: try again later", code="node_busy"))

    # What the calls ask for.

    def send(self, answer: Answer) -> None:
        """Send one answer, unless the client is gone."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        payload = encode(answer)
        if len(payload) > self._office.limits.response_bytes:
            raise LimitExceededError("the answer is too large: ask for less at a time", code="response_too_large")
        transport.write(frame(payload))
        if self._congested_since is not None and self._office.outbound_bytes() > self._office.limits.buffered_bytes:
            self._abort_slow()

    async def drained(self) -> None:
        """Return when the client has read most of what it was sent."""
        await self._drained.wait()

    def call_ended(self) -> None:
        """Take up reading again, if it had stopped for what was under way."""
        if self._transport is not None:
            self._count_bytes()
            if self._is_stopped:
                self._stand_in_line()

    def halt(self, violation: InvariantViolation) -> None:
        """Drop the connection and hand on the broken invariant."""
        self.abort()
        self._office.on_violation(violation)

    # Ending.

    def _abort_slow(self) -> None:
        self._office.counts.slow_clients += 1
        self.abort()

    def _leave(self) -> None:
        self._transport = None
        self._partial_since = self._congested_since = None
        self._office.inbound_bytes -= self._counted_bytes
        self._counted_bytes = 0
        # At once: the connection itself may live on until the next collection of cycles.
        self._reader.drop()
        self._office.connections.discard(self)
        self._office.congested.discard(self)
        self._drained.set()
