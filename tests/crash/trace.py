"""Runs a process under strace and reads back, in order, what it did to the files of one directory.

Nothing is guessed: a system call that changes a file and is not modelled here raises, and so does a line that cannot be
read. The `-shm` file of SQLite is left out: it is mapped, never synced, and rebuilt by whoever comes first.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).resolve().parents[1]
WORKLOAD = Path(__file__).with_name("workload.py")

_CALLS = (
    "openat,open,creat,close,dup,dup2,dup3,fcntl,lseek,read,write,writev,pwrite64,pwritev,pwritev2,truncate,ftruncate,"
    "fallocate,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,mkdir,mkdirat,rmdir,fsync,"
    "fdatasync,sync_file_range,msync,sync,syncfs,mmap,copy_file_range,sendfile,splice"
)
_LINE = re.compile(r"\d+ +(\w+)\((.*)\) += (-?\d+|0x[0-9a-f]+|\?)(.*)", re.DOTALL)
_CUT = re.compile(r"\d+ +(\w+)\((.*?)(?: <unfinished \.\.\.>)?\)?(?: += \?)?$", re.DOTALL)
_GONE = "/"
"""The name of an open file that has none any more."""
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')


class Create(NamedTuple):
    """A new, empty file."""

    name: str


class Write(NamedTuple):
    name: str
    offset: int
    data: bytes


class Truncate(NamedTuple):
    name: str
    size: int


class Rename(NamedTuple):
    old: str
    new: str


class Unlink(NamedTuple):
    name: str


class SyncFile(NamedTuple):
    name: str


class SyncNames(NamedTuple):
    """The directory itself was synced."""


class Said(NamedTuple):
    """A line of the process."""

    line: str


Op = Create | Write | Truncate | Rename | Unlink | SyncFile | SyncNames | Said


class Traced(NamedTuple):
    """How a process ended and what was seen of it."""

    returncode: int
    errors: str
    log: str


def run_traced(log: Path, arguments: list[str], *, inject: str = "", timeout_s: float = 120.0) -> Traced:
    """Run the workload with `arguments`. `inject` is strace's: which call fails, or kills, and when."""
    command = ["strace", "-f", "-xx", "-s", str(1 << 20), "-o", str(log), "-e", f"trace={_CALLS}"]
    # It is much faster with the filter, but injects no signals then.
    command += ["-e", f"inject={inject}"] if inject else ["--seccomp-bpf"]
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [*command, sys.executable, str(WORKLOAD), *arguments],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        env=environment,
    )
    return Traced(done.returncode, done.stderr, log.read_text())


class UnmodelledError(Exception):
    """The process did something to its files that this module knows nothing of."""


def operations(log: str, directory: Path, names: set[str]) -> list[Op]:
    """What the traced process did in `directory`, which held the files `names` before."""
    return list(_Reader(directory, names).read(log))


