"""One connection to a node's socket on an asyncio loop, many calls at a time."""

from __future__ import annotations

import asyncio
from typing import Any, Self, TypeVar, cast

from govraft.api.wire import FrameReader, frame
from govraft.client.answers import id_in
from govraft.client.greeting import Greeting, ask_first_protocol, ask_greeting
from govraft.client.questions import Question
from govraft.core.model.limits import RESPONSE_BYTES
from govraft.errors import AvailabilityError, GovraftError, InputError

__all__ = ["AsyncConnection"]

T = TypeVar("T")


class AsyncConnection(asyncio.Protocol):
    """Sends questions and hands each answer to whoever waits for its id.

    An answer to an id never used ends the connection; one to an id that nobody waits for any more is dropped.
    """

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._reader = FrameReader(RESPONSE_BYTES)
        self._transport: asyncio.Transport | None = None
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._streams: dict[int, asyncio.Queue[bytes | GovraftError]] = {}
        self._next_id = 1
        self._retired = False
        self.greeting = Greeting()

    @classmethod
    async def open(cls, path: str, timeout_s: float) -> Self:
        """Connect and greet.

        Raises:
            AvailabilityError: Nobody listens, the node refuses, or it is too slow. Definite: nothing was asked.
            GovraftError: What listens is not a node.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_s):
                _, connection = await loop.create_unix_connection(cls, path)
        except OSError as error:
            raise AvailabilityError(
                f"no node answers at `{path}`: {error.strerror or 'timed out'}", code="node_unreachable"
            ) from error
        try:
            greeting = await connection.ask(ask_greeting(), timeout_s)
            if greeting is None:
                greeting = await connection.ask(ask_first_protocol(), timeout_s)
            connection.greeting = greeting
        except GovraftError as error:
            connection.close()
            error.definite = True  # A greeting changes nothing.
            raise
        except BaseException:
            connection.close()
            raise
        return connection

    @property
    def is_usable(self) -> bool:
        """Open, and not retired."""
        return self._transport is not None and not self._transport.is_closing() and not self._retired

    @property
    def is_closed(self) -> bool:
        """Closed by either side: as opposed to merely late."""
        return self._transport is None or self._transport.is_closing()

    async def ask(self, question: Question[T], timeout_s: float) -> T:
        """Send one question and wait for its answer.

        Raises:
            AvailabilityError: Too slow, the connection failed, or this node cannot be asked that.
            GovraftError: What the node reports, or an answer that is not usable.
        """
        self._admit(question)
        call_id, answer = self._send(question)
        expiry = self.loop.call_later(timeout_s, self._expire, call_id)
        try:
            payload = await answer
        finally:
            expiry.cancel()
            self._waiting.pop(call_id, None)
            if self._retired and not self._waiting:
                self.close()
        return question.judge(payload, call_id)

    async def subscribe(self, question: Question[None], timeout_s: float) -> tuple[int, asyncio.Queue[Any]]:
        """Send a question that is answered by a stream.

        Returns:
            Its id, and the queue of the payloads that follow; an error in it is the last item.
        """
        stream: asyncio.Queue[bytes | GovraftError] = asyncio.Queue()
        self._streams[self._next_id] = stream
        call_id = self._next_id
        await self.ask(question, timeout_s)
        return call_id, stream

    def close(self) -> None:
        """Drop the connection. Whoever still waits gets an error."""
        if self._transport is not None:
            self._transport.abort()
        self._fail(AvailabilityError("the connection was closed", code="node_unreachable", definite=False))

    # The transport's calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Hand out the answers that `data` completes."""
        self._reader.feed(data)
        try:
            while (payload := self._reader.next_frame()) is not None:
                self._deliver(payload)
        except InputError as error:
            self._distrust(GovraftError(f"the node's answer is not usable: {error}", code=error.code, definite=False))
        except GovraftError as error:
            self._distrust(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail whoever waits."""
        del exc
        self._transport = None
        self._fail(AvailabilityError("the node closed the connection", code="node_unreachable", definite=False))

    def _admit(self, question: Question[Any]) -> None:
        try:
            self.greeting.admit(question)
        except AvailabilityError:
            # Whoever asks next greets anew: the host may have been put right meanwhile.
            self.retire()
            if not self._waiting:
                self.close()
            raise

    def _send(self, question: Question[Any]) -> tuple[int, asyncio.Future[bytes]]:
        transport = self._transport
        if transport is None or transport.is_closing():
            raise AvailabilityError("the node closed the connection", code="node_unreachable")
        call_id = self._next_id
        payload = question.call(call_id)
        self._next_id += 1
        answer: asyncio.Future[bytes] = self.loop.create_future()
        self._waiting[call_id] = answer
        transport.write(frame(payload))
        return call_id, answer

    def _deliver(self, payload: bytes) -> None:
        call_id = id_in(payload)
        answer = self._waiting.pop(call_id, None)
        if answer is not None:
            if not answer.done():
                answer.set_result(payload)
        elif call_id in self._streams:
            self._streams[call_id].put_nowait(payload)
        elif call_id == 0:
            # It speaks of the connection as a whole; whoever waits finds out what it says.
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_result(payload)
            self.retire()
        elif not 0 < call_id < self._next_id:
            raise GovraftError("the node answered what it was not asked", code="answer_invalid", definite=False)

    def _expire(self, call_id: int) -> None:
        answer = self._waiting.get(call_id)
        if answer is not None and not answer.done():
            answer.set_exception(AvailabilityError("the node did not answer in time", code="timed_out", definite=False))
        self.retire()

    def retire(self) -> None:
        """Take no more questions; close once those under way are settled. A node that was late may be half dead."""
        self._retired = True

    def _distrust(self, error: GovraftError) -> None:
        self._fail(error)
        if self._transport is not None:
            self._transport.abort()

    def _fail(self, error: GovraftError) -> None:
        self._retired = True
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(type(error)(str(error), code=error.code, definite=error.definite))
        for stream in self._streams.values():
            stream.put_nowait(error)
        self._streams.clear()
