"""What a disk may hold after a power failure, given what a process did to its files.

The model promises less than any file system does:

1. A file's contents are durable when the file is synced, names when their directory is. Nothing else is.
2. Of what is not durable, any part may be there: each write, each sector of it, each change of a name, in any order.
3. A file may have grown without its new bytes: they read as zeros.
4. A sector of 512 bytes holds what was there before or what was written to it, and a rename happens or not.

Rule 2 is stricter than ext4, which keeps changes of names in order and makes them durable with the next sync of any
file. `Image.in_order` tells whether such a file system could leave the image too.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from crash.trace import Create, Op, Rename, Said, SyncFile, SyncNames, Truncate, Unlink, Write

SECTOR = 512


class Choice(StrEnum):
    """Which of the changes that are not durable a power failure leaves."""

    NONE = "none"
    ALL = "all"
    ALL_BUT_ONE = "all but one"
    ONE = "one alone"
    GROWN = "only the new sizes"
    TORN = "torn at random"


class Image(NamedTuple):
    """The files that are left. `in_order`: also where names change in order, as on ext4."""

    files: dict[str, bytes]
    in_order: bool


class _File:
    """Contents that are durable, and what was done to them since."""

    def __init__(self, durable: bytes = b"") -> None:
        self.durable = durable
        self.pending: list[Write | Truncate] = []

    def sync(self) -> None:
        self.durable = self.latest()
        self.pending = []

    def latest(self) -> bytes:
        """What a process reads."""
        return self.left({number: None for number in range(len(self.pending))}, grown=False)

    def size(self) -> int:
        """As a process sees it."""
        size = len(self.durable)
        for op in self.pending:
            size = op.size if isinstance(op, Truncate) else max(size, op.offset + len(op.data))
        return size

    def left(self, kept: dict[int, set[int] | None], *, grown: bool) -> bytes:
        """The contents if of the pending changes `kept` are left: by number, the sectors, or None for all."""
        content = bytearray(self.durable)
        for number, op in enumerate(self.pending):
            if number not in kept:
                continue
            if isinstance(op, Truncate):
                content[op.size :] = bytes(max(0, op.size - len(content)))
                continue
            sectors = kept[number]
            for start, data in [(op.offset, op.data)] if sectors is None else _pieces(op, sectors):
                if start > len(content):
                    content.extend(bytes(start - len(content)))
                content[start : start + len(data)] = data
        if grown:
            content.extend(bytes(max(0, self.size() - len(content))))
        return bytes(content)


class _NameOp(NamedTuple):
    """`old` names `file` no more, `new` does; either may be missing."""

    old: str
    new: str
    file: _File
    # Whether a file was synced since: a journalling file system would have made the change durable with it.
    journalled: bool = False


class Disk:
    """The one directory that a process works in."""

    def __init__(self, durable: dict[str, bytes] | None = None) -> None:
        self._durable = {name: _File(content) for name, content in (durable or {}).items()}
        self._names = dict(self._durable)
        self._pending: list[_NameOp] = []

    def do(self, op: Op) -> None:
        """Let the process go one step further."""
        match op:
            case Create(name):
                self._rename(_NameOp("", name, _File()))
            case Rename(old, new):
                self._rename(_NameOp(old, new, self._names[old]))
            case Unlink(name):
                self._rename(_NameOp(name, "", self._names[name]))
            case Write(name) | Truncate(name):
                self._names[name].pending.append(op)
            case SyncFile(name):
                self._names[name].sync()
                self._pending = [change._replace(journalled=True) for change in self._pending]
            case SyncNames():
                self._durable = dict(self._names)
                self._pending = []
            case Said():
                pass

    def latest(self) -> dict[str, bytes]:
        """The files as a process sees them, or as they are after a kill without a power failure."""
        return {name: file.latest() for name, file in self._names.items()}

    @property
    def unsynced(self) -> int:
        """How many changes a power failure could take back."""
        return len(self._pending) + sum(len(file.pending) for file in self._files())

    def choices(self) -> list[tuple[Choice, int]]:
        """All systematic ones; the number is that of the one change."""
        ones = [(choice, number) for number in range(self.unsynced) for choice in (Choice.ALL_BUT_ONE, Choice.ONE)]
        return [(Choice.NONE, 0), (Choice.ALL, 0), (Choice.GROWN, 0), *ones]

    def fail(self, choice: Choice, number: int) -> Image:
        """What a power failure leaves now. `number` is the one change, or the seed of what is torn."""
        rng = random.Random(number)
        names = len(self._pending)
        if choice is Choice.TORN:
            share = rng.choice((0.1, 0.5, 0.9))
            # Names in order half of the time: a change that is out of order often leads to the same, dull end.
            prefix = rng.randint(0, names) if rng.random() < 0.5 else None
            kept_names = [place < prefix if prefix is not None else rng.random() < share for place in range(names)]
        else:
            all_kept, one = choice in (Choice.ALL, Choice.ALL_BUT_ONE), choice in (Choice.ALL_BUT_ONE, Choice.ONE)
            # Under "only the new sizes" the names are there: an empty file that nobody finds is none.
            kept_names = [choice is Choice.GROWN or all_kept != (one and place == number) for place in range(names)]
        left: dict[int, bytes] = {}
        place = names
        for file in self._files():
            count = len(file.pending)
            if choice is Choice.TORN:
                kept = _torn(file.pending, share, rng)
                left[id(file)] = file.left(kept, grown=rng.random() < 0.25)
            else:
                wanted = (all_kept != (one and place + each == number) for each in range(count))
                kept = {each: None for each, keep in enumerate(wanted) if keep}
                left[id(file)] = file.left(kept, grown=choice is Choice.GROWN)
            place += count
        reached = dict(self._durable)
        for change, keep in zip(self._pending, kept_names, strict=True):
            if keep:
                _apply(reached, change)
        return Image({name: left[id(file)] for name, file in reached.items()}, self._is_in_order(kept_names))

    def _rename(self, change: _NameOp) -> None:
        self._pending.append(change)
        _apply(self._names, change)

    def _files(self) -> list[_File]:
        """Each file that some name leads to, or led to, or may lead to."""
        files = [*self._durable.values(), *(change.file for change in self._pending), *self._names.values()]
        return list({id(file): file for file in files}.values())

    def _is_in_order(self, kept: list[bool]) -> bool:
        durable = sum(change.journalled for change in self._pending)
        return kept == sorted(kept, reverse=True) and all(kept[:durable])


def replay(disk: Disk, ops: Iterable[Op]) -> None:
    """Do all of `ops`."""
    for op in ops:
        disk.do(op)


def put(files: dict[str, bytes], directory: Path) -> None:
    """Make `directory` hold `files` and nothing else."""
    for leftover in directory.iterdir():
        leftover.unlink()
    for name, content in files.items():
        (directory / name).write_bytes(content)


def _apply(names: dict[str, _File], change: _NameOp) -> None:
    if change.old and names.get(change.old) is change.file:
        del names[change.old]
    if change.new:
        names[change.new] = change.file


def _torn(pending: list[Write | Truncate], share: float, rng: random.Random) -> dict[int, set[int] | None]:
    kept: dict[int, set[int] | None] = {}
    for number, op in enumerate(pending):
        fate = rng.random()
        if isinstance(op, Truncate) or fate < 0.5:
            if rng.random() < share:
                kept[number] = None
            continue
        sectors = list(range(op.offset // SECTOR, (op.offset + len(op.data) - 1) // SECTOR + 1))
        if fate < 0.7:
            kept[number] = set(sectors[: rng.randint(0, len(sectors))])
        else:
            kept[number] = {sector for sector in sectors if rng.random() < share}
    return kept


def _pieces(op: Write, sectors: set[int]) -> list[tuple[int, bytes]]:
    """The parts of a write that lie in `sectors`."""
    pieces = []
    for sector in sorted(sectors):
        start = max(op.offset, sector * SECTOR)
        end = min(op.offset + len(op.data), (sector + 1) * SECTOR)
        pieces.append((start, op.data[start - op.offset : end - op.offset]))
    return pieces
