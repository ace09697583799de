"""Where log lines go: standard output, from a thread of its own.

Writing a log must neither end a node nor make it wait. A pipe whose reader has ended, a full disk or a closed
descriptor fail the write; a pipe whose reader is stuck blocks it, for as long as that reader likes. Setting O_NONBLOCK
instead would change the open file for all who share it, standard error and the terminal among them. So callers only put
a line into a bounded queue. What does not fit, or cannot be written, is counted and gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import queue
import select
import threading
from collections.abc import Iterator

import structlog

__all__ = ["LogOutput"]

LINES_MAX = 1_000
LINE_BYTES_MAX = 16 * 1024
CLOSE_S = 1.0

_LEAST_DESCRIPTOR = 3


class LogOutput:
    """Takes lines from any thread, and from a signal handler. No method raises because a line cannot be written."""

    def __init__(self, descriptor: int | None) -> None:
        """Begin.

        Args:
            descriptor: Of the open file; it is duplicated. None, or one that is closed: every line is lost.
        """
        self._descriptor = _duplicate(descriptor)
        self._turned_away = 0
        self._failed = 0
        self._is_torn = False
        # Its `put` takes no lock: a signal handler may interrupt it and put a line itself.
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="govraft-log", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """Lines that were never written, since the start."""
        return self._turned_away + self._failed

    def write(self, text: str) -> None:
        """Hand over one line, without its end."""
        # SAFETY: a reader that is stuck must cost neither time nor memory
        # (test_log_output.py::test_a_stuck_reader_holds_nobody_up).
        if self._lines.qsize() >= LINES_MAX:
            self._turned_away += 1
            return
        self._lines.put(text.encode(errors="backslashreplace")[:LINE_BYTES_MAX] + b"\n")

    def close(self, timeout_s: float = CLOSE_S) -> None:
        """Write what waits, but do not wait longer than `timeout_s` for somebody to read it."""
        self._lines.put(None)
        self._thread.join(timeout_s)

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Between begin and end, all that this process logs goes here; then what waits is written."""
        before = structlog.get_config()
        handler = _Handler(self)
        structlog.configure(logger_factory=lambda *_: _Lines(self))
        logging.getLogger().addHandler(handler)
        try:
            yield
        finally:
            logging.getLogger().removeHandler(handler)
            structlog.configure(**before)
            self.close()

    def _run(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                self._write(line)
            except OSError:
                # SAFETY: a log that cannot be written is no reason to deny or to stop
                # (test_log_output.py::test_what_cannot_be_written_is_counted).
                self._failed += 1

    def _write(self, line: bytes) -> None:
        rest = memoryview(b"\n" + line if self._is_torn else line)
        while rest:
            try:
                written = os.write(self._descriptor, rest)
            except BlockingIOError:
                # Whoever shares the pipe has made it non-blocking, and it is full.
                space = select.poll()
                space.register(self._descriptor, select.POLLOUT)
                space.poll()
                continue
            rest = rest[written:]
            self._is_torn = len(rest) > 0


class _Lines:
    """What structlog writes to: any level is one line."""

    def __init__(self, output: LogOutput) -> None:
        self._output = output

    def msg(self, message: str) -> None:
        """Write one event."""
        self._output.write(message)

    debug = info = warning = warn = error = critical = exception = fatal = failure = err = log = msg


class _Handler(logging.Handler):
    """What libraries say by `logging`; without it their warnings went to standard error, which may be stuck too."""

    def __init__(self, output: LogOutput) -> None:
        super().__init__(logging.WARNING)
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            self._output.write(self.format(record))
        except Exception:  # noqa: BLE001 - a record that cannot be put into words is lost, whatever the reason
            self._output.write(f"{record.name}: a message that cannot be formatted")


def _duplicate(descriptor: int | None) -> int:
    """A descriptor of the same open file that no one closes by its number; -1 if there is none."""
    if descriptor is None:
        return -1
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _LEAST_DESCRIPTOR)
    except OSError:
        return -1
