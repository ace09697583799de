"""A node with the worst fault there is, for tests: `python stale_node.py CONFIG`. It goes on allowing when its lease is
over, on whatever state it happens to hold. All else is the stock daemon.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec

from govraft import daemon
from govraft.node.gate import Gate, Standing

honest = Gate.standing
LONGER_NS = 1_000_000_000


def standing(self: Any, at_least: int = 0) -> Standing:
    found = honest(self, at_least)
    if found.lease is not None:
        self._kept = found.lease
        return found
    kept = getattr(self, "_kept", None)
    if kept is None:
        return found
    return Standing(msgspec.structs.replace(kept, end=self._clock.boottime() + LONGER_NS))


if __name__ == "__main__":
    Gate.standing = standing  # type: ignore[method-assign]
    sys.exit(daemon.run(Path(sys.argv[1])))
