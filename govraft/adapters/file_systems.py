"""On which file system a store lies, and whether that forgets it.

A layer over another one (overlayfs) may show a store that was baked into an image, or a second view of one in use; a
file system in memory is empty after a power failure. Either way a node could start from votes and acks that are older
than those it gave away. The mark beside the database is of no help: it goes back in time together with it.

The kernel is asked for the mount of an open descriptor: no path is compared with names of mount points, which may be
hidden, stacked or bound.
"""

from __future__ import annotations

import os
from pathlib import Path

from govraft.errors import StorageError

__all__ = ["FORGETFUL", "file_system_of", "forgets", "forgets_store"]

FORGETFUL = frozenset(
    {"aufs", "devtmpfs", "fuse.fuse-overlayfs", "overlay", "overlayfs", "ramfs", "rootfs", "tmpfs", "unionfs"}
)
"""Types, as the kernel names them. Any other one is taken for a disk: there are too many to know them all."""

_MOUNTS = Path("/proc/self/mountinfo")


def file_system_of(path: Path) -> str:
    """The type of the file system on which a file or directory lies, links followed.

    Raises:
        StorageError: It is not there, or the kernel does not tell.
    """
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            facts = Path(f"/proc/self/fdinfo/{descriptor}").read_text()
        finally:
            os.close(descriptor)
        mount = next(line.split()[1] for line in facts.splitlines() if line.startswith("mnt_id:"))
        with _MOUNTS.open(encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                before, _, after = line.partition(" - ")
                if before.split(" ", 1)[0] == mount:
                    return after.split(" ", 1)[0]
    except OSError as error:
        raise _unknown(path, error.strerror or str(error)) from error
    except (StopIteration, IndexError) as error:
        raise _unknown(path, "the kernel does not say on which mount it lies") from error
    raise _unknown(path, f"{_MOUNTS} has no mount {mount}")


def forgets(directory: Path, *names: str) -> str:
    """The file system that forgets, of a directory or of one of the files in it; empty if none does.

    Raises:
        StorageError: The directory is not there, or the kernel does not tell.
    """
    found = [file_system_of(directory)]
    # A file may be a link, or a mount of its own.
    found += [file_system_of(directory / name) for name in names if os.path.lexists(directory / name)]
    return next((name for name in found if name in FORGETFUL), "")


def forgets_store(database: Path) -> str:
    """The file system that forgets, of a store's directory, its database or the log beside it; empty if none does.

    Args:
        database: Links are followed, as by the store itself; it need not be there yet.

    Raises:
        StorageError: Its directory is not there, or the kernel does not tell.
    """
    real = Path(os.path.realpath(database))
    return forgets(real.parent, real.name, f"{real.name}-wal")


def _unknown(path: Path, why: str) -> StorageError:
    return StorageError(f"cannot tell on which file system `{path}` lies: {why}", path=str(path))
