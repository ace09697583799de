"""What a power failure leaves of a real store: all that was acknowledged, and no node kept from coming back.

Bounded by `GOVRAFT_CRASH_IMAGES`, the number of power failures of each workload; hundreds by default, thousands before
a release. A failure names the seed, the operation and the choice that lead to the image.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from crash.plan import Plan
from crash.trace import Said, run_traced
from crash.trial import Report, crash_images, record, record_recoveries, try_images

IMAGES = int(os.environ.get("GOVRAFT_CRASH_IMAGES", "120"))
IMAGES_A_RECORDING = 400
"""More of one recording would mostly be the same again."""

pytestmark = [pytest.mark.usefixtures("strace"), pytest.mark.timeout(120 + IMAGES // 10)]

WORKLOADS = {
    # Name: batches, pages in the log before it is folded in, syncs in which the process is killed.
    "creation": (1, 1000, ()),
    "creation, killed": (1, 1000, (3, 8)),
    "long log": (20, 1000, ()),
    "short log": (30, 8, ()),
    "killed": (25, 20, (12, 9, 16, 2, 5)),
}


def assert_whole(report: Report) -> None:
    """No fault; and not because nothing was tried."""
    print(report.images, "images;", dict(report.outcomes + report.before_creation))
    assert not report.faults, "\n".join(
        f"{count} x {what}: {report.examples[what]}" for what, count in report.faults.items()
    )


@pytest.mark.parametrize("name", WORKLOADS)
def test_all_that_was_acknowledged_is_there(scratch: Path, name: str) -> None:
    count, pages, kills = WORKLOADS[name]
    report = Report()
    for seed in range(1, 2 + (IMAGES - 1) // IMAGES_A_RECORDING):
        for file in (scratch / "run").iterdir():
            file.unlink()
        recording = record(scratch / "run", Plan(seed, count), pages=pages, kills=kills)
        try_images(recording, scratch / "image", min(IMAGES, IMAGES_A_RECORDING), seed, report)
    assert_whole(report)
    assert report.images > min(IMAGES, IMAGES_A_RECORDING) // 4
    assert report.outcomes["as acknowledged"] > 10
    assert report.before_creation if "creation" in name else report.outcomes["with the batch in flight"] > 2


def test_a_second_power_failure_during_the_recovery_is_survived(scratch: Path) -> None:
    plan = Plan(7, 30)
    recording = record(scratch / "run", plan, pages=8)
    report = Report()
    images = crash_images(recording, max(8, IMAGES // 50), 7)
    for number, recovery in enumerate(record_recoveries(scratch, plan, images)):
        assert recovery.points(), "a recovery must sync what it acts on"
        try_images(recovery, scratch / "image", 15, number, report)
    assert_whole(report)
    assert report.outcomes["as acknowledged"] > 10


PLANTS = {
    # Name: syncs in which the process is killed, batches, what must be seen.
    "synchronous-OFF": ((), 20, "an acknowledged batch is lost"),
    "synchronous-NORMAL": ((), 20, "an acknowledged batch is lost"),
    "guard-first": ((), 20, "lacks the last N writes"),
    "guard-never-synced": ((), 2, "the guard has forgotten"),
    "snapshot-unsynced": ((), 20, "a snapshot is damaged"),
    "snapshot-name-unsynced": ((), 20, "an acknowledged snapshot is lost"),
    "creation-name-unsynced": ((), 1, "does not exist"),
    "read-not-synced": ((14, 4), 20, "an acknowledged batch is lost|lacks the last N writes"),
}


@pytest.mark.parametrize("plant", PLANTS)
def test_a_store_that_does_not_keep_its_promise_is_found_out(scratch: Path, plant: str) -> None:
    kills, count, seen = PLANTS[plant]
    report = Report()
    recording = record(scratch / "run", Plan(5, count), pages=20, plant=plant, kills=kills)
    try_images(recording, scratch / "image", 150, 5, report)
    assert any(re.search(seen, what) for what in report.faults), report.faults


def said(log: str) -> list[str]:
    """The lines that the traced process wrote, in hex as strace has them."""
    return [bytes.fromhex(text.replace("\\x", "")).decode() for text in re.findall(r'write\(1, "(\S*)"', log)]


def is_of_directory(before: str, line: str, directory: Path) -> bool:
    """Whether the call in `line` was for the directory itself; `before` is the log up to there."""
    descriptor = re.search(r"sync\((\d+)\)", line)
    assert descriptor is not None
    opened = re.findall(rf'openat\(AT_FDCWD, "(\S*)".* = {descriptor[1]}\n', before)
    return bytes.fromhex(opened[-1].replace("\\x", "")).decode() == str(directory)


@pytest.mark.parametrize(
    ("call", "error", "step"),
    [("fdatasync", "EIO", 1), ("fsync", "EIO", 1), ("pwrite64", "ENOSPC", 13), ("ftruncate", "EIO", 1)],
)
def test_the_first_failed_sync_is_the_last_write(scratch: Path, call: str, error: str, step: int) -> None:
    """Whichever call fails: that of a creation, a start, a commit, a snapshot, or of folding in the log."""
    stopped, overlooked = 0, 0
    for when in range(1, 200, step):
        directory = scratch / f"run-{when}"
        directory.mkdir()
        arguments = ["write", str(directory), "1", "6", "--pages", "12", "--go-on"]
        log = run_traced(scratch / "trace", arguments, inject=f"{call}:error={error}:when={when}").log
        place = log.find("(INJECTED)")
        if place < 0:
            break
        line_start = log.rfind("\n", 0, place) + 1
        after = said(log[place:])
        if "created\n" in after or any(line.startswith(("batch", "snapshot")) for line in after):
            # SQLite overlooks a failure to sync the directory of a new journal or log, and does it only then. The
            # store syncs the directory itself before it promises anything.
            assert is_of_directory(log[:line_start], log[line_start:place], directory), (when, after)
            assert log[place:].count(" fsync(") > 0
            overlooked += 1
        else:
            assert len(after) == 0 or (after[0] == "failed\n" and set(after[1:]) <= {"refused\n"}), after
            stopped += 1
    else:
        pytest.fail(f"no end of {call}")
    assert stopped >= 4
    assert overlooked <= (3 if call == "fdatasync" else 0)


@pytest.mark.parametrize("when", [12, 15, 18, 21])
def test_a_power_failure_after_a_failed_sync(scratch: Path, when: int) -> None:
    """What a sync that failed should have made durable counts as lost; nothing that was acknowledged may need it."""
    recording = record(scratch / "run", Plan(1, 12), pages=12, inject=f"fdatasync:error=EIO:when={when}")
    assert Said("failed") in recording.ops
    report = Report()
    try_images(recording, scratch / "image", 60, when, report)
    assert_whole(report)
