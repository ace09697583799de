"""Processes that outlive the command which started them.

Each is recorded in a file with what identifies it beyond doubt: pid, start time and boot. A pid alone may by now
belong to somebody else; signals go through a pidfd that was compared with the record after it was opened.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

import msgspec

from govraft.core.codec.complaints import in_words
from govraft.errors import AvailabilityError, ConfigError

__all__ = ["Process", "find_process", "python_command", "start_process", "wait_until"]

_RECORD_BYTES_MAX = 4096
_PID_MAX = 1 << 22
_NO_PROCESS = {errno.ESRCH, errno.EINVAL, errno.ENOENT}
"""What the kernel says of a pid that nobody has, or that is a thread's by now."""


class _Record(msgspec.Struct, frozen=True):
    pid: Annotated[int, msgspec.Meta(ge=1, le=_PID_MAX)]
    started: int
    boot: str


class Process:
    """A running process, held by a pidfd. Use as a context manager."""

    def __init__(self, pid: int, descriptor: int, record: Path) -> None:
        """Take over `descriptor`, a pidfd of `pid`."""
        self.pid = pid
        self._descriptor = descriptor
        self._record = record

    def wait(self, timeout_s: float) -> bool:
        """Wait until it has ended; True if it has."""
        poller = select.poll()
        poller.register(self._descriptor, select.POLLIN)
        if not poller.poll(max(0.0, timeout_s) * 1000):
            return False
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)
        return True

    def send(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens if it has ended."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, number)

    def stop(self, timeout_s: float) -> bool:
        """Ask it to stop, wait, and kill it only after `timeout_s`. True if it stopped by itself.

        Raises:
            AvailabilityError: It outlived even SIGKILL by `timeout_s`.
        """
        self.send(signal.SIGTERM)
        stopped = self.wait(timeout_s)
        if not stopped:
            self.send(signal.SIGKILL)
            if not self.wait(timeout_s):
                raise AvailabilityError(f"process {self.pid} does not end")
        self._record.unlink(missing_ok=True)
        return stopped

    def __enter__(self) -> Self:
        """Use as a context manager: the descriptor is closed at the end, the process goes on."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the descriptor."""
        os.close(self._descriptor)


def python_command(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of this installation, whatever lies in the current directory."""
    return [sys.executable, "-P", "-m", module, *arguments]


def start_process(command: list[str], *, log: Path, record: Path, environment: Mapping[str, str]) -> Process:
    """Start `command` in a session of its own, its output appended to `log`.

    Raises:
        ConfigError: The program or the log cannot be opened.
    """
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    try:
        pid = os.posix_spawn(
            command[0],
            command,
            environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(log), append, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
    except OSError as error:
        raise ConfigError(f"`{command[0]}` cannot be started: {error.strerror}", file=str(log)) from error
    # Not reaped yet, so the pid is certainly still this child's.
    descriptor = os.pidfd_open(pid)
    content = msgspec.json.encode(_Record(pid, _started(pid) or 0, _boot()))
    temporary = record.with_suffix(".tmp")
    temporary.write_bytes(content)
    temporary.replace(record)
    return Process(pid, descriptor, record)


def find_process(record: Path) -> Process | None:
    """The process that `record` tells of, if it still runs.

    Raises:
        ConfigError: The record is there and cannot be read.
        AvailabilityError: Nobody knows whether it runs.
    """
    try:
        with record.open("rb") as stream:
            found = msgspec.json.decode(stream.read(_RECORD_BYTES_MAX), type=_Record)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"cannot be used: {in_words(error)}; remove it if nothing runs", file=str(record)) from error
    try:
        descriptor = os.pidfd_open(found.pid)
    except OSError as error:
        if error.errno in _NO_PROCESS:
            return None
        raise AvailabilityError(f"process {found.pid} cannot be looked at: {error.strerror}") from error
    # SAFETY: compared after the pidfd is held, so that a pid that was given to another process in between is never
    # signalled (test_processes.py::test_a_reused_pid_is_left_alone).
    if found.boot != _boot() or _started(found.pid) != found.started:
        os.close(descriptor)
        return None
    return Process(found.pid, descriptor, record)


def wait_until(deadline: float) -> None:
    """Let a moment pass before something is asked again, but not beyond `deadline`, in seconds of `time.monotonic`."""
    time.sleep(max(0.0, min(0.05, deadline - time.monotonic())))


def _started(pid: int) -> int | None:
    """Start time in clock ticks since boot; None if the process has ended, zombies included."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The second field is the name in brackets, which may itself hold brackets and blanks.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in {"Z", "X"} else int(fields[19])


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
