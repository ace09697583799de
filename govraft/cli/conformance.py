"""`govraft conformance`: which demands of RFC-EG-028 tests have shown for this version."""

from __future__ import annotations

import click
import msgspec

from govraft.cli.output import Table, emit, note
from govraft.cli.settings import CliCommand, Settings
from govraft.conformance.demands import DEMANDS
from govraft.conformance.report import load_report
from govraft.errors import InputError

__all__ = ["conformance"]


@click.command(cls=CliCommand)
@click.option("--clause", metavar="N", help="Only this clause.")
@click.option("--tests", is_flag=True, help="Name each test.")
@click.pass_obj
def conformance(settings: Settings, clause: str | None, *, tests: bool) -> None:
    """Show which demands of RFC-EG-028 tests have shown for this version, and which are open."""
    if clause is not None and clause not in DEMANDS:
        raise InputError(f"`{clause[:64]}` is no clause with demands, choose one of {', '.join(DEMANDS)}")
    report = load_report()
    demands = [item for item in report.demands if clause in (None, item.clause)]
    rows = []
    for item in demands:
        shown = "\n".join(item.tests) if tests else f"{len(item.tests)} tests"
        rows.append((item.clause, item.demand, shown if item.tests else f"OPEN: {item.open}"))
    data = {**msgspec.to_builtins(report), "demands": [msgspec.to_builtins(item) for item in demands]}
    if tests:
        rows = [(number, text, line) for number, text, shown in rows for line in shown.split("\n")]
    emit(settings.output, data, Table(("CLAUSE", "DEMAND", "SHOWN BY"), rows))
    count = sum(bool(item.tests) for item in demands)
    note(f"{count} of {len(demands)} demands shown by tests of govraft {report.version}")
