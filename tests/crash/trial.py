"""Power failures by the hundred: run the workload, fail its disk at many moments, open what is left, compare.

A `Recording` is what one workload did. `try_images` fails its disk and lets `Judge` look at each image. A refusal to
open is counted with its message, and is a fault as soon as the store was once acknowledged as created: a power failure
alone must never keep a node from coming back.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from crash.disk import Choice, Disk, Image, put, replay
from crash.plan import CLUSTER, DATABASE, NODE, Plan, held_by, snapshot_number
from crash.trace import Op, Said, operations, run_traced

from govraft.adapters.sqlite_store import SqliteStore, create_store
from govraft.adapters.store_guard import guard_path
from govraft.errors import GovraftError, StorageError

_RECOVERIES = 10
"""Stores that one process opens."""


@dataclass
class Promise:
    """What the product said is durable."""

    created: bool = False
    opened: bool = False
    batch: int = 0
    snapshot: int = 0

    def hear(self, line: str) -> None:
        """Take note of a line of the workload."""
        match line.split():
            case ["created"]:
                self.created = True
            case ["batch", number]:
                self.opened = True
                self.batch = int(number)
            case ["snapshot", number]:
                self.snapshot = int(number)
            case ["failed" | "refused"]:
                pass
            case _:
                raise ValueError(line)


class Recording(NamedTuple):
    """What a workload did to its files, from `start` on, and what was promised before."""

    plan: Plan
    start: dict[str, bytes]
    ops: list[Op]
    promise: Promise

    def points(self) -> list[int]:
        """After how many operations a power failure can take something back."""
        disk, found = Disk(self.start), []
        for place, op in enumerate(self.ops, 1):
            disk.do(op)
            if disk.unsynced and not isinstance(op, Said):
                found.append(place)
        return found


@dataclass
class Report:
    """What was found in all images so far."""

    images: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    before_creation: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    unsynced_max: int = 0

    def fault(self, what: str, where: str) -> None:
        """Count a fault and keep its first place."""
        self.faults[what] += 1
        self.examples.setdefault(what, where)


class Broken(Exception):
    """The store does not hold what it must."""


def record(
    directory: Path, plan: Plan, *, pages: int = 1000, plant: str = "", kills: tuple[int, ...] = (), inject: str = ""
) -> Recording:
    """Run the workload in the empty `directory`: killed in the sync that `kills` counts to, the last time never.

    The files at the end are compared with the model's: a trace that was read wrongly would prove nothing.
    """
    ops: list[Op] = []
    disk = Disk()
    arguments = ["write", str(directory), str(plan.seed), str(plan.count), "--pages", str(pages)]
    arguments += ["--plant", plant] if plant else []
    arguments += ["--go-on"] if inject else []
    for turn in (*kills, 0):
        injected = f"fdatasync:error=EIO:signal=SIGKILL:when={turn}" if turn else inject
        names = set(disk.latest())
        traced = run_traced(directory.with_name("trace"), arguments, inject=injected)
        assert traced.returncode == (-9 if turn else 0), traced.errors
        more = operations(traced.log, directory, names)
        replay(disk, more)
        ops += more
        found = {file.name: file.read_bytes() for file in directory.iterdir() if not file.name.endswith("-shm")}
        assert found == disk.latest(), "the trace was read wrongly"
    return Recording(plan, {}, ops, Promise())


class Judge:
    """Opens images with the real store, in one directory after the other."""

    def __init__(self, plan: Plan, directory: Path) -> None:
        self._plan = plan
        self._path = directory / DATABASE

    def judge(self, image: Image, promise: Promise, rng: random.Random, report: Report, where: str) -> None:
        """Open `image` and count what came of it."""
        files = dict(image.files)
        if rng.random() < 0.5:
            # Never synced: whatever the page cache wrote back is left of it.
            files[f"{DATABASE}-shm"] = rng.choice((b"", bytes(32768), rng.randbytes(32768)))
        put(files, self._path.parent)
        report.images += 1
        try:
            self._check_guard(files, promise)
            if promise.created:
                report.outcomes[self._reopen(promise)] += 1
            else:
                report.before_creation[self._create()] += 1
        except (Broken, GovraftError) as error:
            kind = "in order" if image.in_order else "names out of order"
            report.fault(f"{self._named(error)} ({kind})", where)

    def _check_guard(self, files: dict[str, bytes], promise: Promise) -> None:
        """Once a store was opened, its guard alone keeps `create_store` from making an empty one in its place."""
        writes = int.from_bytes(files.get(guard_path(self._path).name, b"")[8:16], "big")
        if promise.opened and not writes:
            raise Broken("the guard has forgotten that the store was opened")

    def _reopen(self, promise: Promise) -> str:
        store = self._open()
        number = self._compare(store, promise)
        if number < self._plan.count:
            # The node goes on from here, and starts once more.
            store.write(self._plan.batches[number])
            store.save_snapshot(self._plan.snapshot(number + 1))
            store.close()
            store = self._open()
            self._compare(store, Promise(True, True, number + 1, number + 1))
        store.close()
        return "as acknowledged" if number == promise.batch else "with the batch in flight"

    def _create(self) -> str:
        """Nothing was promised yet. Either the store is there, or making it can be repeated."""
        outcome = "made whole"
        try:
            store = self._open()
        except StorageError as error:
            outcome = self._named(error)
            create_store(self._path, cluster_id=CLUSTER, node_id=NODE, late=False)
            store = self._open()
        self._compare(store, Promise(True))
        store.close()
        return outcome

    def _open(self) -> SqliteStore:
        return SqliteStore(self._path, cluster_id=CLUSTER, node_id=NODE, may_create=False)

    def _compare(self, store: SqliteStore, promise: Promise) -> int:
        """The number of the last batch that is there. All of them up to it are, whole."""
        try:
            held, snapshot = held_by(store)
            number = held.hard_state.term
            if number < promise.batch:
                raise Broken("an acknowledged batch is lost")
            if number > promise.batch + 1 or held != self._plan.states[number]:
                raise Broken("the store holds what nobody wrote")
            which = snapshot_number(snapshot)
            if snapshot != self._plan.snapshot(which):
                raise Broken("a snapshot is damaged")
            if which < promise.snapshot:
                raise Broken("an acknowledged snapshot is lost")
        except BaseException:
            store.close()
            raise
        return number

    def _named(self, error: Exception) -> str:
        """The message, the same for all images with the same cause."""
        text = re.sub(r"\d+", "N", str(error).replace(str(self._path.parent) + "/", ""))
        return text if isinstance(error, Broken) else f"refused, {type(error).__name__}: {text}"


def try_images(recording: Recording, directory: Path, count: int, seed: int, report: Report) -> None:
    """Fail the disk of `recording` `count` times, at moments and in ways drawn from `seed`; no image twice."""
    rng = random.Random(seed)
    points = recording.points()
    drawn = sorted(rng.choice(points) for _ in range(count))
    judge = Judge(recording.plan, directory)
    disk, promise, done = Disk(recording.start), Promise(**vars(recording.promise)), 0
    seen: set[bytes] = set()
    for point in drawn:
        for op in recording.ops[done:point]:
            disk.do(op)
            if isinstance(op, Said):
                promise.hear(op.line)
        done = point
        report.unsynced_max = max(report.unsynced_max, disk.unsynced)
        choice, number = rng.choice(disk.choices()) if rng.random() < 0.5 else (Choice.TORN, rng.randrange(1 << 32))
        image = disk.fail(choice, number)
        key = _digest(image, promise)
        if key not in seen:
            seen.add(key)
            where = f"seed {recording.plan.seed}, after operation {point} of {len(recording.ops)}, {choice} {number}"
            judge.judge(image, promise, rng, report, where)


def crash_images(recording: Recording, count: int, seed: int) -> list[tuple[Image, Promise]]:
    """Some images after the creation, for a power failure to follow on."""
    rng = random.Random(seed)
    created = recording.ops.index(Said("created")) + 1
    drawn = sorted(rng.sample([point for point in recording.points() if point > created], count))
    disk, promise, done = Disk(recording.start), Promise(**vars(recording.promise)), 0
    images = []
    for point in drawn:
        for op in recording.ops[done:point]:
            disk.do(op)
            if isinstance(op, Said):
                promise.hear(op.line)
        done = point
        images.append((disk.fail(Choice.TORN, rng.randrange(1 << 32)), Promise(**vars(promise))))
    return images


def record_recoveries(root: Path, plan: Plan, images: list[tuple[Image, Promise]]) -> list[Recording]:
    """Let a process open each image, traced, and write one more batch: recordings that start from the images."""
    recordings: list[Recording] = []
    for start in range(0, len(images), _RECOVERIES):
        # A few at a time: each of them is looked for in the whole log.
        recordings += _record_some(root, plan, images[start : start + _RECOVERIES], start)
    return recordings


def _record_some(root: Path, plan: Plan, images: list[tuple[Image, Promise]], start: int) -> list[Recording]:
    directories = []
    for number, (image, _) in enumerate(images, start):
        directory = root / f"image-{number}"
        directory.mkdir()
        put(image.files, directory)
        directories.append(directory)
    arguments = ["recover", str(plan.seed), str(plan.count), *map(str, directories)]
    traced = run_traced(root / "trace", arguments)
    assert traced.returncode == 0, traced.errors
    recordings = []
    for directory, (image, promise) in zip(directories, images, strict=True):
        ops = []
        for op in operations(traced.log, directory, set(image.files)):
            if not isinstance(op, Said):
                ops.append(op)
            elif op.line.startswith(directory.name + " "):
                ops.append(Said(op.line.partition(" ")[2]))
        recordings.append(Recording(plan, image.files, ops, promise))
    return recordings


def _digest(image: Image, promise: Promise) -> bytes:
    digest = hashlib.blake2b(repr((promise, sorted(image.files))).encode())
    for name in sorted(image.files):
        digest.update(len(image.files[name]).to_bytes(8, "big") + image.files[name])
    return digest.digest()
