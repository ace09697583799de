"""`govraft cluster`: run all nodes of a cluster on this host, for development and tests."""

from __future__ import annotations

from pathlib import Path

import click

from govraft.cli.cluster_directory import ClusterDirectory, load_directory
from govraft.cli.cluster_run import NodeState, is_proxied, node_states, start_cluster, stop_cluster
from govraft.cli.output import Table, emit
from govraft.cli.settings import CliGroup, Settings
from govraft.errors import AvailabilityError, InputError
from govraft.testing.link_control import LinkControl, LinkState
from govraft.testing.link_proxy import Mode

__all__ = ["cluster"]

_DIRECTORY = click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
_settings = click.make_pass_decorator(Settings, ensure=True)


@click.group(cls=CliGroup)
def cluster() -> None:
    """Run all nodes of a directory made by `govraft init` on this host."""


@cluster.command()
@_DIRECTORY
@click.option("--proxied", is_flag=True, help="Carry the nodes' traffic through proxies, which `cut` can cut.")
@_settings
def up(settings: Settings, directory: Path, *, proxied: bool) -> None:
    """Start every node, and wait until all may allow. Nodes that run are left alone."""
    states = start_cluster(load_directory(directory), proxied=proxied, timeout_s=settings.timeout_s)
    _show(settings.output, states)


@cluster.command()
@_DIRECTORY
@_settings
def down(settings: Settings, directory: Path) -> None:
    """Stop every node; kill only those that do not stop in time."""
    outcomes = stop_cluster(load_directory(directory), timeout_s=settings.timeout_s)
    emit(settings.output, outcomes, Table(("NAME", "OUTCOME"), list(outcomes.items())))


@cluster.command()
@_DIRECTORY
@_settings
def status(settings: Settings, directory: Path) -> None:
    """Show every node. Exit code 3 unless all of them may allow."""
    loaded = load_directory(directory)
    states = node_states(loaded)
    _show(settings.output, states)
    denying = [state.id for state in states if state.standing != "allow"]
    if denying:
        raise AvailabilityError(f"not every node may allow: {', '.join(denying)}; see {loaded.path / 'log'}")


@cluster.command()
@_DIRECTORY
@click.argument("node")
@click.option(
    "--mode", type=click.Choice([mode.value for mode in Mode if mode is not Mode.OPEN]), default=Mode.CUT.value
)
@click.option("--from", "source", is_flag=True, help="Only what NODE sends.")
@click.option("--to", "target", is_flag=True, help="Only what NODE is sent.")
@_settings
def cut(settings: Settings, directory: Path, node: str, *, mode: str, source: bool, target: bool) -> None:
    """Cut NODE off from all others; its process goes on. Needs `cluster up --proxied`."""
    loaded, control = _controlled(directory)
    loaded.find(node)
    if source == target:
        _show_links(settings.output, control.cut(node, Mode(mode)))
        return
    for other in loaded.nodes:
        if other.id != node:
            control.cut_link(*((node, other.id) if source else (other.id, node)), Mode(mode))
    _show_links(settings.output, control.states())


@cluster.command()
@_DIRECTORY
@click.argument("node", required=False)
@_settings
def heal(settings: Settings, directory: Path, node: str | None) -> None:
    """Restore the traffic of NODE, or of all nodes."""
    loaded, control = _controlled(directory)
    if node is not None:
        loaded.find(node)
    _show_links(settings.output, control.heal(node))


def _controlled(directory: Path) -> tuple[ClusterDirectory, LinkControl]:
    loaded = load_directory(directory)
    if not is_proxied(loaded):
        raise InputError(
            f"the cluster does not run with proxied links; start it: `govraft cluster up --proxied {directory}`"
        )
    return loaded, LinkControl(loaded.control_path)


def _show(form: str, states: list[NodeState]) -> None:
    columns = ("NODE", "PID", "STANDING", "LEADER", "TERM", "SEQ", "CERTIFIED", "ENDPOINT")
    rows = [
        (
            state.id,
            "-" if state.pid is None else state.pid,
            state.standing,
            state.status.get("leader_hint") or "-",
            state.status.get("term", "-"),
            state.status.get("seq", "-"),
            state.status.get("certified_seq", "-"),
            state.endpoint,
        )
        for state in states
    ]
    data = [
        {"id": s.id, "pid": s.pid, "endpoint": s.endpoint, "standing": s.standing, "status": s.status} for s in states
    ]
    emit(form, data, Table(columns, rows))


def _show_links(form: str, links: dict[str, LinkState]) -> None:
    rows = [(*name.split(">"), link.mode.value, link.delay_ms) for name, link in sorted(links.items())]
    data = [{"from": row[0], "to": row[1], "mode": row[2], "delay_ms": row[3]} for row in rows]
    emit(form, data, Table(("FROM", "TO", "MODE", "DELAY MS"), rows))
