import asyncio
import threading

import pytest

from govraft.core.model.reasons import Reason
from govraft.core.model.request import Request
from govraft.core.model.verdict import Allow, Deny
from govraft.errors import AvailabilityError, InvariantViolation, StorageError
from govraft.node import runtime as runtime_module
from govraft.node.effects import Effects, Send
from govraft.node.runtime import NodeRuntime
from govraft.ports.store import CosignerRecord

REQUEST = Request('Agent::"a"', 'Action::"run"', 'Tool::"t"')
ALLOW = Allow(1, "", 2**62, [], "d", "a")


class FakeClock:
    now = 0

    def boottime(self):
        return self.now

    def wall(self):
        return 0


class FakeCore:
    """Says what it is told to say, and writes down what it is asked."""

    def __init__(self):
        self.effects = Effects()
        self.frames = []
        self.links = []
        self.settled = 0
        self.verdict = None
        self.on_settle = lambda: None
        self.done = []

    def on_frame(self, peer, channel, payload):
        self.frames.append((peer, channel, payload))

    def on_link(self, peer, *, up, rules):
        self.links.append((peer, up, rules))

    def settle(self, *, is_held=False):
        self.settled += 1
        self.on_settle()

    def take_effects(self):
        effects, self.effects = self.effects, Effects()
        return effects

    def check(self, request, *, at_least=0):
        if isinstance(self.verdict, BaseException):
            raise self.verdict
        return self.verdict

    def deny_waiting(self, at_least):
        return Deny(Reason.SYNCHRONIZING)

    def submit(self, envelope, *, wait, timeout_ms, done, at_least):
        self.done.append(done)


class FakeStore:
    """Each write waits until the test lets it end, or fail."""

    def __init__(self):
        self.began = threading.Semaphore(0)
        self.proceed = threading.Semaphore(0)
        self.batches = []
        self.failure = None

    def write(self, batch):
        self.batches.append(batch.ops)
        self.began.release()
        assert self.proceed.acquire(timeout=10)
        if self.failure is not None:
            raise self.failure


class FakePeers:
    def __init__(self):
        self.sent = []
        self.members, self.told = None, []
        self.failure = None

    def set_members(self, members):
        self.members = members
        self.told.append("members")

    def send(self, peer, channel, payload):
        if self.failure is not None:
            raise self.failure
        self.sent.append((peer, payload))
        self.told.append(payload.decode())
        return True


class Bench:
    def __init__(self):
        self.core, self.store, self.peers, self.clock = FakeCore(), FakeStore(), FakePeers(), FakeClock()
        self.halted, self.called = [], []
        self.runtime = NodeRuntime(
            core=self.core,
            store=self.store,
            clock=self.clock,
            node_id="a",
            sync_wait_ms=200,
            on_halt=self.halted.append,
        )

    def promise(self, name: str, *, durable: bool = True) -> None:
        """Let the core want something sent and something answered, and, unless told otherwise, written before."""
        if durable:
            self.core.effects.batch.set_cosigner(CosignerRecord(len(self.called) + 1, bytes(32)))
        self.core.effects.sends.append(Send("b", 2, name.encode()))
        self.core.effects.after.append(lambda: self.called.append(name))
        self.runtime.wake()

    @property
    def sent(self) -> list[str]:
        return [payload.decode() for _, payload in self.peers.sent]

    async def write_began(self) -> None:
        assert await asyncio.get_running_loop().run_in_executor(None, lambda: self.store.began.acquire(timeout=10))

    async def eventually(self, condition) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0)

    async def stop(self) -> None:
        for _ in range(10):
            self.store.proceed.release()
        await self.runtime.stop()


def run(test) -> None:
    async def main() -> None:
        bench = Bench()
        bench.runtime.start(bench.peers)
        try:
            await test(bench)
        finally:
            await bench.stop()

    asyncio.run(main())


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_nothing_is_sent_while_a_write_is_under_way():
    async def test(bench: Bench) -> None:
        bench.promise("one")
        await bench.write_began()
        bench.promise("two", durable=False)
        bench.runtime.on_frame("b", 1, b"frame")
        await turns()
        assert (bench.sent, bench.called) == ([], [])
        assert bench.core.frames == [("b", 1, b"frame")], "events are taken meanwhile"
        bench.store.proceed.release()
        await bench.eventually(lambda: bench.called == ["one", "two"])
        assert bench.sent == ["one", "two"]

    run(test)