class _Reader:
    def __init__(self, directory: Path, names: set[str]) -> None:
        self._directory = str(directory)
        self._names = set(names)
        # Where each descriptor leads: a file of the directory, or "" for the directory itself.
        self._open: dict[int, str] = {}
        self._places: dict[int, int] = {}

    def read(self, log: str) -> Iterator[Op]:
        for line in log.splitlines():
            if " +++ " in line or " --- " in line:
                continue
            matched = _LINE.fullmatch(line)
            if matched is None:
                self._check_cut(line)
                continue
            call, arguments, result, _ = matched.groups()
            if result == "?":
                self._check_cut(line)
            elif not result.startswith("-"):
                texts = [_decoded(text, line) for text in _TEXT.finditer(arguments)]
                yield from self._operation(call, _TEXT.sub("", arguments).split(", "), texts, int(result, 0))

    def _check_cut(self, line: str) -> None:
        """A call that never returned: the process was killed in it. Only a sync may be cut: it changes nothing."""
        matched = _CUT.fullmatch(line)
        if matched is None or matched[1] not in ("fsync", "fdatasync", "exit_group"):
            raise UnmodelledError(line[:200])

    def _operation(self, call: str, words: list[str], texts: list[bytes], result: int) -> Iterator[Op]:
        if call in ("openat", "open"):
            yield from self._opened(texts[0].decode(), words[-2:], result)
        elif call in ("rename", "unlink"):
            yield from self._renamed(call, [text.decode() for text in texts])
        elif call == "write" and words[0] == "1":
            yield Said(texts[0].decode().rstrip("\n"))
        elif words[0].isdigit() and int(words[0]) in self._open:
            yield from self._changed(call, int(words[0]), words, texts, result)
        elif call == "mmap" and words[4].isdigit() and self._open.get(int(words[4])) is not None:
            if "MAP_SHARED" in words[3] and "PROT_WRITE" in words[2]:
                raise UnmodelledError(f"{call} of {self._open[int(words[4])]}")
        elif any(self._inside(text) for text in texts) or call in ("sync", "syncfs"):
            raise UnmodelledError(f"{call} {texts}")

    def _opened(self, path: str, words: list[str], descriptor: int) -> Iterator[Op]:
        self._open.pop(descriptor, None)
        if path == self._directory:
            self._open[descriptor] = ""
        elif self._inside(path.encode()) and not path.endswith("-shm"):
            name = os.path.basename(path)
            self._open[descriptor] = name
            self._places[descriptor] = 0
            flags = next(word for word in words if word.startswith("O_"))
            if "O_APPEND" in flags:
                raise UnmodelledError(f"{name} is opened to append")
            if name not in self._names:
                self._names.add(name)
                yield Create(name)
            elif "O_TRUNC" in flags:
                yield Truncate(name, 0)

    def _renamed(self, call: str, paths: list[str]) -> Iterator[Op]:
        inside = [self._inside(path.encode()) for path in paths]
        if not any(inside) or paths[0].endswith("-shm"):
            return
        if not all(inside):
            raise UnmodelledError(f"{call} {paths}")
        names = [os.path.basename(path) for path in paths]
        self._names.discard(names[0])
        # SQLite and the store close what they take away, before or after, and write no more to it.
        for descriptor in [key for key, name in self._open.items() if name in names]:
            self._open[descriptor] = _GONE
        if call == "rename":
            self._names.add(names[1])
            yield Rename(names[0], names[1])
        else:
            yield Unlink(names[0])

    def _changed(self, call: str, descriptor: int, words: list[str], texts: list[bytes], result: int) -> Iterator[Op]:
        name = self._open[descriptor]
        if call == "close":
            del self._open[descriptor]
        elif name == _GONE:
            raise UnmodelledError(f"{call} of a file that is gone")
        elif call in ("fsync", "fdatasync"):
            yield SyncFile(name) if name else SyncNames()
        elif call in ("write", "pwrite64"):
            offset = int(words[-1]) if call == "pwrite64" else self._places[descriptor]
            if len(texts[0]) < result:
                raise UnmodelledError(f"{call} of {name}: strace kept {len(texts[0])} bytes of {result}")
            if call == "write":
                self._places[descriptor] += result
            yield Write(name, offset, texts[0][:result])
        elif call == "ftruncate":
            yield Truncate(name, int(words[-1]))
        elif call == "lseek":
            self._places[descriptor] = result
        elif call == "read":
            self._places[descriptor] += result
        elif call != "fcntl" or "F_DUPFD" in words[1]:
            raise UnmodelledError(f"{call} of {name}")

    def _inside(self, path: bytes) -> bool:
        return path.startswith(self._directory.encode() + b"/")


def _decoded(text: re.Match[str], line: str) -> bytes:
    # Only texts that are of no interest here, what was read, may be long enough to be cut.
    if text[2] and " read(" not in line:
        raise UnmodelledError(f"strace cut a text: {line[:100]}")
    return bytes.fromhex(text[1].replace("\\x", ""))
