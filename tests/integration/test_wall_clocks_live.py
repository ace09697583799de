"""A wall clock that is wrong and stays wrong, on real nodes: a boundary of time holds there too."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from govraft.client.verdicts import Verdict
from govraft.core.model.commands import BoundarySet, Window
from govraft.testing.chaos.nemesis_clock import give_clocks
from govraft.testing.chaos.skewed_node import CLOCK_VARIABLE, ClockFile
from govraft.testing.local_cluster import LocalCluster, LocalNode
from govraft.testing.local_cluster_process import wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

AHEAD_MS = 3_900_000
WATCHED_S = 6.0
_DAY = 24 * 60


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    """Three nodes with clocks that can be moved; nothing may execute before 50 minutes from now."""
    with LocalCluster(3, links=False) as cluster:
        give_clocks(cluster)
        cluster.start()
        cluster.permit_all()
        begin = int(time.time()) // 60 % _DAY + 50
        days = tuple(range(7))
        spans = [(begin % _DAY, min(begin % _DAY + 30, _DAY))]
        if spans[0][1] == _DAY:
            spans.append((0, 30))
        windows = tuple(Window(days=days, start=start, end=end) for start, end in spans)
        header = cluster.commands.header()
        cluster.submit(cluster.seal(BoundarySet(id="soon", windows=windows, **header)))
        yield cluster


def ask(node: LocalNode) -> Verdict:
    verdict = node.client.check('Agent::"a"', 'Action::"use"', 'Tool::"t"')
    assert not verdict, f"{node.id} allows outside the boundary"
    return verdict


def reason(node: LocalNode) -> str:
    return str(ask(node).reason)


@pytest.mark.parametrize("role", ["follower", "leader"])
def test_a_node_whose_clock_is_wrong_does_not_allow_outside_a_boundary(cluster: LocalCluster, role: str) -> None:
    leader = cluster.leader()
    wrong = leader if role == "leader" else cluster.others(leader)[0]
    right = cluster.others(wrong)
    assert {reason(node) for node in cluster.nodes.values()} == {"boundary_exceeded"}
    clock = ClockFile(Path(wrong.environment[CLOCK_VARIABLE]))
    clock.set(wall_ms=AHEAD_MS)

    def is_found() -> bool | None:
        told = {reason(node) for node in right}
        return (reason(wrong) == "clock_unsafe" and told == {"boundary_exceeded"}) or None

    wait_for(is_found, cluster.describe)
    leads = wait_for(
        lambda: next((node.id for node in right if node.status()["leader_hint"] == node.id), None), "a leader"
    )
    deadline, asked = time.monotonic() + WATCHED_S, 0
    while time.monotonic() < deadline:
        # An election may come between on a busy host; an allow never.
        for node in right:
            reason(node)
        asked += reason(wrong) == "clock_unsafe"
        time.sleep(0.05)
    assert asked > 10
    wait_for(lambda: f"leader `{leads}`" in ask(wrong).message or None, cluster.describe)
    assert "is +3" in ask(wrong).message
    clock.set()
    wait_for(lambda: reason(wrong) == "boundary_exceeded" or None, cluster.describe)
