"""What becomes of each call of one client: answered at once, in pieces, or later.

Rules:

1. A check that the service answers at once is answered before this returns.
2. A `check_many` is decided in pieces, one a turn; a client has few of them under way at a time.
3. What is under way counts, in calls and in bytes, against what the client may have under way.
4. Whatever goes wrong while deciding becomes a `Deny`. An `InvariantViolation` is answered by nothing: it is handed on.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVarTuple

import msgspec

from govraft.api.batch import Batch, split_requests
from govraft.api.decisions import Decisions
from govraft.api.greeting import FEATURES, PROTOCOLS, Hello, Hello2, HelloCall, choose_protocol
from govraft.api.host_clock import read_boot_id, read_boottime
from govraft.api.signed_calls import AuthorizeCall, RedeemCall, SignedCheckCall
from govraft.api.socket_office import Office
from govraft.api.wire import (
    BatchCall,
    Call,
    CheckCall,
    EventFrame,
    Failure,
    ReadCall,
    SubmitCall,
    Success,
    WatchCall,
    WireError,
    call_id_of,
    decode_call,
    decode_request,
    describe_error,
    request_digest,
)
from govraft.core.model.limits import AUTHORIZATIONS_OF_ONE
from govraft.core.model.verdict import Allow, Verdict
from govraft.errors import AvailabilityError, GovraftError, InputError, InvariantViolation

__all__ = ["Answer", "Calls", "Line"]

Answer = Success | Failure | EventFrame

Args = TypeVarTuple("Args")


class Line(Protocol):
    """The connection, as far as answering is concerned."""

    def send(self, answer: Answer) -> None:
        """Send one answer.

        Raises:
            GovraftError: It cannot be sent; another one can.
        """
        ...

    async def drained(self) -> None:
        """Return when the client has read most of what it was sent."""
        ...

    def call_ended(self) -> None:
        """Something that was under way is answered: there may be room for more."""
        ...

    def halt(self, violation: InvariantViolation) -> None:
        """Hand on a broken invariant."""
        ...


class Calls:
    """Answers the calls of one client."""

    def __init__(self, office: Office, line: Line) -> None:
        self._office = office
        self._line = line
        self._decisions = Decisions(office.service, self.report, office.waits, office.node, office.on_denial)
        self._loop = asyncio.get_running_loop()
        self._batches = 0
        self._watches = 0
        self._signing = 0
        self.under_way: dict[asyncio.Future[Any], int] = {}
        self.held_bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether no more may be under way."""
        limits = self._office.limits
        return (
            len(self.under_way) >= limits.pipeline_calls
            or self.held_bytes >= limits.held_bytes
            or self._batches >= limits.client_batches
        )

    def cancel(self) -> None:
        """The client is gone: nothing is wanted any more."""
        for task in list(self.under_way):
            task.cancel()

    def answer(self, payload: bytes) -> None:
        """Answer the call in one frame, now or later.

        Raises:
            InputError: It is no call, and does not say which one fails.
        """
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
            self._check(call, len(payload))
        else:
            self._answer_slower(call, len(payload))

    def report(self, error: Exception) -> None:
        """Count and log what should not have happened."""
        self._office.counts.internal_errors += 1
        self._office.on_error(error)

    # One method for each operation.

    def _answer_slower(self, call: Call, size: int) -> None:
        if isinstance(call, BatchCall):
            self._batches += 1
            self._start(call.id, size, self._check_many, call)
        elif isinstance(call, SubmitCall):
            # Its signatures are verified in one go.
            self._office.turns.charge()
            self._start(call.id, size, self._submit, call)
        elif isinstance(call, ReadCall):
            self._read(call, size)
        elif isinstance(call, SignedCheckCall | AuthorizeCall | RedeemCall):
            # It signs, and may make others sign.
            self._office.turns.charge()
            self._begin_signing(call, size)
        elif isinstance(call, HelloCall):
            self._greet(call)
        elif isinstance(call, WatchCall):
            self._begin_watch(call, size)
        else:
            self._check(call, size)

    def _greet(self, call: HelloCall) -> None:
        node, cluster = self._office.node, self._office.cluster
        protocol = choose_protocol(call.protocols)
        if protocol is None:
            known = " and ".join(map(str, PROTOCOLS))
            message = f"this node speaks protocol {known}, the client neither: upgrade the older one"
            self._fail(call.id, AvailabilityError(message, code="protocol_unsupported"))
        elif protocol == 1:
            self._succeed(call.id, Hello(protocol, node, cluster))
        else:
            hello = Hello2(protocol, node, cluster, list(FEATURES), read_boot_id(), read_boottime())
            self._succeed(call.id, hello)

    def _check(self, call: CheckCall, size: int) -> None:
        digest = request_digest(call.request)
        verdict = self._decisions.decide(call.request, call.at_least, explain=call.explain)
        if isinstance(verdict, asyncio.Future):
            self._hold(verdict, size)
            verdict.add_done_callback(functools.partial(self._checked, call.id, digest))
        else:
            self._succeed(call.id, verdict, digest)

    def _checked(self, call_id: int, digest: bytes, verdict: asyncio.Future[Verdict]) -> None:
        self._ended(verdict)
        try:
            self._succeed(call_id, self._still(self._decisions.settle(verdict)), digest)
        except InvariantViolation as violation:
            self._line.halt(violation)

    def _still(self, verdict: Verdict) -> Verdict:
        """What waited, if it is what the node would say at this moment."""
        # SAFETY: between a decision that waited and its answer the loop has turned: what leaves then is as true as what
        # is answered at once (test_review_of_turns.py::test_an_allow_that_waited_is_still_given_when_it_leaves).
        if isinstance(verdict, Allow) and not self._office.service.holds(verdict):
            message = "the state changed while the check waited; ask again"
            return self._decisions.withdraw(verdict, message)
        return verdict

    async def _check_many(self, call: BatchCall) -> None:
        try:
            requests = split_requests(call.requests)
            batch = Batch(self._decisions, self._office, requests, at_least=call.at_least, explain=call.explain)
            self._succeed(call.id, await batch.decide(), request_digest(call.requests))
        finally:
            self._batches -= 1

    async def _submit(self, call: SubmitCall) -> None:
        timeout_s = call.timeout_ms / 1000
        receipt = await self._office.service.submit(
            call.envelope, wait=call.wait, timeout_s=timeout_s, retry=call.retry, at_least=call.at_least
        )
        self._succeed(call.id, receipt, request_digest(call.envelope))

    def _begin_signing(self, call: SignedCheckCall | AuthorizeCall | RedeemCall, size: int) -> None:
        # SAFETY: each takes signatures of other nodes: one client must leave places for others
        # (test_client_permits.py::test_one_client_has_few_authorizations_under_way).
        if self._signing >= AUTHORIZATIONS_OF_ONE:
            message = "too many permits and signed answers are under way: wait for some of them"
            self._fail(call.id, AvailabilityError(message, code="queue_full"))
            return
        self._signing += 1
        self._start(call.id, size, self._sign, call).add_done_callback(self._signing_ended)

    def _signing_ended(self, task: asyncio.Future[Any]) -> None:
        del task
        self._signing -= 1

    async def _sign(self, call: SignedCheckCall | AuthorizeCall | RedeemCall) -> None:
        service = self._office.service
        found: object
        if isinstance(call, SignedCheckCall):
            found = await service.check_signed(decode_request(call.request), at_least=call.at_least)
            asked: bytes | msgspec.Raw = call.request
        elif isinstance(call, RedeemCall):
            found = await service.redeem(call.permit, timeout_s=call.timeout_ms / 1000)
            asked = call.permit
        else:
            found = await service.authorize(
                decode_request(call.request),
                ttl_ms=call.ttl_ms,
                single_use=call.single_use,
                audience=call.audience,
                at_least=call.at_least,
                timeout_s=call.timeout_ms / 1000,
            )
            asked = call.request
        self._succeed(call.id, found, request_digest(asked))

    def _read(self, call: ReadCall, size: int) -> None:
        try:
            found = self._office.service.read(call.what, call.params)
        except Exception as error:  # noqa: BLE001 - reported, and the call fails
            self._fail(call.id, error)
            return
        if inspect.isawaitable(found):
            later = asyncio.ensure_future(found)
            # A task that is cancelled before its first step would leave the read running
            # (test_review_of_turns.py::test_a_read_ends_with_its_client_even_if_it_never_began).
            self._start(call.id, size, self._read_later, call.id, later).add_done_callback(lambda _: later.cancel())
        else:
            self._succeed(call.id, found)

    async def _read_later(self, call_id: int, found: asyncio.Future[object]) -> None:
        self._succeed(call_id, await found)

    def _begin_watch(self, call: WatchCall, size: int) -> None:
        limits, office = self._office.limits, self._office
        if self._watches >= limits.client_watches or office.watches >= limits.watches:
            message = "too many watches: end some, or ask another node"
            self._fail(call.id, AvailabilityError(message, code="watches_full"))
            return
        self._watches += 1
        office.watches += 1
        task = self._start(call.id, size, self._watch, call.id)
        # Not in the task itself: one that is cancelled before its first step runs nothing.
        task.add_done_callback(self._watch_ended)

    def _watch_ended(self, task: asyncio.Future[Any]) -> None:
        del task
        self._watches -= 1
        self._office.watches -= 1

    async def _watch(self, call_id: int) -> None:
        self._succeed(call_id, None)
        events = self._office.service.subscribe()
        try:
            async for event in events:
                await self._line.drained()
                self._line.send(EventFrame(call_id, event))
        finally:
            close = getattr(events, "aclose", None)
            if close is not None:
                await close()
        self._fail(call_id, AvailabilityError("the node ended the watch", code="watch_ended"))

    # What takes longer.

    def _start(
        self, call_id: int, size: int, work: Callable[[*Args], Awaitable[None]], *args: *Args
    ) -> asyncio.Task[None]:
        task = self._loop.create_task(self._guarded(call_id, work, *args))
        self._hold(task, size)
        task.add_done_callback(self._ended)
        return task

    async def _guarded(self, call_id: int, work: Callable[[*Args], Awaitable[None]], *args: *Args) -> None:
        try:
            await work(*args)
        except InvariantViolation as violation:
            self._line.halt(violation)
        except Exception as error:  # noqa: BLE001 - reported, and the call fails
            self._fail(call_id, error)

    def _hold(self, task: asyncio.Future[Any], size: int) -> None:
        self.under_way[task] = size
        self.held_bytes += size

    def _ended(self, task: asyncio.Future[Any]) -> None:
        self.held_bytes -= self.under_way.pop(task, 0)
        self._line.call_ended()

    # Answers.

    def _succeed(self, call_id: int, result: object, digest: bytes = b"") -> None:
        try:
            self._line.send(Success(call_id, result, digest))
        except GovraftError as error:
            self.report(error)
            self._fail(call_id, error)

    def _fail(self, call_id: int, error: Exception) -> None:
        if isinstance(error, GovraftError):
            described = describe_error(error)
        else:
            self.report(error)
            described = WireError("internal_error", "the node failed: see its log", definite=False)
        self._line.send(Failure(call_id, described))
