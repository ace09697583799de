"""The asyncio edge of a node: sockets and clock ticks in, disk and sockets out.

One loop, one thread, one writer. Whatever happens calls `wake`; at the end of the loop's turn the core settles once
for all of it, and its effects go out in this order:

1. the batch is written and synced, off the loop; one batch at a time, so that what gathers meanwhile is one batch;
2. then frames are sent, and clients answered;
3. then a snapshot is saved, if there is one, off the loop too and beside the next writes.

Whatever cannot be right any more (a failed write, a broken invariant, an engine that raised) halts the node: no frame
and no answer leaves after that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import NamedTuple

from govraft.core.machine.snapshot import Snapshot
from govraft.core.model.reasons import Reason
from govraft.core.model.request import Request
from govraft.core.model.units import NS_PER_MS, BoottimeNs
from govraft.core.model.verdict import Deny, Verdict
from govraft.errors import AvailabilityError, LimitExceededError, StorageError
from govraft.node.core import NodeCore
from govraft.node.decision_keeper import DecisionKeeper
from govraft.node.effects import Effects
from govraft.ports.clock import Clock
from govraft.ports.decisions import RecordedVerdict
from govraft.ports.peers import Peers
from govraft.ports.store import Store

__all__ = ["NodeRuntime"]

TICK_S = 0.02
WAITING_CHECKS_MAX = 4_096
CHECKS_PER_TURN = 128
CHECKS_TURN_S = 0.002
WRITE_S_MAX = 30.0


class _WaitingCheck(NamedTuple):
    """A check that waits for the next certificate."""

    request: Request
    at_least: int
    deadline: int
    began: BoottimeNs


class NodeRuntime:
    """Runs one `NodeCore` on the current loop.

    Args:
        core: The node.
        store: Written by this object only.
        clock: The clock that the core reads.
        sync_wait_ms: How long a check may wait for the next certificate.
        on_halt: Called once, with the cause, when the node must stop at once.
        decisions: Records what is decided; None for a node without a decision log.
    """

    def __init__(
        self,
        *,
        core: NodeCore,
        store: Store,
        clock: Clock,
        node_id: str,
        sync_wait_ms: int,
        on_halt: Callable[[BaseException], None],
        decisions: DecisionKeeper | None = None,
    ) -> None:
        self._core = core
        self._store = store
        self._clock = clock
        self._node_id = node_id
        self._sync_wait_ns = sync_wait_ms * NS_PER_MS
        self._on_halt = on_halt
        self._decisions = decisions
        self._loop = asyncio.get_running_loop()
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="govraft-writer")
        self._saver = ThreadPoolExecutor(max_workers=1, thread_name_prefix="govraft-snapshot")
        self._waiting_snapshot: Snapshot | None = None
        self._is_saving = False
        self._peers: Peers | None = None
        self._tick: asyncio.TimerHandle | None = None
        self._is_awake = False
        self._is_writing = False
        self._write_began = 0.0
        self._is_halted = False
        self._submitted: set[asyncio.Future[dict[str, object]]] = set()
        self._is_answering = False
        """Whether checks wait that can be answered, but were too many for one turn."""
        self._waiting: dict[asyncio.Future[Verdict], _WaitingCheck] = {}
        self._listeners: list[Callable[[], None]] = []

    @property
    def core(self) -> NodeCore:
        """The node."""
        return self._core

    @property
    def is_halted(self) -> bool:
        """Whether the node has stopped for good."""
        return self._is_halted

    def start(self, peers: Peers) -> None:
        """Begin to turn."""
        self._peers = peers
        self._on_tick()

    async def stop(self) -> None:
        """Stop turning and wait for the writes that are under way."""
        self._is_halted = True
        if self._tick is not None:
            self._tick.cancel()
        self._dismiss("the node is stopping")
        await self._loop.run_in_executor(None, self._writer.shutdown)
        await self._loop.run_in_executor(None, self._saver.shutdown)

    def halt(self, error: BaseException) -> None:
        """Stop at once: nothing may leave this process any more."""
        if self._is_halted:
            return
        self._is_halted = True
        if self._tick is not None:
            self._tick.cancel()
        self._dismiss("the node has halted")
        self._on_halt(error)

    # What the edges call.

    def on_frame(self, peer: str, channel: int, payload: bytes) -> None:
        """A frame of an authenticated member arrived."""
        if not self._is_halted:
            self._guarded(lambda: self._core.on_frame(peer, channel, payload))
            self.wake()

    def on_link(self, peer: str, up: bool, rules: int) -> None:  # noqa: FBT001 - the network's callback
        """A member can be reached, and knows rules up to that number; or it cannot be reached."""
        if not self._is_halted:
            self._guarded(lambda: self._core.on_link(peer, up=up, rules=rules))
            self.wake()

    def check(self, request: Request, at_least: int) -> Verdict | asyncio.Future[Verdict]:
        """Answer now, or after the next certificate."""
        if self._is_halted:
            return Deny(reason=Reason.NODE_UNREACHABLE, message="the node has halted", node=self._node_id)
        began = self._clock.boottime()
        verdict = self._core.check(request, at_least=at_least)
        if verdict is not None:
            return self._kept(request, verdict, began)
        if len(self._waiting) >= WAITING_CHECKS_MAX:
            return self._kept(request, self._core.deny_waiting(at_least), began)
        future: asyncio.Future[Verdict] = self._loop.create_future()
        deadline = began + self._sync_wait_ns
        self._waiting[future] = _WaitingCheck(request, at_least, deadline, began)
        # SAFETY: given up, it must hold neither its request, which can be large, nor the place of another;
        # test_review_findings.py::test_checks_that_were_given_up_leave_their_places_at_once
        future.add_done_callback(self._forget)
        return future

    async def submit(self, envelope: bytes, *, wait: str, timeout_ms: int, at_least: int = 0) -> dict[str, object]:
        """Hand in a command and wait for its receipt; see `Submissions.submit`.

        Raises:
            GovraftError: Refused, not done, or the outcome is unknown.
        """
        if self._is_halted:
            raise AvailabilityError("the node has halted", code="node_halted")
        future: asyncio.Future[dict[str, object]] = self._loop.create_future()

        def done(answer: dict[str, object] | Exception) -> None:
            if future.done():
                return
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)

        self._submitted.add(future)
        future.add_done_callback(self._submitted.discard)
        self._guarded(
            lambda: self._core.submit(envelope, wait=wait, timeout_ms=timeout_ms, done=done, at_least=at_least)
        )
        self.wake()
        return await future

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` after each turn, until the returned function is called."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def wake(self) -> None:
        """Let the core settle at the end of this turn of the loop."""
        if not self._is_awake and not self._is_halted:
            self._is_awake = True
            self._loop.call_soon(self._turn)

    # The turn.

    def _on_tick(self) -> None:
        if not self._is_halted:
            self._tick = self._loop.call_later(TICK_S, self._on_tick)
            self.wake()

    def _turn(self) -> None:
        self._is_awake = False
        if self._is_halted:
            return
        # SAFETY: checks that waited for a certificate are answered before the next batch, which would keep them waiting
        # until their time is over (test_runtime.py::test_checks_that_waited_are_answered_before_the_next_batch).
        self._guarded(self._answer_waiting)
        self._guarded(self._settle)
        self._pump()
        self._guarded(self._answer_waiting)
        for listener in list(self._listeners):
            listener()

    def _settle(self) -> None:
        if self._core.settle(is_held=self._is_answering):
            self.wake()

    def _pump(self) -> None:
        """Take the core's effects, unless a write is under way: then they gather for the next one."""
        if self._is_halted:
            return
        if self._is_writing:
            # What gathers meanwhile is bounded by time: a disk that takes this long has failed.
            if self._loop.time() - self._write_began > WRITE_S_MAX:
                self.halt(StorageError(f"a write has not ended within {WRITE_S_MAX:.0f} s; check the disk"))
            return
        effects = self._core.take_effects()
        if effects.batch.is_empty:
            self._guarded(lambda: self._release(effects))
            return
        self._is_writing = True
        self._write_began = self._loop.time()
        written = self._loop.run_in_executor(self._writer, self._store.write, effects.batch)
        written.add_done_callback(lambda future: self._on_written(future, effects))

    def _on_written(self, future: asyncio.Future[None], effects: Effects) -> None:
        self._is_writing = False
        error = None if future.cancelled() else future.exception()
        # SAFETY: after a failed write nobody knows what is durable: nothing is sent
        # (test_runtime.py::test_a_failed_write_halts_before_anything_is_sent).
        if future.cancelled() or error is not None:
            self.halt(error or asyncio.CancelledError("the write was cancelled"))
            return
        self._guarded(lambda: self._release(effects))
        self._pump()

    def _release(self, effects: Effects) -> None:
        if self._is_halted or self._peers is None:
            return
        # SAFETY: who may connect follows from what is durable
        # (test_runtime.py::test_members_are_changed_once_it_is_written).
        if effects.members is not None:
            self._peers.set_members(effects.members)
        for send in effects.sends:
            if self._is_halted:
                return
            if send.peer == self._node_id:
                self.on_frame(send.peer, send.channel, send.payload)
            else:
                is_handed = self._peers.send(send.peer, send.channel, send.payload)
                if send.told is not None:
                    send.told(is_handed)
        for call in effects.after:
            if self._is_halted:
                return
            call()
        if effects.snapshot is not None:
            self._waiting_snapshot = effects.snapshot
            self._save_snapshot()

    def _save_snapshot(self) -> None:
        """Save the newest snapshot, one at a time, beside the writes: nothing waits for it."""
        snapshot = self._waiting_snapshot
        if self._is_halted or self._is_saving or snapshot is None:
            return
        self._waiting_snapshot, self._is_saving = None, True
        saved = self._loop.run_in_executor(self._saver, _encode_and_save, snapshot, self._store)
        saved.add_done_callback(self._on_saved)

    def _on_saved(self, future: asyncio.Future[None]) -> None:
        self._is_saving = False
        error = None if future.cancelled() else future.exception()
        # SAFETY: a disk that fails is not trusted with the next vote either
        # (test_runtime_snapshots.py::test_a_failed_snapshot_halts).
        if future.cancelled() or error is not None:
            self.halt(error or asyncio.CancelledError("saving a snapshot was cancelled"))
            return
        self._save_snapshot()

    def _answer_waiting(self) -> None:
        self._is_answering = False
        if not self._waiting:
            return
        now = self._clock.boottime()
        # Bounded in number and time, so that checks that wait cannot hold up what they wait for.
        end, looked = perf_counter() + CHECKS_TURN_S, 0
        vain: int | None = None
        for future, item in sorted(self._waiting.items(), key=lambda entry: entry[1].at_least):
            # SAFETY: whoever asks for a higher seq than one that waits in vain does so too, and is passed over: asking
            # for it anew would delay those that can be answered;
            # test_review_findings.py::test_checks_that_wait_in_vain_do_not_stand_before_the_others
            if future.done() or (vain is not None and now < item.deadline):
                continue
            if looked >= CHECKS_PER_TURN or perf_counter() > end:
                self._is_answering = True
                self.wake()
                break
            looked += 1
            verdict = self._core.check(item.request, at_least=item.at_least)
            if verdict is None and now >= item.deadline:
                verdict = self._core.deny_waiting(item.at_least)
            if verdict is None:
                vain = item.at_least
            else:
                del self._waiting[future]
                _answer(future, self._kept(item.request, verdict, item.began))

    def keep(
        self, request: Request, verdict: Verdict, *, time: int, began: BoottimeNs
    ) -> Verdict | asyncio.Future[Verdict]:
        """Have a decision recorded that was not asked for by `check`; see `DecisionKeeper.keep`."""
        if self._decisions is None:
            return verdict
        return self._decisions.keep(request, verdict, time=time, began=began)

    def _kept(self, request: Request, verdict: Verdict, began: BoottimeNs) -> Verdict | RecordedVerdict:
        """The verdict, as soon as it may leave: the decision log may have to hold it first."""
        if self._decisions is None:
            return verdict
        return self._decisions.keep(request, verdict, time=self._core.gate.decided_at, began=began)

    def _forget(self, future: asyncio.Future[Verdict]) -> None:
        """Let go of a check that is answered or given up."""
        item = self._waiting.pop(future, None)
        if item is not None and future.cancelled():
            message = "the check was given up before it was decided"
            self._kept(item.request, Deny(Reason.SYNCHRONIZING, message, node=self._node_id), item.began)

    def _dismiss(self, message: str) -> None:
        """Answer whoever still waits: nothing more will be known here."""
        for future in list(self._submitted):
            if not future.done():
                error = AvailabilityError(f"{message}; the outcome is not known", code="node_halted", definite=False)
                future.set_exception(error)
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(Deny(reason=Reason.NODE_UNREACHABLE, message=message, node=self._node_id))
        self._waiting = {}

    def _guarded(self, call: Callable[[], None]) -> None:
        """Run a step of the core; if it raises, its state is not known to be whole any more."""
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - every failure of the core halts the node
            self.halt(error)


def _answer(future: asyncio.Future[Verdict], kept: Verdict | RecordedVerdict) -> None:
    """Answer a check that waited for a certificate; it may have to wait for its record too."""
    if not isinstance(kept, RecordedVerdict):
        future.set_result(kept)
        return

    def recorded(done: asyncio.Future[Verdict]) -> None:
        if not future.done():
            future.set_result(done.result())

    kept.add_done_callback(recorded)


def _encode_and_save(snapshot: Snapshot, store: Store) -> None:
    try:
        data = snapshot.encode()
    except LimitExceededError:
        return  # A state as large as that is replayed at the next start.
    store.save_snapshot(data)
