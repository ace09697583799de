"""Histories of one machine: commands of all families, drawn one after the other, and the root after each of them.

Every process must come to the same roots, whatever its hash seed, and so must a replay. `compare` runs the same seeds
in several processes; each root is held against those of the others.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from govraft.core.machine.entry import encode_entry
from govraft.core.machine.machine import Machine
from govraft.core.model.commands import command_name, payload_type
from govraft.core.model.rules import RULES_FIRST
from govraft.core.model.units import WallMs
from govraft.errors import GovraftError
from govraft.testing.sample import CREATED, SampleCluster
from govraft.testing.simulation.families import ALL_FAMILIES
from govraft.testing.simulation.workload import Stage

__all__ = ["HASH_SEEDS", "STEPS", "History", "compare", "draw_history", "sample"]

STEPS = 600
HASH_SEEDS = ("0", "1", "4242")
_OFTEN = {"attestations": 5, "authorities": 2, "domains": 5, "grants": 2, "proposals": 6, "root": 2}
"""Families whose commands build on each other come more often."""
_STRANGE = 0.04
_AGAIN = 0.04
_LIVES_MS = (1, 50, 3_600_000, 3_600_000)


class History(NamedTuple):
    """What was drawn, and what it came to.

    Attributes:
        machine: After the last entry.
        entries: All, from seq 2 on.
        roots: Of the lineage after each of them. A root commits to all states before it.
        seen: How often each command came to each outcome: `name code`.
    """

    machine: Machine
    entries: list[bytes]
    roots: list[bytes]
    seen: Counter[str]


def sample(rules: int = RULES_FIRST) -> SampleCluster:
    """The cluster of all histories, by these rules at first."""
    return SampleCluster(observers=1, attestors=2, rules=rules)


def draw_history(seed: int, steps: int = STEPS, rules: int = RULES_FIRST) -> History:
    """Draw `steps` entries, each on the state that the ones before it made."""
    rng, cluster = random.Random(seed), sample(rules)  # noqa: S311 - repeatable on purpose
    history = History(Machine(cluster.genesis), [], [], Counter())
    names, time = [name for name in sorted(ALL_FAMILIES) for _ in range(_OFTEN.get(name, 1))], int(CREATED)
    while len(history.entries) < steps:
        time += rng.choice((0, 1, 30, 400))
        stage = Stage(
            cluster, history.machine, f"h{len(history.entries)}", time + rng.choice(_LIVES_MS), is_watched=False
        )
        name, entry = _draw_entry(rng, stage, rng.choice(names), time)
        if entry is None or (history.entries and rng.random() < _AGAIN):
            if not history.entries:
                continue
            name, entry = "again", rng.choice(history.entries)
        applied = history.machine.apply(entry)
        history.entries.append(entry)
        history.roots.append(history.machine.root)
        history.seen[f"{name} {applied.outcome.code}"] += 1
    return history


def _draw_entry(rng: random.Random, stage: Stage, family: str, time: int) -> tuple[str, bytes | None]:
    if rng.random() < _STRANGE:
        return "unreadable", rng.randbytes(20)
    drawn = ALL_FAMILIES[family](rng, stage)
    if drawn is None:
        return family, None
    envelope = drawn.envelope()
    if rng.random() < _STRANGE and len(envelope) > 40:
        # Signed, and then changed on its way.
        place = rng.randrange(len(envelope))
        envelope = envelope[:place] + bytes([envelope[place] ^ 1]) + envelope[place + 1 :]
    name = command_name(payload_type(drawn.command)) or family
    stage.machine.examine(envelope, WallMs(time))  # Asking leaves no trace.
    return name, encode_entry(WallMs(time), envelope)


def compare(seeds: Sequence[int], hash_seeds: Sequence[str] = HASH_SEEDS, steps: int = STEPS) -> Iterator[str]:
    """Run these histories once in each of several processes.

    Yields:
        Where two of them differ: seed, seq, hash seeds.

    Raises:
        GovraftError: One of the processes failed.
    """
    if not seeds:
        return
    arguments = [sys.executable, "-m", __name__, f"{seeds[0]}", f"{seeds[-1]}", f"{steps}"]
    running = [
        subprocess.Popen(  # noqa: S603 - our own module
            arguments, env={**os.environ, "PYTHONHASHSEED": name}, stdout=subprocess.PIPE, text=True
        )
        for name in hash_seeds
    ]
    try:
        told = [process.communicate()[0].splitlines() for process in running]
    finally:
        for process in running:
            process.kill()
    if any(process.returncode for process in running) or any(len(lines) != len(seeds) for lines in told):
        raise GovraftError("a process that drew histories failed; see what it said")
    for lines in zip(*told, strict=True):
        if len(set(lines)) > 1:
            yield _difference(lines, hash_seeds)


def _difference(lines: Sequence[str], hash_seeds: Sequence[str]) -> str:
    rows = [line.split() for line in lines]
    for place in range(1, max(len(row) for row in rows)):
        if len({row[place] if place < len(row) else "" for row in rows}) > 1:
            return f"seed {rows[0][0]}: the roots at seq {place + 1} differ between hash seeds {', '.join(hash_seeds)}"
    return f"the seeds {', '.join(row[0] for row in rows)} were drawn in another order"


def _main() -> None:
    first, last, steps = map(int, sys.argv[1:4])
    for seed in range(first, last + 1):
        roots = " ".join(root.hex() for root in draw_history(seed, steps).roots)
        print(seed, roots)  # noqa: T201 - the answer to the parent process


if __name__ == "__main__":
    _main()
