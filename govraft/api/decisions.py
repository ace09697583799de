"""From the bytes of a request to a verdict, whatever goes wrong on the way: each failure is a denial."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable

import msgspec

from govraft.api.service import Service
from govraft.api.socket_office import OnDenial, ignore_denial
from govraft.api.waits import Waits, was_crowded_out
from govraft.api.wire import decode_request, one_line
from govraft.core.model.limits import REQUEST_BYTES
from govraft.core.model.reasons import Reason
from govraft.core.model.verdict import Allow, Deny, Verdict
from govraft.errors import InputError
from govraft.ports.decisions import RecordedVerdict

__all__ = ["Decisions"]


class Decisions:
    """Asks the service, and answers for it when it fails."""

    def __init__(
        self,
        service: Service,
        report: Callable[[Exception], None],
        waits: Waits,
        node: str,
        on_denial: OnDenial = ignore_denial,
    ) -> None:
        """`report` gets each exception that should not have happened; `waits` counts what cannot be answered at once.

        `node` is named in denials that the service did not give, and `on_denial` is told of them.
        """
        self._on_denial = on_denial
        self._service = service
        self._report = report
        self._waits = waits
        self._node = node

    def decide(self, request: msgspec.Raw, at_least: int, *, explain: bool) -> Verdict | asyncio.Future[Verdict]:
        """Have one request decided, at once if the service can.

        Returns:
            The verdict, or a future to `settle` once it is done. Never raises an `Exception`.
        """
        # SAFETY: no failure of the service may end in an allow, or in no answer
        # (test_socket_server.py::test_denies_when_the_service_misbehaves).
        try:
            size = len(bytes(request))
            if size > REQUEST_BYTES:
                denial = Deny(Reason.REQUEST_INVALID, f"request over {REQUEST_BYTES} bytes: ask with less context")
                self._on_denial(denial, None, "edge")
                return denial
            verdict = self._service.check(decode_request(request), at_least=at_least, explain=explain)
        except Exception as error:  # noqa: BLE001 - fail closed: each failure is a denial, and reported
            return self._deny(error)
        if isinstance(verdict, Allow | Deny):
            return verdict
        if inspect.isawaitable(verdict):
            future = asyncio.ensure_future(verdict)
            # What is decided and waits for its record holds no request, and the log bounds how many there are.
            if not isinstance(future, RecordedVerdict):
                self._waits.add(self, future, size)
            return future
        return self._deny(TypeError("the service answered a check with neither a verdict nor an awaitable"))

    def settle(self, verdict: asyncio.Future[Verdict]) -> Verdict:
        """The verdict that a finished future holds.

        Raises:
            InvariantViolation: The service met one.
        """
        if was_crowded_out(verdict):
            message = "too many checks wait for the next certificate; ask again"
            return Deny(Reason.SYNCHRONIZING, message, node=self._node)
        if verdict.cancelled():
            return Deny(Reason.INTERNAL_ERROR, "the check was cancelled")
        error = verdict.exception()
        if error is None:
            found = verdict.result()
            if isinstance(found, Allow | Deny):
                return found
            error = TypeError("the service answered a check with something else than a verdict")
        if not isinstance(error, Exception):
            raise error
        return self._deny(error)

    def withdraw(self, verdict: Verdict, message: str) -> Deny:
        """The denial that takes the place of an allow which the node no longer gives."""
        denial = Deny(Reason.SYNCHRONIZING, message, decision=verdict.decision, node=self._node)
        self._on_denial(denial, None, "withdrawn")
        return denial

    def _deny(self, error: Exception) -> Deny:
        if isinstance(error, InputError):
            denial = Deny(Reason.REQUEST_INVALID, one_line(str(error)))
        else:
            self._report(error)
            denial = Deny(Reason.INTERNAL_ERROR, "the node failed to decide: see its log")
        self._on_denial(denial, None, "edge")
        return denial
