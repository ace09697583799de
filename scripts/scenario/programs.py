"""Programs of this release, run to their end, with what they cost; and what a running node holds in memory."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from govraft.testing.local_cluster import LocalNode
from govraft.testing.local_cluster_errors import ClusterError

__all__ = ["Cost", "memory_mib", "peak_mib", "require_done", "run_program", "size_mib"]

_KIB = 1024
_MIB = 1024 * 1024


class Cost(msgspec.Struct, frozen=True):
    """What one run took: exit code, output, seconds by the clock and of processor time, and most MiB in memory."""

    code: int
    out: str
    err: str
    wall_s: float
    cpu_s: float
    peak_mib: float


def run_program(module: str, *arguments: object, cwd: Path) -> Cost:
    """Run a module of govraft, such as `govraft.cli.main`, to its end."""
    command = [sys.executable, "-P", "-m", module, *map(str, arguments)]
    out, err = cwd / "program.out", cwd / "program.err"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        began = time.monotonic()
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, cwd=cwd) as process:
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        wall_s = time.monotonic() - began
    said = (out.read_text(errors="replace"), err.read_text(errors="replace"))
    return Cost(process.returncode, *said, wall_s, used.ru_utime + used.ru_stime, used.ru_maxrss / _KIB)


def require_done(cost: Cost, what: str) -> Cost:
    """The same, if it ended well.

    Raises:
        ClusterError: It did not.
    """
    if cost.code != 0:
        raise ClusterError(f"{what} ended with {cost.code}: {cost.err[-1000:]}{cost.out[-1000:]}")
    return cost


def memory_mib(node: LocalNode) -> float:
    """What a running node holds in memory now, MiB."""
    return _status(node, "VmRSS")


def peak_mib(node: LocalNode) -> float:
    """The most that a running node held in memory in this life, MiB."""
    return _status(node, "VmHWM")


def size_mib(path: Path) -> float:
    """Size of a file, MiB, with the write-ahead log of a database; 0 if there is none."""
    files = (path, path.with_name(f"{path.name}-wal"))
    return sum(file.stat().st_size for file in files if file.exists()) / _MIB


def _status(node: LocalNode, field: str) -> float:
    text = Path(f"/proc/{node.process.pid}/status").read_text()
    return next(int(line.split()[1]) / _KIB for line in text.splitlines() if line.startswith(f"{field}:"))
