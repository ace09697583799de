"""Writing a file that users asked for."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from govraft.errors import InputError

__all__ = ["open_new"]


@contextlib.contextmanager
def open_new(path: Path, *, private: bool = False) -> Iterator[BinaryIO]:
    """A file that is there once it is whole, or not at all. A device, pipe or link is written to, never replaced.

    Args:
        path: Of the file; `-` for stdout.
        private: Nobody else may read it; else whoever the umask lets.

    Raises:
        InputError: It cannot be written.
    """
    if str(path) == "-":
        if sys.stdout is None:
            raise InputError("`-` cannot be written: standard output is closed", code="file_unwritable")
        yield sys.stdout.buffer
        return
    try:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            with path.open("wb") as special:
                yield special
            return
        with tempfile.NamedTemporaryFile(dir=path.absolute().parent, prefix=f".{path.name}.", delete=False) as draft:
            try:
                yield draft  # type: ignore[misc]
                draft.flush()
                os.fsync(draft.fileno())
                Path(draft.name).chmod(0o600 if private else 0o666 & ~_umask())
                Path(draft.name).replace(path)
            except BaseException:
                Path(draft.name).unlink(missing_ok=True)
                raise
        # The name, too: what was said to be written is there after a loss of power.
        directory = os.open(path.absolute().parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise InputError(f"`{path}` cannot be written: {error.strerror}", code="file_unwritable") from error


def _umask() -> int:
    # It can be read only by setting it.
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
