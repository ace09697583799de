"""What was measured, as one table or as JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table

WIDTH = 190


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        name, case: What was measured, and under which circumstances.
        unit: Of `p50`, `p99` and `most`.
        p50, p99, most: Of the samples; for a quantity that was measured once, all in `p50`.
        per_second: As many were done in a second.
        against: What `ratio` and `difference` (in `unit`) compare the `p50` with; measured in the same run.
        aim: What it should be, for people.
        met: Whether the aim is met; None if there is none.
    """

    name: str
    case: str
    unit: str
    p50: float
    p99: float | None = None
    most: float | None = None
    per_second: float | None = None
    against: str = ""
    ratio: float | None = None
    difference: float | None = None
    aim: str = ""
    met: bool | None = None


def quantile(samples: Sequence[float], share: float) -> float:
    """The sample below which `share` of all lie."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def sampled(
    name: str, case: str, unit: str, samples: Sequence[float], *, against: tuple[str, float] | None = None
) -> Row:
    """A row of samples in `unit`. `against` names a value in the same unit."""
    p50 = quantile(samples, 0.5)
    return Row(
        name=name,
        case=case,
        unit=unit,
        p50=p50,
        p99=quantile(samples, 0.99),
        most=max(samples),
        against="" if against is None else against[0],
        ratio=None if against is None else p50 / against[1],
        difference=None if against is None else p50 - against[1],
    )


def print_json(rows: Sequence[Row]) -> None:
    """One document: the machine, in words, and the rows."""
    machine = {"cores": os.cpu_count(), "load_1min": os.getloadavg()[0]}
    print(json.dumps({"machine": machine, "rows": [asdict(row) for row in rows]}, indent=2))


def print_table(rows: Sequence[Row]) -> None:
    """A table for people."""
    table = Table(title=f"govraft on {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for title in ("measured", "case"):
        table.add_column(title, no_wrap=True)
    for title in ("p50", "p99", "max"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("unit", no_wrap=True)
    table.add_column("a second", justify="right", no_wrap=True)
    table.add_column("compared with", no_wrap=True)
    for title in ("ratio", "difference"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("aim", no_wrap=True)
    previous = ""
    for row in rows:
        if previous and row.name != previous:
            table.add_section()
        table.add_row(row.name if row.name != previous else "", *_cells(row))
        previous = row.name
    Console(width=None if sys.stdout.isatty() else WIDTH).print(table)


def _cells(row: Row) -> list[str]:
    verdict = {None: "", True: " met", False: " MISSED"}[row.met]
    return [
        row.case,
        *(_number(value) for value in (row.p50, row.p99, row.most)),
        row.unit,
        _number(row.per_second),
        row.against,
        "" if row.ratio is None else f"{row.ratio:.2f}",
        "" if row.difference is None else f"{row.difference:+.4g}",
        f"{row.aim}{verdict}",
    ]


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
