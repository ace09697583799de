"""A stock node with a clock that can be moved from outside: `python -m govraft.testing.chaos.skewed_node CONFIG`.

Reads `GOVRAFT_CHAOS_CLOCK`, a file of three little-endian i64: a change number, milliseconds added to the wall clock,
and the rate error of both clocks in parts per million. Until the first change both clocks are those of the system, and
a rate only takes effect from its change on, so that boot time never steps.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
import time
from pathlib import Path

import govraft.daemon as daemon_module
from govraft.cli.node import main as node_command
from govraft.core.model.units import NS_PER_MS, BoottimeNs, WallMs

__all__ = ["CLOCK_VARIABLE", "ClockFile", "SkewedClock"]

CLOCK_VARIABLE = "GOVRAFT_CHAOS_CLOCK"
_FIELDS = struct.Struct("<qqq")
_PPM = 1_000_000


class ClockFile:
    """The other end: moves the clock of a node."""

    def __init__(self, path: Path) -> None:
        """Use the file at `path`, which `create` made."""
        self.path = path

    @classmethod
    def create(cls, path: Path) -> ClockFile:
        """Make the file, with clocks that agree with the system's."""
        path.write_bytes(_FIELDS.pack(0, 0, 0))
        return cls(path)

    def set(self, *, wall_ms: int = 0, rate_ppm: int = 0) -> None:
        """Shift the wall clock by `wall_ms` and let both clocks go wrong by `rate_ppm`, from now on."""
        number = _FIELDS.unpack(self.path.read_bytes())[0] + 1
        fields = _FIELDS.pack(number, wall_ms, rate_ppm)
        with self.path.open("r+b", buffering=0) as file:
            # The number last: whoever reads it sees the fields that belong to it.
            os.pwrite(file.fileno(), fields[8:], 8)
            os.pwrite(file.fileno(), fields[:8], 0)


class SkewedClock:
    """`ports.Clock` that follows a `ClockFile`."""

    def __init__(self, path: Path) -> None:
        """Map the file."""
        with path.open("rb") as file:
            self._shared = mmap.mmap(file.fileno(), _FIELDS.size, prot=mmap.PROT_READ)
        self._number = self._wall_ms = self._rate_ppm = 0
        self._from_true = self._from_shown = time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def boottime(self) -> BoottimeNs:
        """CLOCK_BOOTTIME, as far as the rate error lets it be right."""
        true = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        number, wall_ms, rate_ppm = _FIELDS.unpack_from(self._shared)
        if number != self._number:
            self._from_true, self._from_shown = true, self._shown(true)
            self._number, self._wall_ms, self._rate_ppm = number, wall_ms, rate_ppm
        return BoottimeNs(self._shown(true))

    def wall(self) -> WallMs:
        """CLOCK_REALTIME with its shift, and as far ahead or behind as boot time."""
        shown = self.boottime()
        drift = (shown - time.clock_gettime_ns(time.CLOCK_BOOTTIME)) // NS_PER_MS
        return WallMs(time.time_ns() // NS_PER_MS + self._wall_ms + drift)

    def _shown(self, true: int) -> int:
        passed = true - self._from_true
        return self._from_shown + passed + passed * self._rate_ppm // _PPM


def _main() -> None:
    path = Path(os.environ[CLOCK_VARIABLE])
    setattr(daemon_module, "SystemClock", lambda: SkewedClock(path))  # noqa: B010 - not an export, and not by accident
    node_command(["run", "--config", sys.argv[1]])


if __name__ == "__main__":
    _main()