def test_what_gathers_during_a_write_is_one_batch():
    async def test(bench: Bench) -> None:
        bench.promise("one")
        await bench.write_began()
        for name in ("two", "three", "four"):
            bench.promise(name)
            await turns()
        assert len(bench.store.batches) == 1
        bench.store.proceed.release()
        await bench.write_began()
        assert bench.sent == ["one"], "the rest waits for its own write"
        assert [len(batch) for batch in bench.store.batches] == [1, 3]
        bench.store.proceed.release()
        await bench.eventually(lambda: bench.sent == ["one", "two", "three", "four"])

    run(test)


def test_without_anything_to_write_it_is_sent_at_once():
    async def test(bench: Bench) -> None:
        bench.promise("one", durable=False)
        await turns()
        assert bench.sent == bench.called == ["one"]
        assert bench.store.batches == []

    run(test)


@pytest.mark.parametrize("failure", [StorageError("disk full"), InvariantViolation("rule"), OSError(5, "io")], ids=repr)
def test_a_failed_write_halts_before_anything_is_sent(failure):
    async def test(bench: Bench) -> None:
        bench.store.failure = failure
        bench.promise("one")
        await bench.write_began()
        bench.promise("two", durable=False)
        bench.store.proceed.release()
        await bench.eventually(lambda: bench.halted)
        bench.promise("three", durable=False)
        await turns()
        assert (bench.sent, bench.called) == ([], [])
        assert bench.halted == [failure]
        assert bench.runtime.is_halted

    run(test)


def test_a_write_that_never_ends_halts(monkeypatch):
    async def test(bench: Bench) -> None:
        monkeypatch.setattr(runtime_module, "WRITE_S_MAX", 0.0)
        bench.promise("one")
        await bench.write_began()
        await asyncio.sleep(0.001)
        bench.promise("two")
        await bench.eventually(lambda: bench.halted)
        assert isinstance(bench.halted[0], StorageError)
        bench.store.proceed.release()
        await turns()
        assert bench.sent == []

    run(test)


@pytest.mark.parametrize("error", [InvariantViolation("x"), RuntimeError("x"), KeyboardInterrupt()], ids=repr)
def test_a_core_that_raises_halts_and_nothing_of_that_turn_leaves(error):
    def fail() -> None:
        raise error

    async def test(bench: Bench) -> None:
        bench.promise("one", durable=False)
        bench.core.on_settle = fail
        await turns()
        assert bench.halted == [error]
        assert (bench.sent, bench.called) == ([], [])
        bench.runtime.on_frame("b", 1, b"frame")
        bench.runtime.on_link("b", True, 2)
        assert bench.core.frames == bench.core.links == []
        assert bench.runtime.check(REQUEST, 0).reason is Reason.NODE_UNREACHABLE
        with pytest.raises(AvailabilityError, match="halted"):
            await bench.runtime.submit(b"", wait="none", timeout_ms=1)

    run(test)


def test_own_frames_come_back_and_if_one_breaks_the_core_nothing_more_leaves():
    async def test(bench: Bench) -> None:
        bench.core.effects.sends.append(Send("a", 2, b"to myself"))
        bench.promise("one", durable=False)
        await turns()
        assert bench.core.frames == [("a", 2, b"to myself")]
        assert bench.sent == ["one"]

        def fail(*given):
            raise InvariantViolation("x")

        bench.core.on_frame = fail
        bench.core.effects.sends.append(Send("a", 2, b"to myself"))
        bench.promise("two", durable=False)
        await turns()
        assert bench.sent == bench.called == ["one"]
        assert bench.halted

    run(test)


def test_a_network_that_raises_halts():
    async def test(bench: Bench) -> None:
        bench.peers.failure = RuntimeError("defect")
        bench.promise("one", durable=False)
        await turns()
        assert bench.halted == [bench.peers.failure]
        assert bench.called == []

    run(test)


