"""Starting, stopping and losing nodes."""

from __future__ import annotations

import socket
import sys

import pytest
from integration.cluster_harness import Child, Cluster, eventually

from govraft.errors import AvailabilityError
from govraft.node.config import load_config

pytestmark = pytest.mark.cluster


def test_a_node_stops_in_order_and_comes_back_with_its_state(cluster: Cluster) -> None:
    node = cluster.others(cluster.leader())[0]
    helper = cluster.others(node)[0]
    receipt = helper.client.submit(cluster.quarantine("stopped-1"))
    assert node.stop() == 0, node.log()
    assert not node.socket.exists()
    with socket.create_server(load_config(node.config).peer_listen):
        code, said = node.run_to_end()
    assert (code, "cannot listen" in said) == (2, True)
    later = helper.client.submit(cluster.quarantine("stopped-2"))
    node.start()
    # Grants of its earlier life may still be running: until they are over, it takes no part and allows nothing.
    eventually(lambda: node.status()["node"] == node.id, node.log)
    assert node.check("any").reason == "node_starting"
    cluster.wait_allow()
    for agent in ("stopped-1", "stopped-2"):
        assert node.check(agent, at_least=later.certified_seq).reason == "quarantined"
    assert node.check("any").seq >= later.seq > receipt.seq


def test_a_second_process_on_the_same_data_is_refused(cluster: Cluster) -> None:
    node = cluster.nodes["node-1"]
    second = Child([sys.executable, "-P", *node.program, str(node.config)], cluster.home / "second.log")
    try:
        assert second.wait() == 3
    finally:
        second.kill()
    assert "in use by another process" in second.log()
    assert node.is_running
    assert node.check("any")


@pytest.mark.clause("1 operational governance continuity")
@pytest.mark.clause("2 topology-resilient")
def test_two_of_three_go_on_and_one_of_three_denies(cluster: Cluster) -> None:
    leader = cluster.leader()
    follower, last = cluster.others(leader)
    leader.kill()
    cluster.wait_allow(follower.id, last.id)
    receipt = last.client.submit(cluster.quarantine("two-of-three"))
    assert follower.check("two-of-three", at_least=receipt.certified_seq).reason == "quarantined"
    follower.kill()
    eventually(lambda: not last.check("any"), cluster.describe, cluster.lease_s)
    eventually(lambda: last.check("any").reason == "partition_ambiguous", cluster.describe)
    with pytest.raises(AvailabilityError) as refused:
        last.client.submit(cluster.quarantine("one-of-three"), timeout=0.3)
    # Handed to nobody, or to a leader that was gone already: it is not known then.
    assert (refused.value.code, refused.value.definite) in (("unavailable", True), ("outcome_unknown", False))
    cluster.start()
    cluster.verified_lineage()
