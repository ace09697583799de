"""Records the decisions of a node, off its loop.

A decision is noted on the loop, which takes microseconds; a thread of its own encodes, hashes and writes, in batches.
In strict mode an allow is handed out as a `RecordedVerdict`: it is done when its record is durable, and becomes a
denial if the record cannot be made so. Whoever hands it on asks once more whether the node still gives it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from govraft.core.evidence.decisions import Noted, request_fields
from govraft.core.model.reasons import Reason
from govraft.core.model.request import Request
from govraft.core.model.units import BoottimeNs
from govraft.core.model.verdict import Allow, Deny, Verdict
from govraft.errors import GovraftError
from govraft.node.decisions import Batch, DecisionBuffer, DecisionMode
from govraft.ports.clock import Clock
from govraft.ports.decisions import DecisionStore, LogHead, RecordedVerdict

__all__ = ["DecisionKeeper"]

FLUSH_S = 0.25
FLUSH_RECORDS = 256
RETRY_S = 1.0
STRICT_WAIT_S = 2.0
"""An allow whose record is not durable by then is denied."""
STOP_S = 5.0

_encode = msgspec.msgpack.Encoder().encode


class DecisionKeeper:
    """Notes decisions and has them written. Lives on the running loop.

    Args:
        store: Called from one thread, which this object owns.
        buffer: What waits, and in which mode.
        clock: For the time of gaps, and of denials that the gate did not make.
        node: This node's id.
        report: Told of each failure of the log, once until it is over.
    """

    def __init__(
        self,
        *,
        store: DecisionStore,
        buffer: DecisionBuffer,
        clock: Clock,
        node: str,
        report: Callable[[str], None],
    ) -> None:
        self._store = store
        self._buffer = buffer
        self._clock = clock
        self._node = node
        self._report = report
        self._loop = asyncio.get_running_loop()
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="govraft-decisions")
        self._flush: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._is_stopping = False
        self.head: LogHead | None = None

    # Noting.

    def keep(self, request: Request, verdict: Verdict, *, time: int, began: BoottimeNs) -> Verdict | RecordedVerdict:
        """Have a decision of the gate recorded.

        Args:
            request: As it was asked.
            verdict: As it was decided.
            time: WallMs at which it was evaluated.
            began: When it was asked.

        Returns:
            The verdict, at once, or an allow that is done when its record is durable. Never raises an `Exception`.
        """
        # SAFETY: no failure to record may let an allow of a strict log pass
        # (test_decision_keeper.py::test_what_cannot_be_noted_denies_in_strict_mode).
        try:
            return self._keep(request, verdict, time, began)
        except Exception as error:  # noqa: BLE001 - fail closed: what cannot be recorded is not allowed
            self._buffer.drop()
            self._report(f"a decision could not be noted: {type(error).__name__}: {error}")
            if self._buffer.mode is DecisionMode.STRICT and isinstance(verdict, Allow):
                return _unrecorded(verdict, "it could not be noted")
            return verdict

    def _keep(self, request: Request, verdict: Verdict, time: int, began: BoottimeNs) -> Verdict | RecordedVerdict:
        encoded = _encoded(request)
        latency_us = max(0, self._clock.boottime() - began) // 1000

        def noted(found: Verdict) -> Noted:
            return Noted(_fields(found, self._node, time, latency_us, "check"), encoded)

        if isinstance(verdict, Deny) or self._buffer.mode is not DecisionMode.STRICT:
            self._buffer.add(noted(verdict))
            self._schedule()
            return verdict
        refusal = self._buffer.refusal
        if self._is_stopping:
            refusal = "the node is stopping"
        future = RecordedVerdict(loop=self._loop)

        def told(why: str) -> None:
            if future.done():
                return
            found: Verdict = verdict
            if why:
                found = _unrecorded(verdict, why)
                self._buffer.add(noted(found))
            future.set_result(found)

        # SAFETY: an allow of a strict log is durable before it leaves
        # (test_decision_keeper.py::test_an_allow_leaves_once_its_record_is_durable).
        if not refusal and self._buffer.add(noted(verdict), told):
            self._write()
            return future
        denial = _unrecorded(verdict, refusal or "too many decisions wait to be recorded")
        self._buffer.add(noted(denial))
        self._schedule()
        return denial

    def note_denial(self, verdict: Deny, request: bytes | None = None, source: str = "edge") -> None:
        """Have a denial recorded that the gate did not make. Never raises an `Exception`.

        Args:
            verdict: As it was answered.
            request: MessagePack of the request, if there was a readable one.
            source: One of `SOURCES`.
        """
        try:
            self._buffer.add(Noted(_fields(verdict, self._node, self._clock.wall(), 0, source), request))
            self._schedule()
        except Exception as error:  # noqa: BLE001 - a denial stays one, whatever becomes of its record
            self._buffer.drop()
            self._report(f"a denial could not be noted: {type(error).__name__}: {error}")

    # Writing.

    def _schedule(self) -> None:
        """Write soon: at once if much waits, and not before the next try if the last one failed."""
        if self._buffer.is_writing or self._is_stopping:
            return
        if self._buffer.size >= FLUSH_RECORDS and not self._buffer.failure:
            self._write()
        elif self._flush is None:
            self._flush = self._loop.call_later(RETRY_S if self._buffer.failure else FLUSH_S, self._write)

    def _write(self) -> None:
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        batch = self._buffer.take(self._clock.wall())
        if batch is None:
            return
        self._idle.clear()
        if self._buffer.mode is DecisionMode.STRICT:
            self._stall = self._loop.call_later(STRICT_WAIT_S, self._on_stall)
        written = self._loop.run_in_executor(self._writer, self._store.append, batch.noted)
        written.add_done_callback(lambda future: self._on_written(future, batch))

    def _on_stall(self) -> None:
        self._buffer.stall(f"the decision log's disk has not answered for {STRICT_WAIT_S:.0f} s")
        self._report(self._buffer.failure)

    def _on_written(self, future: asyncio.Future[LogHead], batch: Batch) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None
        error = asyncio.CancelledError() if future.cancelled() else future.exception()
        if error is None:
            self.head = future.result()
            self._buffer.written(batch)
        else:
            self._on_failed(batch, error)
        self._idle.set()
        if self._buffer.has_work and not self._is_stopping:
            # Whoever waits for a record waits for nothing but the disk.
            if self._buffer.mode is DecisionMode.STRICT and not self._buffer.failure:
                self._write()
            else:
                self._schedule()

    def _on_failed(self, batch: Batch, error: BaseException) -> None:
        known = isinstance(error, GovraftError)
        why = str(error) if known else f"the decision log failed: {type(error).__name__}"
        if not self._buffer.failure:
            self._report(why if known else f"{why}: {error}")
        self._buffer.failed(batch, why)

    # Asking.

    async def run(self, work: Callable[[DecisionStore], Any]) -> Any:
        """Do something with the store in its thread, after what is being written.

        Raises:
            GovraftError: As the work does.
        """
        return await self._loop.run_in_executor(self._writer, work, self._store)

    def status(self) -> dict[str, Any]:
        """What `govraft status` shows of the log."""
        head, buffer = self.head, self._buffer
        return {
            "mode": buffer.mode.value,
            "log": "" if head is None else head.log,
            "size": 0 if head is None else head.size,
            "root": "" if head is None else head.root.hex(),
            "pending": buffer.size,
            "recorded": buffer.recorded,
            "dropped": buffer.dropped,
            "failures": buffer.failures,
            "failure": buffer.failure,
        }

    async def start(self) -> None:
        """Open the log. That it cannot be opened halts nothing: it is reported, and tried again with each write."""
        try:
            self.head = await self._loop.run_in_executor(self._writer, self._store.head)
        except GovraftError as error:
            self._report(str(error))

    async def stop(self) -> None:
        """Write what waits, for a few seconds at most, and close the log."""
        if self._is_stopping:
            return
        self._is_stopping = True
        deadline = self._loop.time() + STOP_S
        while self._buffer.has_work and not self._buffer.failure and self._loop.time() < deadline:
            self._write()
            try:
                await asyncio.wait_for(self._idle.wait(), max(0.01, deadline - self._loop.time()))
            except TimeoutError:
                break
        if self._flush is not None:
            self._flush.cancel()
        if not self._buffer.is_writing:
            await self._loop.run_in_executor(self._writer, self._store.close)
        self._writer.shutdown(wait=False)


def _encoded(request: Request) -> bytes | None:
    """At once, so that nothing that was asked stays decoded while it waits."""
    try:
        return _encode(request_fields(request))
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError):
        return None


def _fields(verdict: Verdict, node: str, time: int, latency_us: int, source: str) -> dict[str, Any]:
    denial = verdict if isinstance(verdict, Deny) else None
    return {
        "node": node,
        "time": time,
        "decision": verdict.decision,
        "source": source,
        "seq": verdict.seq,
        "state_root": verdict.state_root,
        "verdict": "allow" if denial is None else "deny",
        "reason": "" if denial is None else denial.reason.value,
        "message": "" if denial is None else denial.message,
        "policies": verdict.policies,
        "errors": [] if denial is None else denial.errors,
        "latency_us": latency_us,
        "trace": "",
    }


def _unrecorded(verdict: Allow, why: str) -> Deny:
    """What an allow becomes whose record is not durable."""
    return Deny(
        reason=Reason.INTERNAL_ERROR,
        message=f"the decision could not be recorded: {why}"[:512],
        seq=verdict.seq,
        state_root=verdict.state_root,
        decision=verdict.decision,
        node=verdict.node,
    )
