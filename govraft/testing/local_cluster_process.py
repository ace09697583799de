"""Child processes that die with the process that started them, however that one ends.

The kernel kills a child when the *thread* that started it ends (`PR_SET_PDEATHSIG`): start processes from the main
thread, or from a thread that outlives them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from govraft.errors import GovraftError
from govraft.testing.local_cluster_errors import ClusterError, ClusterTimeoutError

__all__ = ["PATIENCE_S", "ChildProcess", "start_sweeper", "wait_for"]

PATIENCE_S = 20.0
"""For everything that must happen, but need not happen at once."""

_POLL_S = 0.01

# Runs before the program proper: asks the kernel to kill it when its parent dies, and makes sure that it has not yet.
_LEASH = (
    "import ctypes, os, sys\n"
    "ctypes.CDLL(None).prctl(1, 9)\n"
    "os.getppid() == int(sys.argv[1]) or sys.exit('the parent is gone')\n"
    "os.execv(sys.argv[2], sys.argv[2:])\n"
)

# Outlives its parent on purpose: when the pipe closes, whatever closed it, the directory goes. The processes that write
# there die at the same moment, so a second and third look may be needed.
_SWEEP = (
    "import os, shutil, sys, time\n"
    "sys.stdin.buffer.read()\n"
    "for _ in range(50):\n"
    "    shutil.rmtree(sys.argv[1], ignore_errors=True)\n"
    "    if not os.path.lexists(sys.argv[1]): break\n"
    "    time.sleep(0.1)\n"
)

T = TypeVar("T")


def wait_for(attempt: Callable[[], T | None], what: str | Callable[[], str], timeout_s: float = PATIENCE_S) -> T:
    """The first true value of `attempt`, which is repeated until then.

    Args:
        attempt: Asked every 10 ms. Its `GovraftError`s and `OSError`s count as "not yet"; a `ClusterError` is raised.
        what: Is waited for, or a function that describes how things are.
        timeout_s: Seconds.

    Raises:
        ClusterTimeoutError: It did not become true in time.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        error: Exception | None = None
        try:
            found = attempt()
        except ClusterError:
            raise
        except (GovraftError, OSError) as failed:
            found, error = None, failed
        if found:
            return found
        if time.monotonic() > deadline:
            said = what if isinstance(what, str) else what()
            raise ClusterTimeoutError(f"not within {timeout_s:g} s: {said}{f' ({error})' if error else ''}")
        time.sleep(_POLL_S)


def start_sweeper(directory: Path) -> subprocess.Popen[bytes]:
    """A process that removes `directory` as soon as its standard input is closed, by us or by our death."""
    command = [sys.executable, "-I", "-S", "-c", _SWEEP, str(directory)]
    return subprocess.Popen(  # noqa: S603 - our own interpreter, our own text
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


class ChildProcess:
    """A process that dies with this one.

    Args:
        command: Program with an absolute path, and its arguments.
        log: Its output is appended here.
        environment: More environment variables.
    """

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> None:
        self._log = log
        leashed = [sys.executable, "-I", "-S", "-c", _LEASH, str(os.getpid()), *command]
        with log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - a list of the caller, no shell
                leashed,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={**os.environ, **(environment or {})},
            )
        self.pid = self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended; a paused one runs."""
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative for the signal that ended it."""
        return self._process.poll()

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """Its exit code; negative for the signal that ended it.

        Raises:
            ClusterTimeoutError: It did not end in time.
        """
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise ClusterTimeoutError(f"process {self.pid} did not end within {timeout_s:g} s") from None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens if it has ended."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once, as a crash would; returns when it is gone."""
        self._process.kill()
        self.wait()

    def pause(self) -> None:
        """Stop it in its tracks; returns once it has stopped, or ended."""
        self.signal(signal.SIGSTOP)
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self.signal(signal.SIGCONT)

    def log(self, last: int = 4000) -> str:
        """The last characters that it said."""
        return self._log.read_text(errors="replace")[-last:] if self._log.exists() else ""
