"""Damaged files at start: the node must refuse to run and name what is damaged; `check-store` must tell the way back.

For a snapshot that way is taken: it is removed, and the node replays its journal. For everything else it is to take the
node out of service, so the run cheats, in the only harmless way: it puts back the very bytes that were there before the
damage, nothing older, and the node goes on. That it then holds everything is for the judge, who reads all lineages.

A store that is lost and made anew under the same key signs nothing: others have seen what the key acked, and show it.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import ClassVar

from govraft.errors import GovraftError
from govraft.node.late_store import OLDER_THAN_OWN_SIGNATURES
from govraft.testing.chaos.nemesis import Hit, Nemesis, UnavailableFaultError, names
from govraft.testing.chaos.nemesis_disk import FILLER
from govraft.testing.local_cluster import ClusterTimeoutError, LocalNode
from govraft.testing.local_cluster_process import wait_for

__all__ = [
    "DamageDatabase",
    "DamageGuard",
    "DamageSnapshot",
    "DamageWal",
    "LostStore",
    "TruncateDatabase",
    "TruncateWal",
    "content",
]

_EXIT_HALTED = 3
_REFUSES_WITHIN_S = 15.0
_EXAMINED_WITHIN_S = 60.0
_DECIDES_WITHIN_S = 20.0
_PAGE = 4096
_WAL_HEADER = 32
_ALL = 1 << 24


class _Damage(Nemesis):
    """End a node, damage one of its files, start it: it must end with code 3.

    Damage that does not change what can be read, such as to a page of which the write-ahead log has a newer version,
    hurts nobody: then the node may run.
    """

    hold_ms = (300, 800)
    suffix: ClassVar[str]
    harm: ClassVar[str]
    in_order: ClassVar[bool] = False
    """Stop it in order first: its write-ahead log is then folded into the database."""

    def start(self) -> Hit:
        (node,) = self.take(1)
        node.stop() if self.in_order else node.kill()
        victim = node.database.with_name(node.database.name + self.suffix)
        if not victim.exists() or victim.stat().st_size == 0:
            node.start()
            raise UnavailableFaultError(f"`{victim.name}` is not there")
        self._copy = self._copied(node, "undamaged")
        what = f"{victim.name}: {_HARMS[self.harm](victim, self.dice)}"
        damaged = self._copied(node, "damaged")
        hurts = self.suffix not in {"", "-wal"} or content(self._copy, self.arena.place("a")) != content(
            damaged, self.arena.place("b")
        )
        shutil.rmtree(damaged)
        before = len(node.log(_ALL))
        node.start()
        if not hurts:
            return Hit(names([node]), f"{what}; nothing that can be read is changed")
        try:
            code = node.process.wait(_REFUSES_WITHIN_S)
        except ClusterTimeoutError:
            self.findings.append(f"{self.kind}: {node.id} runs on a damaged file ({what})")
        else:
            self._judge(node, code, node.log(_ALL)[before:], what)
        return Hit(names([node]), what)

    def end(self) -> None:
        for node in self.taken:
            # A node that ran has signed more by now: putting back what was before would make it forget that.
            if not node.is_running:
                self.put_back(node)
        self.restart(self.taken)

    def _judge(self, node: LocalNode, code: int, said: str, what: str) -> None:
        if code != _EXIT_HALTED or "store refused" not in said:
            self.findings.append(f"{self.kind}: {node.id} ended with {code} on {what}, and said: {said[-400:]}")
        elif node.database.name not in said:
            self.findings.append(f"{self.kind}: {node.id} does not name the damaged file ({what}): {said[-400:]}")
        told = _told(node, "check-store")
        if told.returncode != _EXIT_HALTED or "The way back" not in told.stdout:
            said = (told.stdout + told.stderr)[-400:]
            self.findings.append(f"{self.kind}: `check-store` ended with {told.returncode} on {what}, and said: {said}")

    def _copied(self, node: LocalNode, name: str) -> Path:
        place = self.arena.place(f"{node.id}-{name}")
        shutil.copytree(node.database.parent, place, ignore=shutil.ignore_patterns(FILLER))
        return place

    def put_back(self, node: LocalNode) -> None:
        """Undo the damage of a node that refused to run."""
        _empty(node.database.parent)
        for path in self._copy.iterdir():
            shutil.copy2(path, node.database.parent / path.name)
        shutil.rmtree(self._copy)


def _empty(data: Path) -> None:
    """Remove what is in the directory, which may be a file system of its own."""
    for path in data.iterdir():
        path.unlink()


def _told(node: LocalNode, command: str) -> subprocess.CompletedProcess[str]:
    """What a command of `govraft-node` says about a stopped node."""
    return subprocess.run(  # noqa: S603 - our own interpreter and program
        [sys.executable, "-P", "-m", "govraft.cli.node", command, "--config", str(node.config)],
        capture_output=True,
        text=True,
        timeout=_EXAMINED_WITHIN_S,
        check=False,
    )


def content(data: Path, scratch: Path) -> list[str] | str:
    """All that can be read from the database in `data`, or why it cannot; looked at in a copy at `scratch`."""
    shutil.copytree(data, scratch)
    try:
        with closing(sqlite3.connect(scratch / "node.db")) as connection:
            return [*map(str, connection.execute("PRAGMA integrity_check")), *connection.iterdump()]
    except (sqlite3.Error, UnicodeDecodeError) as error:
        return f"unreadable: {error}"
    finally:
        shutil.rmtree(scratch)


def _noise(path: Path, dice: random.Random) -> str:
    """Overwrite one page with noise."""
    pages = path.stat().st_size // _PAGE
    page = dice.randrange(pages)
    with path.open("r+b") as file:
        file.seek(page * _PAGE)
        file.write(dice.randbytes(_PAGE))
    return f"page {page + 1} of {pages} is noise"


def _truncate(path: Path, dice: random.Random) -> str:
    """Cut off an end of the file."""
    size = path.stat().st_size
    left = dice.randrange(size // 4, size - 1)
    with path.open("r+b") as file:
        file.truncate(left)
    return f"{left} of {size} bytes are left"


def _flip(path: Path, dice: random.Random) -> str:
    """One bit of a small file."""
    content = bytearray(path.read_bytes())
    place = dice.randrange(len(content))
    content[place] ^= 1 << dice.randrange(8)
    path.write_bytes(content)
    return f"one bit of byte {place} is flipped"


def _flip_in_first_frame(path: Path, dice: random.Random) -> str:
    """One bit of the write-ahead log's first frame: SQLite takes all that follows for the end of the log."""
    content = bytearray(path.read_bytes())
    place = dice.randrange(_WAL_HEADER, min(len(content), _WAL_HEADER + 24 + _PAGE))
    content[place] ^= 1 << dice.randrange(8)
    path.write_bytes(content)
    return f"one bit of byte {place} is flipped"


