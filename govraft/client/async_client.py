"""The client for asyncio: as `Client`, with `await`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

from govraft.api.signed_answers import Redeemed
from govraft.api.wire import Receipt, Wait
from govraft.client.answers import event_in
from govraft.client.async_connection import AsyncConnection
from govraft.client.connection import deadline_in, remaining_until
from govraft.client.endpoint import resolve_endpoint
from govraft.client.permits import Permit, SignedVerdict, ask_authorize, ask_redeem, ask_signed
from govraft.client.questions import (
    Asked,
    Question,
    ask_check,
    ask_many,
    ask_read,
    ask_submit,
    ask_watch,
    count_tries,
    timeout_of,
)
from govraft.client.verdicts import Allow, Verdict, deny_for, insist
from govraft.errors import AvailabilityError, Denied, GovraftError

__all__ = ["AsyncClient"]

_GRACE_S = 1.0

T = TypeVar("T")


class AsyncClient:
    """Asks the node on this host. All tasks of a loop share one connection; another loop gets its own."""

    def __init__(self, endpoint: str | None = None, *, timeout: float = 2.0) -> None:
        """Prepare; the connection is made when it is first needed. See `Client`.

        Raises:
            InputError: The endpoint or the time-out is not usable.
        """
        self._path = resolve_endpoint(endpoint)
        self._timeout_s = timeout_of(timeout)
        self._connection: AsyncConnection | None = None
        self._opening: asyncio.Lock | None = None
        self._home: tuple[asyncio.AbstractEventLoop, int] | None = None

    async def check(
        self,
        principal: str,
        action: str,
        resource: str,
        context: Mapping[str, Any] | None = None,
        *,
        at_least: int = 0,
        explain: bool = False,
        timeout: float | None = None,  # noqa: ASYNC109 - as `Client.check`; what takes longer is a Deny, no exception
    ) -> Verdict:
        """Ask whether `principal` may do `action` on `resource` now. See `Client.check`.

        Never raises, cancellation of the calling task excepted.
        """
        # SAFETY: as in `Client.check` (test_hostile_node.py::test_every_hostile_answer_denies).
        try:
            question = ask_check(principal, action, resource, context, at_least=at_least, explain=explain)
            return await self._ask(question, self._timeout_for(timeout))
        except Exception as error:  # noqa: BLE001 - fail closed: every exception becomes a denial
            return deny_for(error)

    async def check_many(
        self,
        requests: Iterable[Asked],
        *,
        at_least: int = 0,
        explain: bool = False,
        timeout: float | None = None,  # noqa: ASYNC109 - as `check`
    ) -> list[Verdict]:
        """Ask many at once. See `Client.check_many`."""
        asked = list(requests)
        plan = ask_many(asked, at_least=at_least, explain=explain)
        try:
            deadline = deadline_in(self._timeout_for(timeout))
            question = next(plan)
            while True:
                answers: list[Verdict] | Exception
                try:
                    answers = await self._ask(question, remaining_until(deadline))
                except Exception as error:  # noqa: BLE001 - fail closed: every exception becomes a denial
                    answers = error
                question = plan.send(answers)
        except StopIteration as done:
            verdicts: list[Verdict] = done.value
            return verdicts
        except Exception as error:  # noqa: BLE001 - fail closed: every exception becomes a denial
            return [deny_for(error) for _ in asked]

    async def require(
        self,
        principal: str,
        action: str,
        resource: str,
        context: Mapping[str, Any] | None = None,
        *,
        at_least: int = 0,
        explain: bool = False,
        timeout: float | None = None,  # noqa: ASYNC109 - as `check`
    ) -> Allow:
        """Like `check`, but raises unless execution may start now.

        Raises:
            Denied: It may not. `verdict` is the `Deny`.
        """
        return insist(
            await self.check(principal, action, resource, context, at_least=at_least, explain=explain, timeout=timeout)
        )

    async def submit(
        self,
        envelope: bytes,
        *,
        wait: Wait = "effective",
        timeout: float = 30.0,  # noqa: ASYNC109 - told to the node
        retry: bool = False,
        at_least: int = 0,
    ) -> Receipt:
        """Hand in a signed command. See `Client.submit`.

        Raises:
            RejectedError: Refused; `code` says why.
            AvailabilityError: Not done, or, if not `definite`, the outcome is unknown: submit the same envelope
                again, with `retry`.
            GovraftError: Not usable input, or an answer that is not usable.
        """
        timeout_s = timeout_of(timeout)
        question = ask_submit(envelope, wait=wait, timeout_s=timeout_s, retry=retry, at_least=at_least)
        try:
            return await self._ask(question, timeout_s + _GRACE_S)
        except GovraftError as error:
            count_tries(error, retry=retry)
            raise

    async def authorize(
        self,
        principal: str,
        action: str,
        resource: str,
        context: Mapping[str, Any] | None = None,
        *,
        ttl: float = 300.0,
        single_use: bool = False,
        audience: str | None = None,
        at_least: int = 0,
        timeout: float = 10.0,  # noqa: ASYNC109 - told to the node
    ) -> Permit:
        """Get a portable permit, signed by a quorum: it verifies offline, from the genesis alone.

        Args:
            principal: As for `check`; `action`, `resource` and `context` likewise.
            action: See `principal`.
            resource: See `principal`.
            context: See `principal`.
            ttl: How long it shall live: 1 to 300 seconds. What is revoked meanwhile does not end it.
            single_use: It must be redeemed, and can be redeemed once.
            audience: Whom it is for; None for anybody.
            at_least: Accept only a permit on this seq or a later one.
            timeout: Seconds.

        Raises:
            Denied: There is none, whatever the reason; `verdict` says it, `denial` is the file of the signed one.
        """
        # SAFETY: as in `check`: whatever goes wrong is a denial
        # (test_client_permits.py::test_every_failure_to_authorize_is_a_denial).
        try:
            timeout_s = timeout_of(timeout)
            question = ask_authorize(
                principal,
                action,
                resource,
                context,
                ttl_s=ttl,
                single_use=single_use,
                audience=audience,
                at_least=at_least,
                timeout_s=timeout_s,
            )
            return await self._ask(question, timeout_s + _GRACE_S)
        except Denied:
            raise
        except Exception as error:
            raise Denied(deny_for(error)) from error

    async def check_signed(
        self,
        principal: str,
        action: str,
        resource: str,
        context: Mapping[str, Any] | None = None,
        *,
        at_least: int = 0,
        timeout: float | None = None,  # noqa: ASYNC109 - as `check`
    ) -> SignedVerdict:
        """As `check`; a denial comes with the node's signature, as a file that can be verified offline.

        Never raises: whatever goes wrong gives a `Deny`, then without a signature.
        """
        try:
            question = ask_signed(principal, action, resource, context, at_least=at_least)
            return await self._ask(question, self._timeout_for(timeout))
        except Exception as error:  # noqa: BLE001 - fail closed: every exception becomes a denial
            return SignedVerdict(deny_for(error))

    async def redeem(self, permit: bytes, *, timeout: float = 30.0) -> Redeemed:  # noqa: ASYNC109 - told to the node
        """Use up a single-use permit, given as its file: only then is it good for one execution.

        Returns:
            The receipt, and the command that it is for. From then on the permit is used, in the whole cluster.

        Raises:
            RejectedError: It is used already, or void: `permit_used`, `permit_void`, `evidence_invalid`.
            AvailabilityError: Not done, or, if not `definite`, the outcome is unknown: take it as used.
            GovraftError: Not usable input, or an answer that is not usable.
        """
        timeout_s = timeout_of(timeout)
        return await self._ask(ask_redeem(permit, timeout_s=timeout_s), timeout_s + _GRACE_S)

    async def read(self, what: str, **params: Any) -> Any:
        """Read governance state. See `Client.read`.

        Raises:
            GovraftError: Unknown `what`, unusable parameters, or the node does not answer.
        """
        return await self._ask(ask_read(what, params), self._timeout_s)

    async def status(self) -> dict[str, Any]:
        """The node's own account of itself.

        Raises:
            GovraftError: The node does not answer.
        """
        found = await self.read("status")
        return dict(found) if isinstance(found, dict) else {"status": found}

    async def watch(self) -> AsyncIterator[dict[str, Any]]:
        """The node's events, as they come, on a connection of its own.

        Raises:
            AvailabilityError: The node went away, or ended the watch.
        """
        connection = await AsyncConnection.open(self._path, self._timeout_s)
        try:
            call_id, stream = await connection.subscribe(ask_watch(), self._timeout_s)
            while True:
                item = await stream.get()
                if isinstance(item, GovraftError):
                    raise item
                yield event_in(item, call_id)
        finally:
            connection.close()

    async def close(self) -> None:
        """Close the connection. The client stays usable."""
        connection, self._connection = self._connection, None
        if connection is not None and connection.loop is asyncio.get_running_loop():
            connection.close()

    async def __aenter__(self) -> Self:
        """Use as a context manager: closed at the end."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close."""
        await self.close()

    def _timeout_for(self, timeout_s: float | None) -> float:
        return self._timeout_s if timeout_s is None else timeout_of(timeout_s)

    async def _ask(self, question: Question[T], timeout_s: float) -> T:
        deadline = deadline_in(timeout_s)
        try:
            connection, is_fresh = await self._connected(deadline)
            try:
                return await connection.ask(question, remaining_until(deadline))
            except AvailabilityError:
                # Perhaps the node was restarted since the last call. What changes something is not repeated.
                if is_fresh or not connection.is_closed or not question.repeatable:
                    raise
            connection, _ = await self._connected(deadline)
            return await connection.ask(question, remaining_until(deadline))
        except TimeoutError as error:
            # Only `remaining_until` raises it: nothing was sent.
            raise AvailabilityError("the node did not answer in time", code="timed_out") from error

    async def _connected(self, deadline: float) -> tuple[AsyncConnection, bool]:
        """The shared connection, and whether it was made just now."""
        home = (asyncio.get_running_loop(), os.getpid())
        if self._home != home or self._opening is None:
            self._home, self._opening, self._connection = home, asyncio.Lock(), None
        if self._connection is not None and self._connection.is_usable:
            return self._connection, False
        async with self._opening:
            if self._connection is None or not self._connection.is_usable:
                self._connection = await AsyncConnection.open(self._path, remaining_until(deadline))
                return self._connection, True
            return self._connection, False
