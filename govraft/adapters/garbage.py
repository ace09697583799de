"""Keep Python's collector of cyclic garbage from holding up the loop of a node.

A full collection visits every object that may be part of a cycle. With a long lineage that is most of the memory: at
100,000 entries such a visit takes about a second of processor time, in which the node answers nobody and its lease runs
out. So whatever has survived one full collection is not visited again: the next one costs what came since.

The price: what is part of a cycle, survives a full collection and becomes garbage later stays until the process ends. A
node keeps its state without cycles, and full collections are few; what is under way at one of them is little.
"""

from __future__ import annotations

import gc
from typing import Any

__all__ = ["spare_long_lived_objects"]

_OLDEST = 2


def spare_long_lived_objects() -> None:
    """From now on each full collection is the last for all that survives it. Idempotent."""
    if _freeze not in gc.callbacks:
        gc.callbacks.append(_freeze)


def _freeze(phase: str, info: dict[str, Any]) -> None:
    if phase == "stop" and info["generation"] == _OLDEST:
        gc.freeze()
