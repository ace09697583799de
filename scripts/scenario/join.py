"""`join`: what a long lineage costs.

How long a restart takes with and without a snapshot; how long a new node takes to join, fed by the others or from a
copy of a store, and how long the others then deny; how long it takes to prove the whole lineage from the genesis.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from govraft.adapters.snapshot_file import snapshot_path
from govraft.testing.chaos.load import Load
from govraft.testing.checkers import judge
from govraft.testing.local_cluster import LocalCluster, LocalNode
from govraft.testing.local_cluster_errors import NodeExitedError
from govraft.testing.local_cluster_process import wait_for
from scenario.commands import submit_many
from scenario.figures import Findings, worst
from scenario.programs import memory_mib, peak_mib, require_done, run_program, size_mib
from scenario.traffic import Traffic
from scenario.windows import deny_windows

__all__ = ["join_long"]

_PATIENCE_S = 900.0
_CALM_S = 2.0
_FED, _COPIED = "node-4", "node-5"

Progress = Callable[[float, str], None]


def join_long(place: Path, progress: Progress, *, entries: int = 100_000, snapshot_entries: int = 10_000) -> Findings:
    """Make a lineage of `entries` entries, restart a node twice, let two join, and prove the lineage.

    Args:
        place: An empty directory for exports and the record.
        progress: Told the share that is done, and what happens.
        entries: How many commands become effective before anything is measured.
        snapshot_entries: Entries between two snapshots, in the configuration of each node.

    Raises:
        GovraftError: The scenario could not be gone through.
    """
    found = Findings("join")
    found.note_load()
    with LocalCluster(3, links=False) as cluster:
        for node in cluster.nodes.values():
            with node.config.open("a") as config:
                config.write(f"\n[storage]\nsnapshot_entries = {snapshot_entries}\n")
        cluster.start()
        cluster.permit_all()
        took_s = submit_many(cluster, entries, lambda share: progress(share / 2, "submitting commands"))
        found.add("entries", cluster.nodes["node-1"].status()["seq"], "", f"{entries / took_s:,.0f} effective a second")
        _measure_standing(found, list(cluster.nodes.values()))
        progress(0.5, "restarting with a snapshot")
        _restart(found, cluster, "with the snapshot")
        progress(0.55, "restarting without a snapshot")
        node = cluster.nodes["node-3"]
        node.stop()
        snapshot_path(node.database).unlink()
        _restart(found, cluster, "without it")
        progress(0.65, "joining")
        _join(found, cluster, place)
        progress(0.9, "verifying")
        _prove(found, cluster, place)
    found.note_load()
    return found


def _measure_standing(found: Findings, nodes: Sequence[LocalNode]) -> None:
    found.add("memory of a node", worst([memory_mib(node) for node in nodes]), "MiB", "the largest of three")
    found.add("database of a node", worst([size_mib(node.database) for node in nodes]), "MiB")
    snapshots = [size_mib(snapshot_path(node.database)) for node in nodes]
    found.add("snapshot of a node", worst(snapshots), "MiB")
    found.demand("a node has no snapshot", holds=all(snapshots))


def _restart(found: Findings, cluster: LocalCluster, how: str) -> None:
    node = cluster.nodes["node-3"]
    if node.is_running:
        node.stop()
    began = time.monotonic()
    node.start()
    wait_for(lambda: _answers(node), cluster.describe, _PATIENCE_S)
    found.add(f"restart {how}: answers", time.monotonic() - began, "s")
    cluster.wait_until_serving(node.id, timeout_s=_PATIENCE_S)
    found.add(f"restart {how}: may allow", time.monotonic() - began, "s", "one lease of it is the rule of the protocol")
    found.add(f"restart {how}: most memory", peak_mib(node), "MiB")


def _answers(node: LocalNode) -> bool:
    if not node.is_running:
        raise NodeExitedError(f"`{node.id}` did not start again: {node.log(1000)}")
    return bool(node.status())


def _join(found: Findings, cluster: LocalCluster, place: Path) -> None:
    """New voters, by the steps of an operator, while the others are asked and commanded."""
    endpoints = {node.id: node.endpoint for node in cluster.nodes.values()}
    traffic = Traffic(cluster, place / "traffic", Load(endpoints, 400, 4, 1), calm_s=_CALM_S)
    with traffic.running():
        time.sleep(_CALM_S)
        _add(found, cluster, traffic, _FED, "from an export")
        _add(found, cluster, traffic, _COPIED, "from a copy", donor=cluster.nodes["node-1"])
    events = traffic.events()
    for step in deny_windows(events):
        found.add(f"{step.name}: longest deny window of the others", worst(list(step.denied_ms.values())), "ms")
    found.problems += [f"{item.property}: {item.message}" for item in judge(events, expect_live=True)]


def _add(
    found: Findings, cluster: LocalCluster, traffic: Traffic, name: str, how: str, donor: LocalNode | None = None
) -> None:
    others = list(cluster.nodes.values())
    with traffic.step(f"add {name}", name):
        began = time.monotonic()
        traffic.add(name, _PATIENCE_S, donor)
        found.add(f"join {how}: may allow", time.monotonic() - began, "s", f"{name}, from making its key on")
    with traffic.step(f"promote {name}"):
        began = time.monotonic()
        traffic.promote(name)
        found.add(f"join {how}: is a voter", time.monotonic() - began, "s", "after that")
    cluster.wait_until_serving(timeout_s=_PATIENCE_S)
    found.add(f"join {how}: most memory of the new node", peak_mib(cluster.nodes[name]), "MiB")
    found.add(f"join {how}: most memory of another", worst([peak_mib(node) for node in others]), "MiB")


def _prove(found: Findings, cluster: LocalCluster, place: Path) -> None:
    """Export the lineage of the new node, and verify it from the genesis."""
    export, source = place / "lineage.jsonl", ("--cluster", cluster.home, "--endpoint", _FED)
    made = run_program("govraft.cli.main", *source, "lineage", "export", export, cwd=place)
    require_done(made, "the export of the lineage")
    found.add("export of the lineage", made.wall_s, "s", f"{size_mib(export):,.0f} MiB")
    proof = run_program("govraft.cli.main", "verify", export, "--genesis", cluster.home / "genesis.json", cwd=place)
    found.demand(f"the lineage is not proven: {proof.err.strip()}", holds=proof.code == 0)
    found.add("verify from the genesis", proof.wall_s, "s", f"{proof.cpu_s:,.1f} s of processor time")
    found.add("verify: most memory", proof.peak_mib, "MiB")
