"""`scripts/scenarios`: measure what operators do, on real nodes, and check it.

Exit codes: 0 all is well, 1 something is wrong, 2 a mistake in the command, 3 the scenario could not be gone through.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click

from govraft.errors import GovraftError
from scenario.audit import audit_many
from scenario.figures import Findings, print_findings
from scenario.grow_shrink import grow_and_shrink
from scenario.join import join_long

_WRONG, _FAILED = 1, 3
_BAR_CHARS = 30
_LINE_EVERY_S = 10.0

FORM = click.option("-o", "--output", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)


class _Progress:
    """A bar on a terminal, else a line now and then; always on standard error."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._last, self._said = 0.0, ""

    def __call__(self, share: float, text: str) -> None:
        now = time.monotonic()
        if self._is_terminal:
            full = round(share * _BAR_CHARS)
            line = f"[{'█' * full}{'·' * (_BAR_CHARS - full)}] {share:4.0%} {text}"
            print(f"\r{line:<100.100}", end="", file=sys.stderr, flush=True)
        elif now - self._last > _LINE_EVERY_S or text != self._said:
            self._last, self._said = now, text
            print(f"{share:4.0%} {text}", file=sys.stderr, flush=True)

    def done(self) -> None:
        """End the line of the bar."""
        if self._is_terminal:
            print(file=sys.stderr)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Go through a scenario with real nodes on this host, measure it, and check what came of it."""
    # So that the nodes are ended then, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_FAILED))


@main.command("grow-shrink")
@click.option("--most", type=click.IntRange(4, 9), default=7, show_default=True, help="Nodes at the largest.")
@click.option("--calm", type=click.FloatRange(0, 60), default=3.0, show_default=True, help="Seconds after each step.")
@FORM
def grow_shrink(*, most: int, calm: float, form: str) -> None:
    """3 nodes to 7 and back to 3, under checks and commands."""
    _go(form, lambda place, progress: grow_and_shrink(place, progress, most=most, calm_s=calm))


@main.command()
@click.option("--entries", type=click.IntRange(100, 1_000_000), default=100_000, show_default=True)
@FORM
def join(*, entries: int, form: str) -> None:
    """A long lineage: restarts, a node that joins, and the proof from the genesis."""
    _go(form, lambda place, progress: join_long(place, progress, entries=entries))


@main.command()
@click.option("--decisions", type=click.IntRange(100, 10_000_000), default=100_000, show_default=True)
@FORM
def audit(*, decisions: int, form: str) -> None:
    """Many decisions: recorded, evaluated again, and three of them tampered with."""
    _go(form, lambda place, progress: audit_many(place, progress, decisions=decisions))


def _go(form: str, scenario: Callable[[Path, _Progress], Findings]) -> None:
    progress = _Progress()
    with tempfile.TemporaryDirectory(prefix="govraft-scenario-") as directory:
        try:
            found = scenario(Path(directory), progress)
        except (GovraftError, OSError) as error:
            progress.done()
            click.echo(f"error: the scenario could not be gone through: {error}", err=True)
            sys.exit(_FAILED)
    progress.done()
    print_findings(found, form)
    sys.exit(_WRONG if found.problems else 0)


if __name__ == "__main__":
    main()
