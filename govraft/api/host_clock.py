"""The clock of `valid_until`, and the kernel that it belongs to: read alike by node and client.

Not the node's `Clock` port: the two ends are compared, so both must read the system itself.
"""

from __future__ import annotations

import time
from pathlib import Path

__all__ = ["BOOT_ID_PATH", "read_boot_id", "read_boottime"]

BOOT_ID_PATH = Path("/proc/sys/kernel/random/boot_id")

_BOOT_ID_CHARS = 36


def read_boottime() -> int:
    """CLOCK_BOOTTIME, ns; 0 if it cannot be read."""
    try:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    except OSError:
        return 0


def read_boot_id() -> str:
    """The random id of this boot of this kernel; empty if it cannot be read."""
    try:
        with BOOT_ID_PATH.open("rb") as file:
            text = file.read(_BOOT_ID_CHARS + 1).decode("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return text if len(text) == _BOOT_ID_CHARS else ""