def _cut_to_header(path: Path, dice: random.Random) -> str:
    """Nothing is left of the write-ahead log but a few bytes."""
    left = dice.randrange(_WAL_HEADER)
    with path.open("r+b") as file:
        file.truncate(left)
    return f"{left} bytes are left"


_HARMS: dict[str, Callable[[Path, random.Random], str]] = {
    "noise": _noise,
    "truncate": _truncate,
    "flip": _flip,
    "flip_in_first_frame": _flip_in_first_frame,
    "cut_to_header": _cut_to_header,
}


class DamageDatabase(_Damage):
    """A page of the database is noise."""

    kind, explanation, suffix = "damage-database", "a page of the database is overwritten with noise", ""
    in_order = True
    harm = "noise"


class TruncateDatabase(_Damage):
    """The end of the database is missing."""

    kind, explanation, suffix = "truncate-database", "the end of the database file is cut off", ""
    in_order = True
    harm = "truncate"


class DamageWal(_Damage):
    """A bit of the write-ahead log is wrong."""

    kind, explanation, suffix = "damage-wal", "a bit of the write-ahead log is flipped", "-wal"
    harm = "flip_in_first_frame"


class TruncateWal(_Damage):
    """The write-ahead log is gone."""

    kind, explanation, suffix = "truncate-wal", "the write-ahead log is cut off", "-wal"
    harm = "cut_to_header"


class DamageGuard(_Damage):
    """A bit of the guard beside the database is wrong."""

    kind, explanation, suffix = "damage-guard", "a bit of the guard file is flipped", ".guard"
    harm = "flip"


class DamageSnapshot(_Damage):
    """A bit of the snapshot beside the database is wrong."""

    kind, explanation, suffix = "damage-snapshot", "a bit of the snapshot is flipped", ".snapshot"
    harm = "flip"

    def put_back(self, node: LocalNode) -> None:
        """Remove it: it saves a replay and nothing else."""
        node.database.with_name(node.database.name + self.suffix).unlink()
        shutil.rmtree(self._copy)


class LostStore(_Damage):
    """A store is lost, and made anew under a key that has acked.

    It must stop for good once another node shows it such an ack, having signed nothing: so the lost store may come back
    in the end. Should it settle instead, as nobody saw its key sign, it stays.
    """

    kind, explanation, suffix = "lost-store", "a store is lost, and made anew with `create-store`", ""
    group = "cluster"

    def start(self) -> Hit:
        (node,) = self.take(1)
        node.kill()
        self._copy = self._copied(node, "lost")
        _empty(node.database.parent)
        made = _told(node, "create-store")
        if made.returncode:
            self.findings.append(f"{self.kind}: `create-store` ended with {made.returncode}: {made.stderr[-400:]}")
            return Hit(names([node]), "no other was made")
        node.start()
        return Hit(names([node]), "lost and made anew")

    def end(self) -> None:
        (node,) = self.taken
        if node.is_running and not self._settles(node):
            node.kill()
        if not node.is_running:
            self.put_back(node)
        self.restart([node])

    def _settles(self, node: LocalNode) -> bool:
        """Whether the new store is taken for whole; if neither that nor the contrary is found out, a finding."""

        def decided() -> str:
            status = node.status()
            return "isolated" if status["isolation"] else "late" if status["late"] else "settled"

        try:
            wait_for(lambda: decided() != "late", f"{node.id} to learn what its key has signed", _DECIDES_WITHIN_S)
            found = decided()
        except GovraftError as error:
            self.findings.append(f"{self.kind}: {error}")
            return False
        if found == "isolated" and node.status()["isolation"]["reason"] != OLDER_THAN_OWN_SIGNATURES:
            self.findings.append(f"{self.kind}: {node.id} is isolated, but not for its own signatures")
        return found == "settled"
