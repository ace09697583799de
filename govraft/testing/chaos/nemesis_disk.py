"""Faults of disks: no room, failed syncs, and a crash in the middle of making something durable.

A node that cannot make something durable must stop, with code 3, and say so. It must never go on.
"""

from __future__ import annotations

import errno
import os
import resource
import shutil
import time
from typing import ClassVar

from govraft.testing.chaos.nemesis import Hit, Nemesis, names
from govraft.testing.local_cluster import LocalNode

__all__ = ["FILLER", "CrashAtSync", "CrashAtWrite", "DiskFull", "FileLimit", "FsyncError", "WriteError"]

FILLER = "filler"
_EXIT_HALTED = 3
_KILLED = -9
_SETTLE_S = 3.0
_BLOCK = 256 * 1024


class _Disk(Nemesis):
    """Whatever ends a node here, it must be a halt that names the disk."""

    hold_ms = (4000, 8000)
    expected: ClassVar[frozenset[int]] = frozenset({_EXIT_HALTED})

    def judge_end(self, node: LocalNode) -> None:
        """Note a wrong way of ending."""
        code = node.process.exit_code
        if code is not None and code not in self.expected:
            self.findings.append(f"{self.kind}: {node.id} ended with {code}: {node.log(400)}")


class DiskFull(_Disk):
    """The file system of a node has no block left."""

    kind, explanation = "disk-full", "a file system of a few MiB is filled to the last block"
    needs = frozenset({"tmpfs"})

    def start(self) -> Hit:
        (node,) = self.take(1)
        self._filler = node.database.parent / FILLER
        written = 0
        descriptor = os.open(self._filler, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            for size in (_BLOCK, 4096):
                written += _fill(descriptor, size)
        finally:
            os.close(descriptor)
        return Hit(names([node]), f"{written // 1024} KiB of filler")

    def end(self) -> None:
        self._filler.unlink(missing_ok=True)
        for node in self.taken:
            self.judge_end(node)
        self.restart(self.taken)


class FileLimit(_Disk):
    """No file of a node may grow any more; the kernel answers as a full disk would."""

    kind, explanation = "file-limit", "no file of a node may grow (RLIMIT_FSIZE)"

    def start(self) -> Hit:
        (node,) = self.take(1)
        sizes = [path.stat().st_size for path in node.database.parent.iterdir() if path.is_file()]
        limit = max(sizes, default=0)
        self._before = resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE, (limit, self._before[1]))
        return Hit(names([node]), f"at most {limit // 1024} KiB a file")

    def end(self) -> None:
        for node in self.taken:
            if node.is_running:
                resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE, self._before)
            self.judge_end(node)
        self.restart(self.taken)


class _Injected(_Disk):
    """Runs a node under strace, which lets the kernel answer some calls with an error."""

    needs = frozenset({"strace"})
    calls: ClassVar[str]
    effect: ClassVar[str]
    range: ClassVar[tuple[int, int]] = (10, 150)

    def start(self) -> Hit:
        (node,) = self.take(1)
        node.kill()
        self._trace = self.arena.place(f"{node.id}.strace")
        number = self.dice.randint(*self.range)
        tracer = shutil.which("strace") or "strace"
        # -D: the node stays our child, strace is its grandchild; so it is the node that ends with us.
        wrapper = [tracer, "-D", "-f", "-qq", "--seccomp-bpf", "-o", str(self._trace)]
        wrapper += [f"--trace={self.calls}", f"--inject={self.calls}:{self.effect.format(number=number)}"]
        self._usual = list(node.wrapper)
        node.wrapper = [*self._usual, *wrapper]
        node.start()
        return Hit(names([node]), f"{self.calls}: {self.effect.format(number=number)}")

    def end(self) -> None:
        (node,) = self.taken
        node.wrapper = self._usual
        if node.is_running and self._was_injected():
            deadline = time.monotonic() + _SETTLE_S
            while node.is_running and time.monotonic() < deadline:
                time.sleep(0.05)
            if node.is_running:
                self.findings.append(f"{self.kind}: {node.id} went on after the injected error")
        self.judge_end(node)
        node.kill()
        self.restart(self.taken)

    def _was_injected(self) -> bool:
        return self._trace.exists() and "(INJECTED)" in self._trace.read_text(errors="replace")


class FsyncError(_Injected):
    """A sync fails, and every one after it."""

    kind, explanation = "fsync-error", "fdatasync and fsync answer EIO from some call on"
    calls, effect = "fdatasync,fsync", "error=EIO:when={number}+"


class WriteError(_Injected):
    """A write fails, and every one after it."""

    kind, explanation = "write-error", "pwrite64 answers EIO from some call on"
    calls, effect = "pwrite64", "error=EIO:when={number}+"
    range = (40, 400)


class CrashAtSync(_Injected):
    """The node dies as it syncs."""

    kind, explanation = "crash-at-sync", "SIGKILL at some fdatasync or fsync"
    calls, effect = "fdatasync,fsync", "signal=SIGKILL:when={number}"
    expected = frozenset({_KILLED})


class CrashAtWrite(_Injected):
    """The node dies between two writes."""

    kind, explanation = "crash-at-write", "SIGKILL at some pwrite64"
    calls, effect = "pwrite64", "signal=SIGKILL:when={number}"
    range = (40, 400)
    expected = frozenset({_KILLED})


def _fill(descriptor: int, size: int) -> int:
    """Write until nothing more fits; bounded by the few MiB that the file system has."""
    block, written = bytes(size), 0
    while True:
        try:
            written += os.write(descriptor, block)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            return written
