"""Log lines that cannot be written cost neither the node nor time: they are counted."""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import structlog

from govraft.adapters.log_output import LINE_BYTES_MAX, LINES_MAX, LogOutput
from govraft.testing.local_cluster_process import wait_for


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    """A small one: reading and writing end."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    try:
        yield reading, writing
    finally:
        for descriptor in (reading, writing):
            if descriptor >= 0:
                _close(descriptor)


def _close(descriptor: int) -> None:
    try:
        os.close(descriptor)
    except OSError:
        pass


def fill(writing: int) -> None:
    """By another open file of the same pipe, so that the one that is written to stays as it is."""
    own = os.open(f"/proc/self/fd/{writing}", os.O_WRONLY | os.O_NONBLOCK)
    try:
        while True:
            os.write(own, b"x" * 512)
    except BlockingIOError:
        pass
    finally:
        os.close(own)


def test_lines_arrive_in_order(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        output = LogOutput(file.fileno())
        for number in range(500):
            output.write(f"line {number}")
        output.close(20)
    assert (tmp_path / "log").read_text().splitlines() == [f"line {number}" for number in range(500)]
    assert output.lost == 0


def test_what_cannot_be_written_is_counted() -> None:
    with pipe() as (reading, writing), open("/dev/full", "wb", buffering=0) as full:  # noqa: PTH123
        os.close(reading)
        for descriptor in (writing, full.fileno(), None, 1 << 20):
            output = LogOutput(descriptor)
            for _ in range(3):
                output.write("lost")
            output.close(20)
            assert output.lost == 3, descriptor


def test_a_reader_that_comes_back_reads_on(tmp_path: Path) -> None:
    """A disk that was full, or a named pipe whose reader was restarted."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    writing = os.open(fifo, os.O_WRONLY)
    output = LogOutput(writing)
    os.close(reading)
    output.write("lost")
    wait_for(lambda: output.lost == 1, "the line to be lost")
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    output.write("heard")
    output.close(20)
    assert os.read(reading, 100) == b"heard\n"
    assert output.lost == 1
    for descriptor in (reading, writing):
        os.close(descriptor)


@pytest.mark.parametrize("is_blocking", [True, False])
def test_a_stuck_reader_holds_nobody_up(is_blocking: bool) -> None:
    with pipe() as (reading, writing):
        fill(writing)
        os.set_blocking(writing, is_blocking)
        output = LogOutput(writing)
        ended = threading.Event()

        def write() -> None:
            for number in range(2 * LINES_MAX):
                output.write(f"line {number}")
            output.close(0.01)
            ended.set()

        threading.Thread(target=write, daemon=True).start()
        assert ended.wait(60), "the caller waits for the reader"
        assert LINES_MAX - 1 <= output.lost <= LINES_MAX
        assert os.get_blocking(writing) is is_blocking
        # The reader comes to itself: what had found room is written, whole.
        text = b""
        while b"line 900\n" not in text:
            text += os.read(reading, 65_536)
        assert text.lstrip(b"x").splitlines()[:900] == [b"line %d" % number for number in range(900)]


def test_a_line_that_was_torn_does_not_run_into_the_next() -> None:
    with pipe() as (reading, writing):
        fill(writing)
        os.read(reading, 4096)
        os.set_blocking(writing, False)
        output = LogOutput(writing)
        output.write("a" * 6000)  # More than the pipe holds.
        taken = b""
        while len(taken) < 4000:
            taken += os.read(reading, 4096 - len(taken))
        output.write("next")
        output.close(20)
        os.close(os.dup(writing))
        taken += os.read(reading, 65_536)
        assert taken.endswith(b"a\nnext\n")


def test_long_lines_and_odd_characters_are_cut_and_written_out(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        output = LogOutput(file.fileno())
        output.write("\udcff")
        output.write("x" * (LINE_BYTES_MAX + 5))
        output.close(20)
    assert (tmp_path / "log").read_bytes().splitlines() == [b"\\udcff", b"x" * LINE_BYTES_MAX]


def test_the_output_is_never_a_standard_stream() -> None:
    """Descriptor 1 may be closed and given out again, to a database."""
    with pipe() as (reading, writing):
        output = LogOutput(writing)
        os.close(writing)
        output.write("still there")
        output.close(20)
        assert os.read(reading, 100) == b"still there\n"


def test_all_that_is_logged_goes_there(tmp_path: Path) -> None:
    before = structlog.get_config()["logger_factory"]
    with (tmp_path / "log").open("wb") as file, LogOutput(file.fileno()).in_use():
        structlog.get_logger("any").warning("of structlog", number=7)
        logging.getLogger("asyncio").error("of %s", "logging")
        bad = logging.LogRecord("asyncio", logging.ERROR, "file", 1, "of %d", ("a fault",), None)
        logging.getLogger().handlers[-1].emit(bad)
        logging.getLogger("asyncio").info("too low")
    text = (tmp_path / "log").read_text()
    assert "of structlog" in text
    assert "number" in text
    assert "of logging\n" in text
    assert "asyncio: a message that cannot be formatted\n" in text
    assert "too low" not in text
    assert structlog.get_config()["logger_factory"] is before


def test_a_signal_handler_may_log_at_any_moment(tmp_path: Path) -> None:
    """The handler interrupts the main thread wherever it is, in the middle of a line too: no lock may be held."""
    with (tmp_path / "log").open("wb") as file:
        output = LogOutput(file.fileno())
        handled: list[int] = []
        before = signal.signal(signal.SIGUSR1, lambda *_: (output.write("handler"), handled.append(1))[1])
        stop = threading.Event()

        def disturb() -> None:
            while not stop.wait(0.0002):
                os.kill(os.getpid(), signal.SIGUSR1)

        thread = threading.Thread(target=disturb)
        thread.start()
        try:
            for _ in range(20_000):
                output.write("main")
        finally:
            stop.set()
            thread.join()
            signal.signal(signal.SIGUSR1, before)
            output.close(20)
    lines = (tmp_path / "log").read_text().splitlines()
    assert set(lines) == {"main", "handler"}
    assert len(lines) + output.lost == 20_000 + len(handled)
