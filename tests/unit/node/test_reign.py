"""When a leader gives up its office: see `test_wall_clocks.py` for what it is good for."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from sim_cluster import SimCluster

from govraft.node.probed import Probed
from govraft.node.reign import Reign


@pytest.mark.parametrize(
    ("nodes", "holders", "resigns"),
    [(3, 1, True), (3, 0, False), (5, 2, True), (5, 1, False), (1, 0, False)],
)
def test_a_leader_resigns_only_while_a_quorum_follows_its_log(nodes: int, holders: int, resigns: bool) -> None:
    """Voters that answer but do not write what they are sent would follow no other leader either."""
    sim = SimCluster(nodes=nodes)
    sim.run_until(sim.all_serving)
    core = sim.leader.core
    asked = Probed(
        core.machine.seq, core.machine.root, core.machine.sections, core.epochs.electorates(core.machine.seq)
    )
    others = [name for name in sim.nodes if name != sim.leader.id]
    aside: list[float] = []
    sequencer = SimpleNamespace(term=1, holders=lambda index: frozenset(others[:holders]), resign=aside.append)
    reign = Reign(sim.leader.id, core.timing, lambda seq: seq)
    for lease in range(8):
        reign.turn(asked, 0, sequencer, lease * core.timing.grant_ns // 2)
    assert bool(aside) is resigns
