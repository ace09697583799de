"""Snapshots leave the loop after the batch that they speak of, one at a time, and a failed one halts the node."""

import asyncio
import threading

import pytest
from test_runtime import Bench, run, turns

from govraft.core.machine.records import SECTIONS
from govraft.core.machine.snapshot import Snapshot
from govraft.errors import InvariantViolation, StorageError


def snapshot(seq: int) -> Snapshot:
    return Snapshot.make(
        seq=seq,
        index=seq,
        time=1,
        sections={name: {} for name in SECTIONS},
        leaf=b"",
        proof=(),
        certificate=b"",
        epochs=(),
    )


class SlowDisk:
    """Each snapshot waits until the test lets it end, or fail."""

    def __init__(self, bench: Bench) -> None:
        self.began, self.proceed = threading.Semaphore(0), threading.Semaphore(0)
        self.saved: list[int] = []
        self.threads: set[str] = set()
        self.failure = None
        bench.store.save_snapshot = self

    def __call__(self, data: bytes) -> None:
        self.threads.add(threading.current_thread().name)
        self.began.release()
        assert self.proceed.acquire(timeout=10)
        if self.failure is not None:
            raise self.failure
        self.saved.append(Snapshot.decode(data).seq)


async def began(disk: SlowDisk) -> None:
    assert await asyncio.get_running_loop().run_in_executor(None, lambda: disk.began.acquire(timeout=10))


def test_a_snapshot_waits_for_its_batch_and_nothing_waits_for_it():
    async def test(bench: Bench) -> None:
        disk = SlowDisk(bench)
        bench.core.effects.snapshot = snapshot(1)
        bench.promise("one")
        await bench.write_began()
        await turns()
        assert not disk.began.acquire(blocking=False), "its entries are not durable yet"
        bench.store.proceed.release()
        await began(disk)
        bench.promise("two")
        await bench.write_began()
        bench.store.proceed.release()
        await bench.eventually(lambda: bench.sent == ["one", "two"])
        assert disk.saved == []
        disk.proceed.release()
        await bench.eventually(lambda: disk.saved == [1])
        assert all(name.startswith("govraft-snapshot") for name in disk.threads)

    run(test)


def test_without_a_batch_it_is_saved_at_once():
    async def test(bench: Bench) -> None:
        disk = SlowDisk(bench)
        bench.core.effects.snapshot = snapshot(3)
        bench.runtime.wake()
        disk.proceed.release()
        await bench.eventually(lambda: disk.saved == [3])
        assert bench.store.batches == []

    run(test)


def test_the_newest_one_replaces_those_that_wait():
    async def test(bench: Bench) -> None:
        disk = SlowDisk(bench)
        for seq in (1, 2, 3):
            bench.core.effects.snapshot = snapshot(seq)
            bench.promise(str(seq), durable=False)
            await bench.eventually(lambda seq=seq: bench.sent[-1:] == [str(seq)])
        await began(disk)
        disk.proceed.release()
        await began(disk)
        disk.proceed.release()
        await bench.eventually(lambda: disk.saved == [1, 3])
        await turns()
        assert not disk.began.acquire(blocking=False)

    run(test)


@pytest.mark.parametrize("failure", [StorageError("disk full"), InvariantViolation("rule"), OSError(5, "io")], ids=repr)
def test_a_failed_snapshot_halts(failure):
    async def test(bench: Bench) -> None:
        disk = SlowDisk(bench)
        disk.failure = failure
        bench.core.effects.snapshot = snapshot(1)
        bench.promise("one", durable=False)
        await began(disk)
        disk.proceed.release()
        await bench.eventually(lambda: bench.halted)
        assert bench.halted == [failure]
        bench.promise("two", durable=False)
        await turns()
        assert bench.sent == ["one"]

    run(test)


def test_a_state_too_large_for_a_snapshot_is_passed_over(monkeypatch):
    async def test(bench: Bench) -> None:
        disk = SlowDisk(bench)
        monkeypatch.setattr("govraft.core.machine.snapshot.SNAPSHOT_BYTES", 10)
        bench.core.effects.snapshot = snapshot(1)
        bench.promise("one", durable=False)
        await bench.eventually(lambda: bench.sent == ["one"])
        monkeypatch.undo()
        bench.core.effects.snapshot = snapshot(2)
        bench.promise("two", durable=False)
        disk.proceed.release()
        await bench.eventually(lambda: disk.saved == [2])
        assert bench.halted == []

    run(test)


def test_a_stop_waits_for_the_snapshot_under_way():
    async def main() -> None:
        bench = Bench()
        disk = SlowDisk(bench)
        bench.runtime.start(bench.peers)
        bench.core.effects.snapshot = snapshot(1)
        bench.runtime.wake()
        await began(disk)
        stopping = asyncio.ensure_future(bench.stop())
        await asyncio.sleep(0.05)
        assert not stopping.done()
        disk.proceed.release()
        await stopping
        assert disk.saved == [1]

    asyncio.run(main())
