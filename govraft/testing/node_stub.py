"""A stand-in for a node, on a real Unix socket: for tests of applications that ask, and of the client library.

It decides by a function of the test. It signs nothing and proves nothing: never let a production client reach it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import uvloop

from govraft.api.peer_credentials import PeerRules
from govraft.api.socket_office import OnDenial, SocketLimits, ignore_denial
from govraft.api.socket_server import SocketServer
from govraft.api.wire import Receipt
from govraft.core.model.request import Request
from govraft.core.model.units import NS_PER_MS
from govraft.core.model.verdict import Allow, Verdict
from govraft.errors import InvariantViolation, require

__all__ = ["NodeStub", "StubService", "allow"]

_START_TIMEOUT_S = 10.0


def allow(*, seq: int = 1, valid_ms: int = 60_000) -> Allow:
    """An allow that holds for `valid_ms` from now."""
    now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    return Allow(
        seq=seq,
        state_root="0" * 64,
        valid_until=now + valid_ms * NS_PER_MS,
        policies=["0" * 64],
        decision="stub",
        node="stub",
    )


class StubService:
    """Implements `govraft.api.service.Service` with a function.

    Attributes:
        decide: Request -> verdict, or an awaitable of one; may raise.
        submitted: The envelopes that came in.
        events: What a subscriber gets before the stream waits for ever.
    """

    def __init__(self, decide: Callable[[Request], Verdict | Awaitable[Verdict]] | None = None) -> None:
        self.decide = decide or (lambda _: allow())
        self.submitted: list[bytes] = []
        self.receipt: Callable[[bytes], Receipt | Mapping[str, Any]] = lambda _: Receipt(
            command_id="stub", outcome="applied", seq=2, certified_seq=2, certificate=b"stub"
        )
        self.found: Callable[[str, dict[str, Any]], object] = lambda what, params: {"what": what, "params": params}
        self.events: list[dict[str, Any]] = []
        self.denial = b""
        self.authorized: Callable[[Request, dict[str, Any]], Any] = lambda _request, _asked: {}
        self.serving: Callable[[Allow], bool] = lambda _: True

    def holds(self, verdict: Allow) -> bool:
        """Answer by `serving`."""
        return self.serving(verdict)

    def check(self, request: Request, *, at_least: int, explain: bool) -> Verdict | Awaitable[Verdict]:
        """Decide by `decide`."""
        del at_least, explain
        return self.decide(request)

    async def submit(
        self, envelope: bytes, *, wait: str, timeout_s: float, retry: bool, at_least: int
    ) -> Receipt | Mapping[str, Any]:
        """Keep the envelope and answer by `receipt`."""
        del wait, timeout_s, retry, at_least
        self.submitted.append(envelope)
        return self.receipt(envelope)

    async def check_signed(self, request: Request, *, at_least: int) -> Mapping[str, Any]:
        """Decide by `decide`; a denial is "signed" by `denial`."""
        verdict = self.check(request, at_least=at_least, explain=False)
        found = await verdict if isinstance(verdict, Awaitable) else verdict
        return {"verdict": found, "denial": b"" if isinstance(found, Allow) else self.denial}

    async def authorize(
        self,
        request: Request,
        *,
        ttl_ms: int,
        single_use: bool,
        audience: str | None,
        at_least: int,
        timeout_s: float,
    ) -> Mapping[str, Any]:
        """Answer by `authorized`."""
        del timeout_s
        asked = {"ttl_ms": ttl_ms, "single_use": single_use, "audience": audience, "at_least": at_least}
        answer: Any = self.authorized(request, asked)
        found: Mapping[str, Any] = await answer if isinstance(answer, Awaitable) else answer
        return found

    async def redeem(self, permit: bytes, *, timeout_s: float) -> Mapping[str, Any]:
        """Keep the permit and answer by `receipt`."""
        del timeout_s
        self.submitted.append(permit)
        return {"receipt": self.receipt(permit), "envelope": permit}

    def read(self, what: str, params: dict[str, Any]) -> object | Awaitable[object]:
        """Answer by `found`."""
        return self.found(what, params)

    async def subscribe(self) -> AsyncIterator[dict[str, Any]]:
        """Give `events`, then nothing more."""
        for event in self.events:
            yield event
        await asyncio.Event().wait()


class NodeStub:
    """Serves a service in a thread of its own, between `with` and its end.

    Attributes:
        errors: What should not have happened, in order.
        violations: Broken invariants, in order.
    """

    def __init__(
        self,
        path: Path,
        service: Any = None,
        *,
        rules: PeerRules,
        limits: SocketLimits | None = None,
        on_denial: OnDenial = ignore_denial,
    ) -> None:
        self.service = service or StubService()
        self.endpoint = f"unix://{path}"
        self.errors: list[Exception] = []
        self.violations: list[InvariantViolation] = []
        self._path = path
        self._rules = rules
        self._limits = limits
        self._on_denial = on_denial
        self._started = threading.Event()
        self._failure: Exception | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._server: SocketServer | None = None
        self._thread = threading.Thread(target=self._run, name="node-stub", daemon=True)

    def __enter__(self) -> Self:
        """Start, and wait until the socket is open.

        Raises:
            Exception: Whatever kept the server from starting.
        """
        self._thread.start()
        require(self._started.wait(_START_TIMEOUT_S), "the stub did not start")
        if self._failure is not None:
            self._thread.join()
            raise self._failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop, and wait until nothing runs any more."""
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def stats(self) -> dict[str, int]:
        """Those of the server."""
        return {} if self._server is None else self._server.stats()

    def _run(self) -> None:
        uvloop.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        try:
            self._server = SocketServer(
                self.service,
                path=self._path,
                rules=self._rules,
                node="stub",
                cluster="0" * 64,
                on_error=self.errors.append,
                on_violation=self.violations.append,
                on_denial=self._on_denial,
                limits=self._limits,
            )
            await self._server.start()
        except Exception as error:  # noqa: BLE001 - raised again in the thread that starts the stub
            self._failure = error
            self._started.set()
            return
        self._started.set()
        await self._stop.wait()
        await self._server.stop()
