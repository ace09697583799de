"""The disk that fails is itself tested: what it may take back, what it may not, and what it cannot read."""

from __future__ import annotations

from pathlib import Path

import pytest
from crash.disk import Choice, Disk
from crash.trace import Create, Rename, SyncFile, SyncNames, Truncate, Unlink, UnmodelledError, Write, operations

DIRECTORY = Path("/data")


def outcomes(disk: Disk) -> list[dict[str, bytes]]:
    """Many of the images that are possible."""
    torn = [(Choice.TORN, seed) for seed in range(300)]
    return [disk.fail(choice, number).files for choice, number in [*disk.choices(), *torn]]


def test_what_was_synced_stays() -> None:
    disk = Disk()
    for op in (Create("a"), Write("a", 0, b"whole"), SyncFile("a"), SyncNames()):
        disk.do(op)
    assert disk.unsynced == 0
    assert all(left == {"a": b"whole"} for left in outcomes(disk))


def test_a_synced_file_may_lack_its_name_and_a_name_its_contents() -> None:
    disk = Disk()
    for op in (Create("a"), Write("a", 0, b"whole"), SyncFile("a")):
        disk.do(op)
    assert {len(left) for left in outcomes(disk)} == {0, 1}
    disk.do(SyncNames())
    disk.do(Write("a", 0, b"again"))
    assert {left["a"] for left in outcomes(disk)} == {b"whole", b"again"}


def test_a_rename_happens_or_not_and_the_contents_may_be_missing() -> None:
    disk = Disk({"a": b"old"})
    for op in (Create("b"), Write("b", 0, b"new"), Rename("b", "a")):
        disk.do(op)
    assert {left["a"] for left in outcomes(disk)} == {b"old", b"new", b"", b"\0\0\0"}
    disk.do(SyncFile("a"))
    assert {left["a"] for left in outcomes(disk)} == {b"old", b"new"}
    disk.do(SyncNames())
    assert {left["a"] for left in outcomes(disk)} == {b"new"}


def test_a_removed_file_may_come_back() -> None:
    disk = Disk({"a": b"old"})
    disk.do(Unlink("a"))
    assert {tuple(left) for left in outcomes(disk)} == {(), ("a",)}


def test_writes_are_torn_between_sectors_and_change_places() -> None:
    disk = Disk({"a": bytes(1024)})
    disk.do(Write("a", 500, b"\1" * 24))
    disk.do(Write("a", 1000, b"\2" * 100))
    found = {left["a"] for left in outcomes(disk)}
    assert any(left[500:512] == b"\1" * 12 and left[512:524] == bytes(12) for left in found)
    assert any(left[500:512] == bytes(12) and left[512:524] == b"\1" * 12 for left in found)
    assert any(left[500:524] == bytes(24) and left[1000:] == b"\2" * 100 for left in found)
    assert any(len(left) == 1100 and left[1024:] == bytes(76) for left in found), "grown, without the bytes"


def test_a_truncation_may_be_taken_back() -> None:
    disk = Disk({"a": b"long"})
    disk.do(Truncate("a", 1))
    assert {left["a"] for left in outcomes(disk)} >= {b"long", b"l"}


def test_what_a_journalling_file_system_could_leave_is_told_apart() -> None:
    disk = Disk()
    for op in (Create("a"), Create("b")):
        disk.do(op)
    alone = [disk.fail(Choice.ONE, number) for number in (0, 1)]
    assert [(set(image.files), image.in_order) for image in alone] == [({"a"}, True), ({"b"}, False)]
    disk.do(SyncFile("b"))
    assert not disk.fail(Choice.NONE, 0).in_order
    assert disk.fail(Choice.ALL, 0).in_order


def hexed(text: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in text.encode())


@pytest.mark.parametrize(
    "line",
    [
        f'7 link("{hexed("/data/a")}", "{hexed("/data/b")}") = 0',
        f'7 rename("{hexed("/data/a")}", "{hexed("/elsewhere")}") = 0',
        f'7 openat(AT_FDCWD, "{hexed("/data/a")}", O_WRONLY|O_CREAT|O_APPEND, 0600) = 3',
        "7 pwritev(3, [], 1, 0) = 9",
        "7 fallocate(3, 0, 0, 100) = 0",
        "7 mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED, 3, 0) = 0x7f0000000000",
        f'7 pwrite64(3, "{hexed("ab")}"..., 4, 0) = 4',
        "7 pwrite64(3,  <unfinished ...>",
        "7 sync() = 0",
    ],
)
def test_a_call_that_is_not_understood_is_not_passed_over(line: str) -> None:
    opened = f'7 openat(AT_FDCWD, "{hexed("/data/z")}", O_RDWR|O_CREAT, 0600) = 3\n'
    assert operations(opened, DIRECTORY, set()) == [Create("z")]
    with pytest.raises(UnmodelledError):
        operations(opened + line, DIRECTORY, set())
