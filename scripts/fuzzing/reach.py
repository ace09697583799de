"""Which lines of a decoder a corpus reaches: what a number of executions is worth."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Reached", "measure"]


@dataclass(frozen=True)
class Reached:
    """Lines and branches of one module that a corpus runs through."""

    module: str
    percent: float
    missing: tuple[int, ...]


def measure(name: str, inputs: Iterable[Path]) -> list[Reached]:
    """Run the inputs of a target and see which lines of its modules they reach. Call it in a fresh process."""
    import coverage

    watcher = coverage.Coverage(branch=True, source=["govraft"], config_file=False, data_file=None)
    watcher.start()
    from fuzzing.catalogue import find
    from fuzzing.target import execute

    target = find(name)
    if target is None:
        sys.exit(f"no target `{name}`")
    for path in inputs:
        execute(target, path.read_bytes())
    watcher.stop()
    reached = []
    for module in target.covers:
        file = importlib.import_module(module).__file__ or ""
        analysis = watcher._analyze(file)  # noqa: SLF001 - the only way to the numbers of one file
        reached.append(Reached(module, analysis.numbers.pc_covered, tuple(sorted(analysis.missing))))
    return reached
