"""A small file beside the database: the lock of its one user, and the mark that betrays a database gone back in time.

Why a mark: SQLite treats a write-ahead log as ending at its first damaged frame, and a database whose log was deleted
or that was restored from an older copy is intact for every check of its own. In all three cases the node would forget
votes and acked seqs without a sign. So the number of the last durable write is kept here too. It is written after
each commit, and synced only once a start: after a power failure it may lag behind the database, never run ahead of it.

Bytes: 8 magic, u64be writes, 8 first bytes of their sha256.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import struct
from pathlib import Path

from govraft.errors import CorruptionError, StorageError

__all__ = ["StoreGuard", "guard_path", "sync_directory"]

_MAGIC = b"gvguard1"
_STDERR = 2
_MARK = struct.Struct(">8sQ8s")


def guard_path(path: Path) -> Path:
    """Where the guard of the database `path` lies."""
    return path.with_name(path.name + ".guard")


def sync_directory(path: Path) -> None:
    """Make the names in the directory `path` durable.

    Raises:
        OSError: The directory cannot be opened or synced.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class StoreGuard:
    """Holds the lock until `release`.

    Raises:
        StorageError: Another process holds it, or the file cannot be opened.
        CorruptionError: The guard's bytes are damaged.
    """

    def __init__(self, database: Path) -> None:
        self._path = guard_path(database)
        try:
            self._descriptor = _open_above_standard(self._path)
        except OSError as error:
            raise StorageError(f"cannot open `{self._path}`: {error.strerror}", path=str(self._path)) from error
        try:
            self._lock(database)
            self._writes = self._read()
        except BaseException:
            os.close(self._descriptor)
            raise
        self._released = False

    def _lock(self, database: Path) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                message = f"`{database}` is in use by another process; stop it, or give this node its own file"
                raise StorageError(message, code="storage_in_use", path=str(database)) from error
            raise StorageError(f"cannot lock `{self._path}`: {error.strerror}", path=str(self._path)) from error

    def _read(self) -> int | None:
        content = os.pread(self._descriptor, _MARK.size + 1, 0)
        if not any(content):
            # Zeros are what a power failure may leave of a first mark. A database beside such a guard is refused.
            return None
        if len(content) == _MARK.size:
            magic, writes, checksum = _MARK.unpack(content)
            if magic == _MAGIC and checksum == _checksum(writes):
                return int(writes)
        message = f"`{self._path}` is damaged: its mark cannot be read"
        raise CorruptionError(message, path=str(self._path))

    @property
    def writes(self) -> int | None:
        """Number of the last write known to be durable; None for a guard that was never marked."""
        return self._writes

    def mark(self, writes: int, *, sync: bool = False) -> None:
        """Note that write number `writes` is durable.

        Raises:
            OSError: The guard cannot be written.
        """
        os.pwrite(self._descriptor, _MARK.pack(_MAGIC, writes, _checksum(writes)), 0)
        if sync:
            os.fsync(self._descriptor)
        self._writes = writes

    def release(self) -> None:
        """Give up the lock. Idempotent. The file stays: removing it could unlock a database in use."""
        if not self._released:
            self._released = True
            with contextlib.suppress(OSError):
                # The lock goes with the descriptor even when closing reports an error.
                os.close(self._descriptor)


def _open_above_standard(path: Path) -> int:
    """Open a guard, on a descriptor that nobody takes for standard input, output or error."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    if descriptor > _STDERR:
        return descriptor
    # SAFETY: one message of native code to a closed stream would end this voter for good
    # (test_store_guard.py::test_the_guard_is_never_a_standard_stream).
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _STDERR + 1)
    finally:
        os.close(descriptor)


def _checksum(writes: int) -> bytes:
    return hashlib.sha256(_MAGIC + writes.to_bytes(8, "big")).digest()[:8]
