"""`scripts/chaos`: real nodes under load, faults, and a verdict.

Exit codes: 0 nothing was violated, 1 something was, 2 a mistake in the command, 3 the run could not be made.
"""

from __future__ import annotations

import re
import signal
import sys
import time
from pathlib import Path
from types import FrameType

import click

from govraft.errors import GovraftError, InputError
from govraft.testing.chaos.catalogue import CAPABILITIES, NEMESES, host_capabilities
from govraft.testing.chaos.members import CHANGES
from govraft.testing.chaos.options import ChaosOptions
from govraft.testing.chaos.report import summary_lines, write_report
from govraft.testing.chaos.run import run_chaos
from govraft.testing.chaos.scenarios import SCENARIOS

__all__ = ["main"]

_VIOLATED, _USAGE, _FAILED = 1, 2, 3
_DURATION = re.compile(r"(\d{1,6})(s|m|h)?")
_UNITS = {None: 1, "s": 1, "m": 60, "h": 3600}
_DURATION_MAX_S = 24 * 3600
_BAR_CHARS = 30
_LINE_EVERY_S = 10.0


class _Duration(click.ParamType[float]):
    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """`90`, `90s`, `5m` or `1h`, as seconds."""
        if isinstance(value, float):
            return value
        found = _DURATION.fullmatch(str(value))
        seconds = float(found[1]) * _UNITS[found[2]] if found else 0.0
        if not 1 <= seconds <= _DURATION_MAX_S:
            self.fail(f"`{value}` is no duration: use such as 90s, 5m or 1h", param, ctx)
        return seconds


class _Progress:
    """A bar on a terminal, else a line now and then; always on standard error."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._last = 0.0
        self._said = ""

    def __call__(self, share: float, text: str) -> None:
        now = time.monotonic()
        if self._is_terminal:
            full = round(share * _BAR_CHARS)
            line = f"[{'█' * full}{'·' * (_BAR_CHARS - full)}] {share:4.0%} {text}"
            print(f"\r{line:<100.100}", end="", file=sys.stderr, flush=True)  # noqa: T201
        elif now - self._last > _LINE_EVERY_S or text.split("·", maxsplit=1)[0] != self._said:
            self._last, self._said = now, text.split("·", maxsplit=1)[0]
            print(f"{share:4.0%} {text}", file=sys.stderr, flush=True)  # noqa: T201

    def done(self) -> None:
        """End the line of the bar."""
        if self._is_terminal:
            print(file=sys.stderr)  # noqa: T201


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--nodes", type=click.Choice(["3", "5", "7"]), default="3", show_default=True, help="Size of the cluster."
)
@click.option("--scenario", default="mixed", show_default=True, metavar="NAME", help="Which faults; see --list.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=1, show_default=True, help="Same seed, same plan.")
@click.option("--duration", type=_Duration(), default="60s", show_default=True, help="How long faults go on.")
@click.option("--out", type=click.Path(path_type=Path), help="Directory for the report; must not exist.")
@click.option(
    "--network", type=click.Choice(["auto", "namespaces", "proxy"]), default="auto", show_default=True,
    help="auto: namespaces as root, else the loopback proxy.",
)  # fmt: skip
@click.option("--checks", type=click.IntRange(1, 100_000), default=1500, show_default=True, help="Questions a second.")
@click.option("--list", "listing", is_flag=True, help="List scenarios and kinds of faults, and what is missing here.")
def main(
    *, nodes: str, scenario: str, seed: int, duration: float, out: Path | None, network: str, checks: int, listing: bool
) -> None:
    """Run a cluster of real nodes under load and faults, and judge every answer that it gave."""
    if listing:
        _list()
        return
    place = out or Path(f"chaos-{scenario}-{nodes}-{seed}")
    options = ChaosOptions(
        out=place,
        nodes=int(nodes),
        scenario=scenario,
        seed=seed,
        duration_s=duration,
        network=network,
        checks_per_s=checks,
        own_mounts=True,
    )
    signal.signal(signal.SIGTERM, _interrupt)
    progress = _Progress()
    try:
        result = run_chaos(options, progress)
    except KeyboardInterrupt:
        progress.done()
        click.echo("interrupted; everything it made is removed", err=True)
        sys.exit(_FAILED)
    except InputError as error:
        progress.done()
        click.echo(f"error: {error}", err=True)
        sys.exit(_USAGE)
    except (GovraftError, OSError) as error:
        progress.done()
        click.echo(f"error: the run could not be made: {error}", err=True)
        sys.exit(_FAILED)
    report = write_report(result, place)
    progress.done()
    for line in summary_lines(report):
        click.echo(line)
    click.echo(f"report: {place / 'report.html'}")
    sys.exit(_VIOLATED if result.violations else 0)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Let SIGTERM clean up as Ctrl-C does."""
    del number, frame
    raise KeyboardInterrupt


def _list() -> None:
    here = host_capabilities() | {"loopback", "slow-links", "short-certificate"}
    click.echo("scenarios")
    for name, scenario in SCENARIOS.items():
        click.echo(f"  {name:<18} {scenario.explanation}")
    click.echo("kinds of faults")
    for kind, nemesis in NEMESES.items():
        missing = "; ".join(CAPABILITIES[need] for need in sorted(nemesis.needs - here))
        click.echo(f"  {kind:<18} {nemesis.explanation}" + (f"  [not here: needs {missing}]" if missing else ""))
    for kind, explanation in CHANGES.items():
        click.echo(f"  {kind:<18} {explanation}  [scenario `members`]")
