"""`scripts/bench`: how fast is govraft on this machine?

Every figure comes with what it is compared to, measured in the same run on the same machine: a figure by itself says
as much about the machine as about govraft.
"""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import checks
import click
import failover
import footprint
import machine
import revocation
import writes
from cluster import BenchCluster
from report import Row, print_json, print_table

from govraft.errors import GovraftError

MEASUREMENTS: dict[str, Callable[[BenchCluster, bool], list[Row]]] = {
    "machine": machine.measure,
    "footprint": footprint.measure,
    "check": checks.measure,
    "write": writes.measure,
    "revocation": revocation.measure,
    "failover": failover.measure,
}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="Fewer rounds: rougher figures in about a minute.")
@click.option("--only", "chosen", multiple=True, type=click.Choice(list(MEASUREMENTS)), help="Only this; repeatable.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def main(*, quick: bool, chosen: tuple[str, ...], output: str) -> None:
    """Measure a cluster of three nodes on this host: fresh, in a temporary directory, gone afterwards."""
    rows: list[Row] = []
    # So that the nodes are ended then, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="govraft-bench-") as directory:
        try:
            with BenchCluster(Path(directory) / "cluster") as cluster:
                for name in [name for name in MEASUREMENTS if not chosen or name in chosen]:
                    click.echo(f"measuring {name} ...", err=True)
                    rows += MEASUREMENTS[name](cluster, quick)
        except GovraftError as error:
            click.echo(f"the benchmark failed: {error} ({error.code})", err=True)
            sys.exit(1)
    if output == "json":
        print_json(rows)
    else:
        print_table(rows)


if __name__ == "__main__":
    main()
