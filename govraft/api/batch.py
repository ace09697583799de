"""Many requests decided as one: a few at each turn, and all of them still true when they leave."""

from __future__ import annotations

import asyncio
import itertools
import operator
import struct
from collections.abc import Callable, Sequence
from time import perf_counter

import msgspec

from govraft.api.decisions import Decisions
from govraft.api.socket_office import Office
from govraft.api.wire import MALFORMED_ERRORS, one_line
from govraft.core.model.limits import BATCH_CHECKS, REQUEST_BYTES
from govraft.core.model.verdict import Allow, Verdict
from govraft.errors import InputError, LimitExceededError

__all__ = ["Batch", "split_requests"]

REDECISIONS = 2

_decoder = msgspec.msgpack.Decoder(list[msgspec.Raw])
_LONG_ARRAYS = {0xDC: struct.Struct(">H"), 0xDD: struct.Struct(">I")}
"""How the number of items follows the first byte of an array that is too long for a single byte."""


def split_requests(requests: msgspec.Raw) -> list[msgspec.Raw]:
    """Cut the array of a `check_many` into its items.

    Raises:
        InputError: It is no array.
        LimitExceededError: It has too many items.
    """
    encoded = bytes(requests)
    header = _LONG_ARRAYS.get(encoded[0]) if encoded else None
    if header is not None and len(encoded) > header.size:
        (count,) = header.unpack_from(encoded, 1)
        # SAFETY: looked up before anything is cut: a million items would hold up everybody else;
        # test_review_of_turns.py::test_a_batch_that_is_too_long_is_not_cut_into_its_items
        if count > BATCH_CHECKS:
            raise LimitExceededError(f"{count} requests: send at most {BATCH_CHECKS} at a time")
    try:
        return _decoder.decode(encoded)
    except MALFORMED_ERRORS as error:
        raise InputError(f"`requests` is not an array of requests: {one_line(str(error))}") from error


class Batch:
    """One `check_many` of one client."""

    def __init__(
        self, decisions: Decisions, office: Office, requests: Sequence[msgspec.Raw], *, at_least: int, explain: bool
    ) -> None:
        self._decisions = decisions
        self._office = office
        self._requests = requests
        self._at_least = at_least
        self._explain = explain

    async def decide(self) -> list[Verdict]:
        """The verdicts, in the order of the requests. What is returned must be sent in the same turn of the loop.

        Raises:
            InputError: One of them is no msgpack.
        """
        await self._check_format()
        verdicts = await self._decide(self._requests)
        for _ in range(REDECISIONS):
            stale = self._stale(verdicts)
            if not stale:
                break
            again = await self._decide([self._requests[place] for place in stale])
            for place, verdict in zip(stale, again, strict=True):
                verdicts[place] = verdict
        # SAFETY: deciding a batch takes many turns of the loop. What leaves is what the node would say at this moment
        # (test_socket_server.py::test_a_batch_holds_no_allow_that_the_node_no_longer_gives).
        for place in self._stale(verdicts):
            message = "the state changed while the batch was decided; ask again"
            verdicts[place] = self._decisions.withdraw(verdicts[place], message)
        return verdicts

    def _stale(self, verdicts: Sequence[Verdict]) -> list[int]:
        """Places of the allows that the node does not give any more."""
        holds = self._office.service.holds
        return [place for place, verdict in enumerate(verdicts) if isinstance(verdict, Allow) and not holds(verdict)]

    async def _check_format(self) -> None:
        """Look into each item: cutting the array into them did not.

        Bytes that are no msgpack fail the whole batch, as where one item ends and the next begins would be a guess.
        What is too large to be a request is denied unread: it would cost more time than anybody else may have to wait.

        Raises:
            InputError: An item is no msgpack.
        """

        def look(request: msgspec.Raw) -> None:
            if len(bytes(request)) <= REQUEST_BYTES:
                msgspec.msgpack.decode(request)

        try:
            await self._in_turns(self._requests, look)
        except MALFORMED_ERRORS as error:
            raise InputError(f"`requests` holds what is no request: {one_line(str(error))}") from error

    async def _decide(self, requests: Sequence[msgspec.Raw]) -> list[Verdict]:
        verdicts: list[Verdict | asyncio.Future[Verdict]] = []

        def decide(request: msgspec.Raw) -> None:
            verdicts.append(self._decisions.decide(request, self._at_least, explain=self._explain))

        try:
            await self._in_turns(requests, decide)
            waiting = [verdict for verdict in verdicts if isinstance(verdict, asyncio.Future)]
            if waiting:
                await asyncio.wait(waiting)
        finally:
            for verdict in verdicts:
                if isinstance(verdict, asyncio.Future):
                    verdict.cancel()
        settle = self._decisions.settle
        return [settle(verdict) if isinstance(verdict, asyncio.Future) else verdict for verdict in verdicts]

    async def _in_turns(self, requests: Sequence[msgspec.Raw], work: Callable[[msgspec.Raw], None]) -> None:
        """Do `work` on each request, a few at each turn."""
        left, limits = iter(requests), self._office.limits

        def some() -> bool:
            end = perf_counter() + limits.turn_s
            for request in itertools.islice(left, limits.turn_calls):
                work(request)
                if perf_counter() > end:
                    return False
            return operator.length_hint(left) == 0

        # Leaving nothing for a later turn where there is nothing to do at all.
        if requests:
            await self._office.turns.work(some)
