"""The snapshot beside the database: a file of its own, replaced whole.

It never takes part in the journal's transactions: losing it costs a replay, so it may be removed at any time, and a
leftover of an interrupted write is ignored. What it says is verified by whoever uses it (`node/snapshots.py`).
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from govraft.adapters.store_guard import sync_directory
from govraft.core.machine.snapshot import SNAPSHOT_FILE_BYTES
from govraft.errors import CorruptionError, StorageError
from govraft.ports.store import StoredSnapshot

__all__ = ["read_snapshot", "snapshot_path", "write_snapshot"]


def snapshot_path(database: Path) -> Path:
    """Where the snapshot of the database lies."""
    return database.with_name(database.name + ".snapshot")


def read_snapshot(database: Path) -> StoredSnapshot | None:
    """The bytes of the snapshot, or None if there is none.

    Raises:
        CorruptionError: Something else lies there.
        StorageError: It cannot be read.
    """
    path = snapshot_path(database)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"cannot open `{path}`: {error.strerror}", path=str(path)) from error
    try:
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_size > SNAPSHOT_FILE_BYTES:
                message = f"`{path}` is no snapshot of a node: remove it and start again"
                raise CorruptionError(message, path=str(path))
            return StoredSnapshot(file.read(), str(path))
    except OSError as error:
        raise StorageError(f"cannot read `{path}`: {error.strerror}", path=str(path)) from error


def write_snapshot(database: Path, data: bytes) -> None:
    """Put `data` in the place of the snapshot; durable on return.

    Raises:
        OSError: It could not be written. The former snapshot is still there.
    """
    path = snapshot_path(database)
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)
    # SAFETY: a reader finds the old snapshot or the new one, never a part of one
    # (test_snapshot_file.py::test_an_interrupted_write_leaves_the_former_one).
    draft.rename(path)
    sync_directory(path.parent)
