"""What a node says of its storage: where it lies, and whether somebody keeps its log from being folded in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from govraft.adapters.file_systems import file_system_of, forgets_store
from govraft.errors import StorageError

__all__ = ["LOG_BYTES_ALARM", "StorageStatus"]

LOG_BYTES_ALARM = 64 * 1024 * 1024
"""The log is folded in at a sixteenth of that; only a reader that never ends keeps it growing."""


class StorageStatus:
    """Of the store in one database file.

    Args:
        database: Links are followed.
        unsafe_volatile: As the node's configuration says.
    """

    def __init__(self, database: Path, *, unsafe_volatile: bool) -> None:
        real = database.resolve()
        self._log = real.with_name(real.name + "-wal")
        self._unsafe_volatile = unsafe_volatile
        self._alarms: list[str] = []
        forgetful = ""
        try:
            forgetful = forgets_store(real)
            self._file_system = forgetful or file_system_of(real.parent)
        except StorageError:
            self._file_system = "unknown"
        if forgetful and not unsafe_volatile:
            # It watches only; promoted, it would go on until it is started again, and then be refused.
            self._alarms.append(f"unfit_to_vote: the store lies on {forgetful}; do not promote this node")
        if unsafe_volatile:
            forgets = ", which forgets" if forgetful else ""
            self._alarms.append(f"unsafe_volatile: a voter may run on {self._file_system}{forgets}")

    def __call__(self) -> dict[str, Any]:
        """For the status: `file_system`, `unsafe_volatile`, `log_bytes`, and `alarms`, each a line for people."""
        try:
            size = self._log.stat().st_size
        except OSError:
            size = 0
        alarms = [*self._alarms]
        if size >= LOG_BYTES_ALARM:
            held = "some other program reads the store without end; end it"
            alarms.append(f"log_held: `{self._log}` has {size // (1024 * 1024)} MiB: {held}")
        return {
            "file_system": self._file_system,
            "unsafe_volatile": self._unsafe_volatile,
            "log_bytes": size,
            "alarms": alarms,
        }
