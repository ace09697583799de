"""One client on the Unix socket: bytes in, answers out.

Rules:

1. A check that the service answers at once is answered in the loop turn in which it arrived.
2. Reading stops while the client does not read (its write buffer is full), while its pipeline is full, and after each
   `turn_calls` calls, so that one client delays the node and the others by a few checks only.
3. A frame that cannot be cut or decoded ends the connection with one error of id 0; a frame whose id can be read, but
   that is no call, fails that call only.
4. Whatever goes wrong while deciding becomes a `Deny`. An `InvariantViolation` is answered by nothing: it is handed on,
   and the process halts.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVarTuple, cast

import msgspec

from govraft.api.batch import Batch
from govraft.api.decisions import Decisions
from govraft.api.peer_credentials import SocketOptions, read_credentials
from govraft.api.socket_office import Office
from govraft.api.wire import (
    MALFORMED_ERRORS,
    PROTOCOL,
    BatchCall,
    Call,
    CheckCall,
    EventFrame,
    Failure,
    FrameReader,
    Hello,
    HelloCall,
    ReadCall,
    SubmitCall,
    Success,
    WireError,
    call_id_of,
    decode_call,
    describe_error,
    encode,
    frame,
    one_line,
    request_digest,
)
from govraft.core.model.limits import BATCH_CHECKS
from govraft.core.model.verdict import Verdict
from govraft.errors import AvailabilityError, GovraftError, InputError, InvariantViolation, LimitExceededError

__all__ = ["ClientConnection"]

_batch_decoder = msgspec.msgpack.Decoder(list[msgspec.Raw])

Args = TypeVarTuple("Args")


class ClientConnection(asyncio.Protocol):
    """The server's end of one connection."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._decisions = Decisions(office.service, self._report)
        self._reader = FrameReader(office.limits.frame_bytes)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._tasks: set[asyncio.Future[Any]] = set()
        self._drained = asyncio.Event()
        self._drained.set()
        self._turn_scheduled = False
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
            self._refuse(
                AvailabilityError(f"uid {who} may not use this socket: allow it in the config", code="peer_refused")
            )
        elif len(office.connections) >= office.limits.clients:
            office.counts.refused_full += 1
            self._refuse(AvailabilityError("too many clients: close some or ask another node", code="clients_full"))
        else:
            office.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Take bytes in, and answer what they complete."""
        if self._transport is None:
            return
        self._reader.feed(data)
        if not self._turn_scheduled:
            self._take_turn()

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
        self._schedule_turn()

    def eof_received(self) -> bool:
        """A client that closes its sending half wants no more answers."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client, and whatever it still waited for."""
        del exc
        self._leave()
        for task in self._tasks:
            task.cancel()

    # What the server asks for.

    @property
    def unread_bytes(self) -> int:
        """Answers that the client has not read."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def sweep(self, now: float) -> None:
        """End the connection if the client is too slow. `now` is the loop's time, seconds."""
        limits = self._office.limits
        if self._congested_since is not None and now - self._congested_since > limits.drain_timeout_s:
            self._abort_slow()
        elif self._partial_since is not None and now - self._partial_since > limits.frame_timeout_s:
            self._office.counts.slow_clients += 1
            self._refuse(InputError("incomplete frame: send each frame whole", code="frame_timeout"))

    def abort(self) -> None:
        """Drop the connection at once."""
        if self._transport is not None:
            self._transport.abort()
        self._leave()

    async def finish(self) -> None:
        """Wait until nothing of the connection runs any more. Call after `abort`."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # Reading.

    def _blocked(self) -> bool:
        return not self._drained.is_set() or len(self._tasks) >= self._office.limits.pipeline_calls

    def _schedule_turn(self) -> None:
        if self._transport is not None and not self._turn_scheduled:
            self._turn_scheduled = True
            self._transport.pause_reading()
            self._loop.call_soon(self._scheduled_turn)

    def _scheduled_turn(self) -> None:
        self._turn_scheduled = False
        if self._transport is not None:
            self._take_turn()

    def _take_turn(self) -> None:
        """Answer up to `turn_calls` calls, then let others run."""
        waiting = False
        try:
            for _ in range(self._office.limits.turn_calls):
                if self._transport is None:
                    return
                if self._blocked():
                    # Taken up again by `resume_writing` or by the end of a task.
                    self._transport.pause_reading()
                    break
                payload = self._reader.next_frame()
                if payload is None:
                    waiting = True
                    self._transport.resume_reading()
                    break
                self._partial_since = None
                self._answer(payload)
            else:
                self._schedule_turn()
        except InputError as error:
            self._office.counts.malformed += 1
            self._refuse(error)
        except InvariantViolation as violation:
            self._halt(violation)
        else:
            self._account(waiting=waiting)

    def _account(self, *, waiting: bool) -> None:
        office, held = self._office, self._reader.buffered_bytes
        office.inbound_bytes += held - self._counted_bytes
        self._counted_bytes = held
        if not waiting or held == 0:
            self._partial_since = None
        elif self._partial_since is None:
            self._partial_since = self._loop.time()
        if office.inbound_bytes > office.limits.buffered_bytes:
            self._refuse(AvailabilityError("too many bytes in flight: try again later", code="node_busy"))

    # Answering.

    def _answer(self, payload: bytes) -> None:
        self._office.counts.calls += 1
        try:
            call = decode_call(payload)
        except InputError as error:
            call_id = call_id_of(payload)
            if call_id is None:
                raise
            self._office.counts.malformed += 1
            self._fail(call_id, error)
            return
        if type(call) is CheckCall:
            self._check(call)
        else:
            self._answer_slower(call)

    def _answer_slower(self, call: Call) -> None:
        if isinstance(call, BatchCall):
            self._start(call.id, self._check_many, call)
        elif isinstance(call, SubmitCall):
            self._start(call.id, self._submit, call)
        elif isinstance(call, ReadCall):
            self._read(call)
        elif isinstance(call, HelloCall):
            self._succeed(call.id, Hello(protocol=PROTOCOL, node=self._office.node, cluster=self._office.cluster))
        else:
            self._start(call.id, self._watch, call.id)

    def _check(self, call: CheckCall) -> None:
        digest = request_digest(call.request)
        verdict = self._decisions.decide(call.request, call.at_least, explain=call.explain)
        if isinstance(verdict, asyncio.Future):
            self._tasks.add(verdict)
            verdict.add_done_callback(functools.partial(self._checked, call.id, digest))
        else:
            self._succeed(call.id, verdict, digest)

    def _checked(self, call_id: int, digest: bytes, verdict: asyncio.Future[Verdict]) -> None:
        self._finished(verdict)
        try:
            self._succeed(call_id, self._decisions.settle(verdict), digest)
        except InvariantViolation as violation:
            self._halt(violation)

    async def _check_many(self, call: BatchCall) -> None:
        try:
            # Cutting the array into raw items does not look into them. Bytes that are no msgpack fail the whole batch:
            # where one item ends and the next begins would be a guess.
            msgspec.msgpack.decode(call.requests)
            requests = _batch_decoder.decode(call.requests)
        except MALFORMED_ERRORS as error:
            raise InputError(f"`requests` is not an array of requests: {one_line(str(error))}") from error
        if len(requests) > BATCH_CHECKS:
            raise LimitExceededError(f"{len(requests)} requests: send at most {BATCH_CHECKS} at a time")
        batch = Batch(self._decisions, self._office, requests, at_least=call.at_least, explain=call.explain)
        self._succeed(call.id, await batch.decide(), request_digest(call.requests))

    async def _submit(self, call: SubmitCall) -> None:
        timeout_s = call.timeout_ms / 1000
        receipt = await self._office.service.submit(
            call.envelope, wait=call.wait, timeout_s=timeout_s, retry=call.retry
        )
        self._succeed(call.id, receipt, request_digest(call.envelope))

    def _read(self, call: ReadCall) -> None:
        try:
            found = self._office.service.read(call.what, call.params)
        except Exception as error:  # noqa: BLE001 - reported, and the call fails
            self._fail(call.id, error)
            return
        if inspect.isawaitable(found):
            self._start(call.id, self._read_later, call.id, asyncio.ensure_future(found))
        else:
            self._succeed(call.id, found)

    async def _read_later(self, call_id: int, found: asyncio.Future[object]) -> None:
        self._succeed(call_id, await found)

    async def _watch(self, call_id: int) -> None:
        self._succeed(call_id, None)
        events = self._office.service.subscribe()
        try:
            async for event in events:
                await self._drained.wait()
                self._send(EventFrame(call_id, event))
        finally:
            close = getattr(events, "aclose", None)
            if close is not None:
                await close()
        self._fail(call_id, AvailabilityError("the node ended the watch", code="watch_ended"))

    def _start(self, call_id: int, work: Callable[[*Args], Awaitable[None]], *args: *Args) -> None:
        task = self._loop.create_task(self._guarded(call_id, work, *args))
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    async def _guarded(self, call_id: int, work: Callable[[*Args], Awaitable[None]], *args: *Args) -> None:
        try:
            await work(*args)
        except InvariantViolation as violation:
            self._halt(violation)
        except Exception as error:  # noqa: BLE001 - reported, and the call fails
            self._fail(call_id, error)

    def _finished(self, task: asyncio.Future[Any]) -> None:
        self._tasks.discard(task)
        if self._reader.buffered_bytes or len(self._tasks) + 1 >= self._office.limits.pipeline_calls:
            self._schedule_turn()

    # Writing.

    def _succeed(self, call_id: int, result: object, digest: bytes = b"") -> None:
        try:
            self._send(Success(call_id, result, digest))
        except GovraftError as error:
            self._report(error)
            self._fail(call_id, error)

    def _fail(self, call_id: int, error: Exception) -> None:
        if isinstance(error, GovraftError):
            described = describe_error(error)
        else:
            self._report(error)
            described = WireError("internal_error", "the node failed: see its log", definite=False)
        self._send(Failure(call_id, described))

    def _send(self, answer: Success | Failure | EventFrame) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        payload = encode(answer)
        if len(payload) > self._office.limits.response_bytes:
            raise LimitExceededError("the answer is too large: ask for less at a time", code="response_too_large")
        transport.write(frame(payload))
        if self._congested_since is not None and self._office.outbound_bytes() > self._office.limits.buffered_bytes:
            self._abort_slow()

    def _report(self, error: Exception) -> None:
        self._office.counts.internal_errors += 1
        self._office.on_error(error)

    # Ending.

    def _refuse(self, error: GovraftError) -> None:
        """Say why, once, and close."""
        self._send(Failure(0, describe_error(error)))
        if self._transport is not None:
            self._transport.close()
        self._leave()

    def _abort_slow(self) -> None:
        self._office.counts.slow_clients += 1
        self.abort()

    def _halt(self, violation: InvariantViolation) -> None:
        self.abort()
        self._office.on_violation(violation)

    def _leave(self) -> None:
        self._transport = None
        self._partial_since = self._congested_since = None
        self._office.inbound_bytes -= self._counted_bytes
        self._counted_bytes = 0
        self._office.connections.discard(self)
        self._office.congested.discard(self)
        self._drained.set()
