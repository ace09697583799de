"""Who else holds a lock on a store: another program that writes to it, or keeps it from being written to."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["lock_holders"]

_LOCKS = Path("/proc/locks")
_COMMAND_CHARS = 200


def lock_holders(database: Path) -> str:
    """Command and process id of each other process that holds a lock on a database or on a file beside it.

    Whoever holds a lock for writing is named alone; readers only if nobody does. The kernel knows the locks, by number
    of device and file.

    Returns:
        For people; empty if there is none, or the kernel does not tell.
    """
    files = set()
    for suffix in ("", "-wal", "-shm"):
        try:
            facts = database.with_name(database.name + suffix).stat()
        except OSError:
            continue
        files.add(f"{os.major(facts.st_dev):02x}:{os.minor(facts.st_dev):02x}:{facts.st_ino}")
    found: dict[str, set[int]] = {"WRITE": set(), "READ": set()}
    try:
        lines = _LOCKS.read_text().splitlines()
    except OSError:
        return ""
    for line in lines:
        # `1: POSIX ADVISORY WRITE 4711 fe:00:1234 120 120`; who waits for a lock has `->` in the second place.
        words = line.split()
        if len(words) >= 6 and words[1] != "->" and words[5] in files and words[3] in found and words[4].isdigit():
            found[words[3]].add(int(words[4]))
    holders = next((pids for pids in (item - {os.getpid()} for item in found.values()) if pids), set())
    return ", ".join(f"`{_command(pid)}` (pid {pid})" for pid in sorted(holders))


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except OSError:
        return "a program that cannot be named"
    text = b" ".join(words).decode(errors="replace")[:_COMMAND_CHARS]
    return "".join(character if character.isprintable() else "?" for character in text) or "a program of the kernel"
