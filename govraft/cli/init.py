"""`govraft init`: make the files of a new cluster."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import click

from govraft.cli.cluster_creation import create_cluster
from govraft.cli.cluster_plan import load_plan, plan_cluster
from govraft.cli.output import emit, fields_table, note
from govraft.cli.settings import CliCommand, Settings
from govraft.cli.signing import PASSPHRASE_VARIABLE
from govraft.core.model import limits
from govraft.core.model.electorate import QuorumRule
from govraft.errors import InputError
from govraft.node.config import PROFILES

__all__ = ["init"]


_NODES = 3


@click.command(cls=CliCommand)
@click.option("--out", required=True, metavar="DIR", type=click.Path(path_type=Path), help="Where to make it.")
@click.option("--from", "source", metavar="FILE", type=click.Path(path_type=Path), help="A cluster description (TOML).")
@click.option("--nodes", type=click.IntRange(1, limits.VOTERS), help=f"How many voters.  [default: {_NODES}]")
@click.option("--quorum", type=click.Choice([rule.value for rule in QuorumRule]), help="[default: majority]")
@click.option("--profile", type=click.Choice(list(PROFILES)), help="Time-outs and lease length.  [default: lan]")
@click.option("--name", help="Name of the cluster.  [default: the directory's name]")
@click.option("--base-port", type=click.IntRange(1, 65_535), help="First peer port.  [default: free ports]")
@click.make_pass_decorator(Settings, ensure=True)
def init(
    settings: Settings,
    *,
    out: Path,
    source: Path | None,
    nodes: int | None,
    quorum: str | None,
    profile: str | None,
    name: str | None,
    base_port: int | None,
) -> None:
    """Make genesis, keys and node configurations of a new cluster.

    Nothing is overwritten. The keys of the authorities are encrypted if GOVRAFT_KEY_PASSPHRASE is set; keep them
    away from the nodes: who holds a threshold of them commands the cluster.
    """
    if source is not None:
        if any(option is not None for option in (nodes, quorum, profile, name)):
            raise InputError("`--from` says all of `--nodes`, `--quorum`, `--profile` and `--name`; leave them out")
        plan = load_plan(source)
    else:
        plan = plan_cluster(
            name=name or out.absolute().name or "cluster",
            nodes=_NODES if nodes is None else nodes,
            quorum=QuorumRule(quorum or "majority"),
            profile=profile or "lan",
        )
    passphrase = os.environ.get(PASSPHRASE_VARIABLE)
    made = create_cluster(plan, out, base_port=base_port, passphrase=passphrase.encode() if passphrase else None)
    data = {
        "cluster": made.cluster_id,
        "name": made.name,
        "directory": str(made.path),
        "nodes": [node.id for node in made.nodes],
        "quorum": plan.quorum.quorum_size(len(plan.nodes)),
    }
    emit(settings.output, data, fields_table({**data, "nodes": ", ".join(node.id for node in made.nodes)}.items()))
    note(f"start it with: govraft cluster up {shlex.quote(str(out))}")