def test_halting_tells_once_and_answers_whoever_waits():
    async def test(bench: Bench) -> None:
        waiting = bench.runtime.check(REQUEST, 0)
        submitting = asyncio.ensure_future(bench.runtime.submit(b"", wait="effective", timeout_ms=1000))
        await turns()
        assert not waiting.done()
        bench.runtime.halt(RuntimeError("x"))
        bench.runtime.halt(RuntimeError("y"))
        assert len(bench.halted) == 1
        assert waiting.result().reason is Reason.NODE_UNREACHABLE
        with pytest.raises(AvailabilityError) as caught:
            await submitting
        assert not caught.value.definite
        bench.core.done[0]({"seq": 1})

    run(test)


def test_stopping_lets_the_write_end_and_sends_nothing_after_it():
    async def test(bench: Bench) -> None:
        bench.promise("one")
        await bench.write_began()
        submitting = asyncio.ensure_future(bench.runtime.submit(b"", wait="effective", timeout_ms=1000))
        await turns()
        stopping = asyncio.ensure_future(bench.runtime.stop())
        await turns()
        assert not stopping.done()
        bench.store.proceed.release()
        await stopping
        await turns()
        assert (bench.sent, bench.called) == ([], [])
        assert bench.halted == []
        with pytest.raises(AvailabilityError):
            await submitting

    run(test)


# Checks and submissions.


def test_a_check_that_can_be_answered_is_answered_at_once():
    async def test(bench: Bench) -> None:
        bench.core.verdict = ALLOW
        assert bench.runtime.check(REQUEST, 0) is ALLOW

    run(test)


def test_a_waiting_check_is_answered_when_the_core_can():
    async def test(bench: Bench) -> None:
        future = bench.runtime.check(REQUEST, 7)
        await turns()
        assert not future.done()
        bench.core.verdict = ALLOW
        bench.runtime.wake()
        assert await future is ALLOW

    run(test)


def test_checks_that_waited_are_answered_before_the_next_batch(monkeypatch):
    """The next batch closes the gate again: at once, where one node is a quorum."""
    monkeypatch.setattr(runtime_module, "CHECKS_PER_TURN", 3)

    async def test(bench: Bench) -> None:
        said: list[str] = []

        def settle(*, is_held: bool = False) -> bool:
            said.append("held" if is_held else "batch")
            if not is_held:
                bench.core.verdict = None
            return False

        futures = [bench.runtime.check(REQUEST, 0) for _ in range(8)]
        await turns()
        bench.core.settle = settle
        bench.core.verdict = ALLOW
        bench.runtime.wake()
        async with asyncio.timeout(10):
            assert await asyncio.gather(*futures) == [ALLOW] * 8
        await turns()
        # Three at a look, two looks a turn; then the batch that was held back.
        assert said[:2] == ["held", "batch"]

    run(test)


def test_a_turn_that_leaves_more_to_do_is_followed_by_another():
    async def test(bench: Bench) -> None:
        left = [True, True, False]
        bench.core.settle = lambda *, is_held=False: bool(left) and left.pop(0)
        bench.runtime.wake()
        await bench.eventually(lambda: not left)

    run(test)


@pytest.mark.parametrize("taken", [True, False])
def test_whoever_asks_is_told_whether_the_network_took_a_frame(taken):
    async def test(bench: Bench) -> None:
        told: list[bool] = []
        bench.peers.send = lambda peer, channel, payload: taken
        bench.core.effects.sends.append(Send("b", 3, b"x", told.append))
        bench.runtime.wake()
        await bench.eventually(lambda: told)
        assert told == [taken]

    run(test)


def test_a_check_waits_only_so_long():
    async def test(bench: Bench) -> None:
        future = bench.runtime.check(REQUEST, 0)
        bench.clock.now = 200 * 10**6 - 1
        bench.runtime.wake()
        await turns()
        assert not future.done()
        bench.clock.now += 1
        bench.runtime.wake()
        assert (await future).reason is Reason.SYNCHRONIZING

    run(test)


def test_a_check_that_nobody_waits_for_any_more_is_forgotten():
    async def test(bench: Bench) -> None:
        future = bench.runtime.check(REQUEST, 0)
        future.cancel()
        bench.runtime.wake()
        await turns()
        assert not bench.runtime._waiting

    run(test)


