"""Standard input, output and error of a program, whatever its caller has made of them.

A descriptor from 0 to 2 that the caller has closed is the next one that is given out: then a database or a socket would
be what native code writes its messages to. And a stream that takes no more must not change what an exit code says.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator

__all__ = ["open_closed_descriptors", "unless_unwritable", "write_in_any_encoding"]

_STDIN = 0
_STANDARD = 3


def open_closed_descriptors() -> None:
    """Put /dev/null on each descriptor from 0 to 2 that is closed. Call before anything is opened."""
    # SAFETY: it stays open there, so that no file of ours can take its place
    # (test_standard_streams.py::test_closed_descriptors_become_dev_null).
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < _STANDARD:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    if sys.stdin is None:
        # Whoever reads it finds it empty. The other two stay None: so it is known that nobody hears.
        sys.stdin = open(_STDIN, closefd=False)  # noqa: SIM115 - as long as the process


def write_in_any_encoding() -> None:
    """Write out characters that the encoding of the terminal or file lacks, rather than fail at them."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def unless_unwritable(descriptor: int) -> Iterator[None]:
    """Say something there; it is lost if the stream takes no more, and so is whatever is said there later."""
    try:
        yield
    except OSError:
        # What is still buffered must not fail again at exit: that would change the exit code.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, descriptor)
        os.close(null)
