"""What was measured, as tables or as JSON, and what was found to be wrong."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence

import msgspec
from rich.console import Console
from rich.table import Table

__all__ = ["Figure", "Findings", "Grid", "print_findings", "worst"]

_WIDTH = 160


class Figure(msgspec.Struct, frozen=True):
    """One number. `note` says of what, where the name does not."""

    name: str
    value: float
    unit: str
    note: str = ""


class Grid(msgspec.Struct, frozen=True):
    """A table: a title, names of columns, and rows; None stands for what does not apply."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | float | None, ...], ...]


class Findings(msgspec.Struct):
    """What a scenario came to.

    Attributes:
        scenario: Its name.
        figures, grids: What was measured.
        problems: What must not be, one line each; empty if all is well.
        load: Of the machine, before and after: other work makes the figures worse.
    """

    scenario: str
    figures: list[Figure] = []
    grids: list[Grid] = []
    problems: list[str] = []
    load: list[float] = []

    def add(self, name: str, value: float, unit: str, note: str = "") -> None:
        """One more figure."""
        self.figures.append(Figure(name, value, unit, note))

    def demand(self, problem: str, *, holds: bool) -> None:
        """Note `problem` unless this holds."""
        if not holds:
            self.problems.append(problem)

    def note_load(self) -> None:
        """Note how busy the machine is."""
        self.load.append(os.getloadavg()[0])


def print_findings(found: Findings, form: str) -> None:
    """Print them in the form `table` or `json`."""
    if form == "json":
        print(json.dumps({"cores": os.cpu_count(), **msgspec.to_builtins(found)}, indent=2))
        return
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    load = " to ".join(f"{value:.1f}" for value in found.load)
    table = Table(title=f"{found.scenario} on {os.cpu_count()} cores, load {load}")
    table.add_column("measured", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("unit", no_wrap=True)
    table.add_column("note")
    for item in found.figures:
        table.add_row(item.name, _text(item.value), item.unit, item.note)
    console.print(table)
    for grid in found.grids:
        _print_grid(console, grid)
    for problem in found.problems:
        console.print(f"WRONG: {problem}", markup=False)
    console.print("nothing is wrong" if not found.problems else f"{len(found.problems)} things are wrong")


def _print_grid(console: Console, grid: Grid) -> None:
    table = Table(title=grid.title)
    for place, name in enumerate(grid.columns):
        table.add_column(name, justify="right" if place else "left", no_wrap=True)
    for row in grid.rows:
        table.add_row(*(_text(cell) for cell in row))
    console.print(table)


def _text(value: str | float | None) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def worst(values: Sequence[float]) -> float:
    """The largest; 0 of none."""
    return max(values, default=0.0)