def test_too_many_waiting_checks_are_denied(monkeypatch):
    monkeypatch.setattr(runtime_module, "WAITING_CHECKS_MAX", 2)

    async def test(bench: Bench) -> None:
        answers = [bench.runtime.check(REQUEST, 0) for _ in range(3)]
        assert [isinstance(answer, Deny) for answer in answers] == [False, False, True]

    run(test)


def test_a_broken_invariant_while_checks_wait_halts_instead_of_leaving_them_waiting():
    async def test(bench: Bench) -> None:
        future = bench.runtime.check(REQUEST, 0)
        bench.core.verdict = InvariantViolation("x")
        bench.runtime.wake()
        assert (await future).reason is Reason.NODE_UNREACHABLE
        assert bench.halted

    run(test)


def test_a_submission_ends_with_its_receipt_or_its_error():
    async def test(bench: Bench) -> None:
        one = asyncio.ensure_future(bench.runtime.submit(b"", wait="effective", timeout_ms=1))
        other = asyncio.ensure_future(bench.runtime.submit(b"", wait="effective", timeout_ms=1))
        await turns()
        bench.core.done[0]({"seq": 3})
        bench.core.done[0]({"seq": 4})
        bench.core.done[1](AvailabilityError("no"))
        assert await one == {"seq": 3}
        with pytest.raises(AvailabilityError, match="no"):
            await other
        await turns()
        assert bench.runtime._submitted == set()

    run(test)


def test_a_core_that_breaks_on_a_submission_halts():
    async def test(bench: Bench) -> None:
        def fail(*given, **more):
            raise InvariantViolation("x")

        bench.core.submit = fail
        with pytest.raises(AvailabilityError):
            await bench.runtime.submit(b"", wait="effective", timeout_ms=1)
        assert bench.halted

    run(test)


def test_a_client_that_gives_up_does_not_disturb_the_answer():
    async def test(bench: Bench) -> None:
        task = asyncio.ensure_future(bench.runtime.submit(b"", wait="effective", timeout_ms=1))
        await turns()
        task.cancel()
        await turns()
        bench.core.done[0]({"seq": 3})

    run(test)


def test_the_clock_keeps_it_turning_and_many_events_are_one_turn():
    async def test(bench: Bench) -> None:
        await bench.eventually(lambda: bench.core.settled >= 3)
        before = bench.core.settled
        for _ in range(100):
            bench.runtime.on_frame("b", 1, b"")
        await asyncio.sleep(0)
        assert bench.core.settled <= before + 2

    run(test)


def test_listeners_hear_of_each_turn_until_they_leave():
    async def test(bench: Bench) -> None:
        heard = []
        leave = bench.runtime.listen(lambda: heard.append(1))
        bench.runtime.wake()
        await turns()
        assert heard
        leave()
        count = len(heard)
        bench.runtime.wake()
        await turns()
        assert len(heard) == count

    run(test)


def test_an_answer_that_cannot_be_given_halts_and_the_others_stay_silent():
    async def test(bench: Bench) -> None:
        def fail() -> None:
            raise InvariantViolation("x")

        bench.core.effects.after.append(fail)
        bench.promise("one", durable=False)
        await turns()
        assert bench.halted
        assert bench.called == []

    run(test)


def test_the_core_hears_of_links():
    async def test(bench: Bench) -> None:
        bench.runtime.on_link("b", True, 2)
        bench.runtime.on_link("b", False, 0)
        assert bench.core.links == [("b", True, 2), ("b", False, 0)]
        before = bench.core.settled
        await turns()
        assert bench.core.settled > before

    run(test)


def test_members_are_changed_once_it_is_written():
    async def test(bench):
        bench.core.effects.members = ("the new ones",)
        bench.promise("for one of them")
        await bench.write_began()
        assert bench.peers.members is None
        bench.store.proceed.release()
        await bench.eventually(lambda: bench.called)
        assert bench.peers.members == ("the new ones",)
        assert bench.peers.told == ["members", "for one of them"], "some of what is sent is for those who come"

    run(test)
