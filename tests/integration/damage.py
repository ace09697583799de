"""Ways to damage a file, and what a database holds, for the tests of damaged stores."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

PAGE = 4096
FLIPS = (0, 1, 3, 5, 7, 8, 12, 24, 60, 99, 100, 700, 2500, 4000, 4095)

Damage = Callable[[Path], None]


def flip(place: int, mask: int = 0x10) -> Damage:
    """Change one bit; `place` may count from the end."""

    def damage(file: Path) -> None:
        content = bytearray(file.read_bytes())
        content[place] ^= mask
        file.write_bytes(content)

    return damage


def cut(size: int) -> Damage:
    """Keep the first bytes only; a negative size takes away from the end."""

    def damage(file: Path) -> None:
        file.write_bytes(file.read_bytes()[:size])

    return damage


def fill(start: int, count: int, byte: bytes = b"\0") -> Damage:
    """Overwrite a range."""

    def damage(file: Path) -> None:
        content = bytearray(file.read_bytes())
        end = min(len(content), start + count)
        content[start:end] = byte * (end - start)
        file.write_bytes(content)

    return damage


def swap(first: int, second: int, count: int) -> Damage:
    """Exchange two ranges, as a controller that mixed up two sectors would."""

    def damage(file: Path) -> None:
        content = bytearray(file.read_bytes())
        one, other = content[first : first + count], content[second : second + count]
        content[first : first + count], content[second : second + count] = other, one
        file.write_bytes(content)

    return damage


def append(rubbish: bytes) -> Damage:
    """Add bytes at the end."""

    def damage(file: Path) -> None:
        file.write_bytes(file.read_bytes() + rubbish)

    return damage


def replace(content: bytes) -> Damage:
    """Put something else in its place."""

    def damage(file: Path) -> None:
        file.write_bytes(content)

    return damage


def delete(file: Path) -> None:
    file.unlink()


def everywhere(file: Path, blocks_max: int) -> Iterator[tuple[str, Damage]]:
    """Every kind of damage at every kind of place of this file; of many blocks, `blocks_max` spread over it."""
    size = file.stat().st_size
    yield "deleted", delete
    yield "emptied", replace(b"")
    yield "rubbish", replace(b"not what it was " * (size // 16 + 1))
    yield "all zero", replace(bytes(size))
    yield "longer", append(b"\0" * 100)
    for share in (1, 2, 3, 5, 7):
        yield f"cut to {share}/8", cut(size * share // 8)
    for missing in (1, 24, 512):
        if missing < size:
            yield f"cut by {missing}", cut(-missing)
    blocks = -(-size // PAGE)
    for number in sorted({0, *range(blocks - 1, 0, -max(1, blocks // blocks_max))}):
        start = number * PAGE
        for place in FLIPS:
            if start + place < size:
                yield f"bit of byte {place} of block {number}", flip(start + place)
        if size > PAGE:
            yield f"block {number} zero", fill(start, PAGE)
            yield f"sector of block {number} zero", fill(start + 512, 512)
            yield f"block {number} ones", fill(start, PAGE, b"\xff")
    if size >= 3 * PAGE:
        yield "two blocks swapped", swap(PAGE, 2 * PAGE, PAGE)


def dump(database: Path) -> object:
    """Everything that a database says but for its count of writes."""
    queries = ("meta", "journal", "leaves", "records WHERE name <> 'summary'")
    with closing(sqlite3.connect(database)) as connection:
        return [list(connection.execute(f"SELECT * FROM {query}")) for query in queries]


def digests(directory: Path) -> dict[str, str]:
    """What the files are, byte for byte; the shared memory of SQLite, which holds nothing, left out."""
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(directory.rglob("*"))
        if file.is_file() and not file.name.endswith("-shm")
    }
