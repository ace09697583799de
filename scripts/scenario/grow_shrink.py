"""`grow-shrink`: a cluster grows and shrinks until all its nodes have other keys than those of the genesis.

Clients check and command at every node all the time. Each node is added as an observer, promoted, and the old ones are
removed, one after the other. A removed node goes on running, and must deny.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

from govraft.testing.chaos.load import TARGETS, Load
from govraft.testing.chaos.workload import ACTION, RESOURCE, now, subject
from govraft.testing.checkers import judge
from govraft.testing.history import Check, CommandTried, Event
from govraft.testing.local_cluster import LocalCluster, LocalNode
from scenario.figures import Findings, Grid, worst
from scenario.programs import require_done, run_program
from scenario.traffic import Traffic
from scenario.windows import StepWindows, deny_windows

__all__ = ["grow_and_shrink"]

_WARM_UP_S = 2.0
_ASKED_TIMES = 25
_PATIENCE_S = 60.0
_NS_PER_MS = 1_000_000

Progress = Callable[[float, str], None]


def grow_and_shrink(
    place: Path,
    progress: Progress,
    *,
    least: int = 3,
    most: int = 7,
    calm_s: float = 3.0,
    checks_per_s: int = 1000,
    programs: Mapping[str, Sequence[str]] | None = None,
) -> Findings:
    """Grow from `least` nodes to `most`, then remove the oldest until `least` are left.

    Args:
        place: An empty directory for the record, not for the cluster.
        progress: Told the share that is done, and what happens.
        least: Voters at the beginning and at the end.
        most: Voters in the middle.
        calm_s: How long the load goes on after each step.
        checks_per_s: How many questions are asked, all nodes together; an aim.
        programs: As for `LocalCluster`: nodes that are not the stock program.

    Raises:
        GovraftError: The scenario could not be gone through.
    """
    found = Findings("grow-shrink")
    found.note_load()
    names = [f"node-{number}" for number in range(1, most + 1)]
    with LocalCluster(least, links=False, programs=programs) as cluster:
        cluster.start()
        cluster.permit_all()
        endpoints = {name: LocalNode(cluster.home, name).endpoint for name in names}
        load = Load(endpoints, checks_per_s, 20, 1)
        traffic = Traffic(cluster, place / "traffic", load, calm_s=calm_s)
        with traffic.running():
            time.sleep(_WARM_UP_S)
            removed = _change(traffic, cluster, names[least:], names[: most - least], progress)
            for name in removed:
                _require_denying(found, cluster.nodes[name])
        progress(1.0, "judging")
        events = traffic.events()
        found.problems += [f"{item.property}: {item.message}" for item in judge(events, expect_live=True)]
        _report(found, events, removed)
        _prove(found, cluster, names[-1], place)
    found.note_load()
    return found


def _change(
    traffic: Traffic, cluster: LocalCluster, coming: list[str], going: list[str], progress: Progress
) -> dict[str, int]:
    """Go through all steps; when the removal of each node that went was known to be effective."""
    steps, done = 2 * len(coming) + len(going), 0
    removed = {}

    def tell(text: str) -> None:
        nonlocal done
        progress(done / steps, text)
        done += 1

    for name in coming:
        tell(f"adding {name}")
        with traffic.step(f"add {name}", name):
            traffic.add(name, _PATIENCE_S)
        tell(f"promoting {name}")
        with traffic.step(f"promote {name}"):
            traffic.promote(name)
    for name in going:
        tell(f"removing {name}")
        leads = cluster.nodes[name].status()["leader_hint"] == name
        with traffic.step(f"remove {name}{', leading' if leads else ''}", name):
            traffic.remove(name)
            removed[name] = now()
    return removed


def _require_denying(found: Findings, node: LocalNode) -> None:
    """A node that was removed must deny everything, and say why."""
    verdicts = [node.client.check(subject(target), ACTION, RESOURCE) for target in TARGETS * _ASKED_TIMES]
    reasons = sorted({"allow" if verdict else str(getattr(verdict, "reason", "")) for verdict in verdicts})
    found.demand(f"{node.id} was removed, and answers {', '.join(reasons)}", holds=reasons == ["revoked"])


def _report(found: Findings, events: list[Event], removed: dict[str, int]) -> None:
    checks = [item for item in events if isinstance(item, Check)]
    allows = [item for item in checks if item.allowed]
    commands = [item for item in events if isinstance(item, CommandTried)]
    effective = [item for item in commands if item.outcome == "effective"]
    late = [item for item in allows if item.began > removed.get(item.node, item.at)]
    latencies = [(item.at - item.began) / _NS_PER_MS for item in effective]
    windows = deny_windows(events)
    found.add("checks", len(checks), "", f"{len(allows):,} allowed")
    found.add("commands tried", len(commands), "", "at nodes that are not there, too")
    found.add("commands effective", len(effective), "")
    found.add("command to effective, median", median(latencies or [0.0]), "ms")
    found.add("command to effective, worst", worst(latencies), "ms")
    found.add("allows of removed nodes", len(late), "", "asked for after the removal was effective")
    found.add("violations of the checkers", len(found.problems), "", "stale allow, lost command, fork, ...")
    found.add("longest deny window", worst([worst(list(item.denied_ms.values())) for item in windows]), "ms")
    found.demand(f"removed nodes allowed {len(late)} times", holds=not late)
    found.demand("nothing was allowed, or no command was effective", holds=bool(allows and effective))
    found.grids.append(_grid(windows))


def _grid(windows: list[StepWindows]) -> Grid:
    nodes = sorted({node for item in windows for node in item.denied_ms})
    rows = tuple(
        (item.name, item.took_ms, *(item.denied_ms.get(node) for node in nodes), item.command_ms) for item in windows
    )
    title = "longest time without an allow of each node, and without an effective command, ms"
    return Grid(title, ("step", "took", *nodes, "commands"), rows)


def _prove(found: Findings, cluster: LocalCluster, name: str, place: Path) -> None:
    """The whole lineage, with all changes of the members, is proven from the genesis alone."""
    export, genesis = place / "lineage.jsonl", cluster.home / "genesis.json"
    source = ("--cluster", cluster.home, "--endpoint", name)
    made = run_program("govraft.cli.main", *source, "lineage", "export", export, cwd=place)
    require_done(made, "the export of the lineage")
    proof = run_program("govraft.cli.main", "verify", export, "--genesis", genesis, cwd=place)
    found.demand(f"the lineage is not proven: {proof.err.strip()}", holds=proof.code == 0)
    found.add("epoch at the end", export.read_bytes().count(b'"lease"') + 1, "", "each change is one more")
    found.add("verify from the genesis", proof.wall_s, "s", f"{cluster.nodes[name].status()['certified_seq']} entries")
