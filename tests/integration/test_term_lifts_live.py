"""A member's stolen key, over TLS against real processes: it lifts terms, falls silent, and nobody is exiled."""

from __future__ import annotations

import pytest
from integration.cluster_harness import Cluster, eventually

from govraft.cli.main import run
from govraft.testing.chaos.nemesis_member import lift, say

pytestmark = pytest.mark.cluster


@pytest.mark.parametrize(("nodes", "quorum"), [(4, "byzantine"), (3, "majority")])
def test_nobody_is_exiled_by_frames_in_a_members_name(
    nodes: int, quorum: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with Cluster(nodes, quorum=quorum) as cluster:
        cluster.start()
        cluster.permit_all()
        *honest, liar = cluster.nodes.values()
        names = [node.id for node in honest]
        # What the liar itself would do to help is not counted on: it is silent but for these frames.
        liar.kill()
        # For a lease after its start no node's term rises by much.
        eventually(lambda: all(n.status()["uptime_ms"] > 1500 * cluster.lease_s for n in honest), cluster.describe)
        # Taken as they are, they end more than a step apart.
        for victim, steps in zip(honest, (1, 4, 7), strict=False):
            say(liar, victim, cluster.genesis, lift(steps))
        assert max(node.status()["term"] for node in honest) > 2**32
        cluster.wait_until_serving(*names)
        assert all(node.status()["term_jumps"][liar.id] > 0 for node in honest)
        run(["status", "--cluster", str(cluster.home)])
        said = " ".join(capsys.readouterr().out.split())
        assert f"of `{liar.id}`" in said, said
        for node in honest:
            assert node.stop() == 0
        cluster.start(*names)
        receipt = honest[0].client.submit(cluster.quarantine("after"))
        assert all(node.check("after", at_least=receipt.certified_seq).reason == "quarantined" for node in honest)


def test_who_uses_a_members_key_for_a_moment_does_not_keep_its_node_out() -> None:
    """Its own connection is replaced, and is back when the other one is gone."""
    with Cluster(3) as cluster:
        cluster.start()
        cluster.permit_all()
        leader = cluster.leader()
        for other in cluster.others(leader):
            say(leader, other, cluster.genesis, [])
        leader.client.submit(cluster.quarantine("after"), wait="committed")
        others = [node.id for node in cluster.others(leader)]
        eventually(lambda: {*others} <= {*leader.status()["links"]}, cluster.describe)
