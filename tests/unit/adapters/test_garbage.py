"""The collector of cyclic garbage: what lives long is visited once. In processes of their own: it is one for all."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import gc, sys
from govraft.adapters.garbage import spare_long_lived_objects

gc.disable()
gc.collect()
if sys.argv[1] == "spared":
    spare_long_lived_objects()
    spare_long_lived_objects()
state = [[number] for number in range(50_000)]
gc.collect(1)
print(gc.get_freeze_count(), end=" ")
gc.collect()
print(len(gc.get_objects()), end=" ")
cycle = []
cycle.append(cycle)
del cycle
print(gc.collect() >= 1, len(gc.callbacks), len(state))
"""


def measured(how: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-P", "-c", SCRIPT, how], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.split()


@pytest.mark.parametrize(("how", "most", "callbacks"), [("spared", 1_000, "1"), ("visited", 10**9, "0")])
def test_what_survived_a_full_collection_is_not_visited_again(how: str, most: int, callbacks: str) -> None:
    frozen, visited, collected, found, kept = measured(how)
    assert (frozen, collected, found, kept) == ("0", "True", callbacks, "50000")
    assert int(visited) < most
    assert how == "spared" or int(visited) > 50_000
