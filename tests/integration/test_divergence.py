"""A running node whose machine comes to another state than the others: it is denied every lease, says in which part it
differs, isolates itself for good, and cannot hold up the others, not even as their leader."""

from __future__ import annotations

import base64
import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from integration.cluster_harness import Cluster, Node, eventually

from govraft.core.codec.canonical import unpack
from govraft.core.convergence.certificate import verify_lease
from govraft.core.convergence.messages import Kind, Signed
from govraft.core.convergence.timing import LeaseTiming
from govraft.core.crypto.keys import verify
from govraft.core.lineage.tree import MerkleTree

pytestmark = pytest.mark.cluster

FAULTY = "node-3"
HEALTHY = ("node-1", "node-2")


@pytest.fixture(scope="module")
def diverged() -> Iterator[Cluster]:
    """Two stock nodes, and a third that comes to other policies than they do while it leads them."""
    program = [str(Path(__file__).with_name("faulty_node.py")), "diverge:policies"]
    patient = "election_min_ms = 1000\nelection_max_ms = 2000"
    timing = dict.fromkeys(HEALTHY, patient) | {FAULTY: "election_min_ms = 310\nelection_max_ms = 400"}
    with Cluster(programs={FAULTY: program}, timing=timing) as cluster:
        cluster.start()
        cluster.activate_policy(cluster.nodes[FAULTY])
        assert cluster.leader().id == FAULTY
        assert cluster.nodes[FAULTY].check("anybody")
        command = cluster.quarantine("somebody", reason="diverge")
        cluster.nodes["node-1"].client.submit(command, wait="committed")
        healthy = [cluster.nodes[node_id] for node_id in HEALTHY]
        # Neither side has a lease on the new state, and both know better than to go on with the old one.
        for node in healthy:
            eventually(lambda node=node: node.status()["standing"] == "policy_divergence", cluster.describe)
            assert not node.check("anybody")
        assert not cluster.nodes[FAULTY].check("anybody")
        yield cluster


def test_a_diverged_leader_is_replaced_and_isolates_itself_for_good(diverged: Cluster) -> None:
    faulty = diverged.nodes[FAULTY]
    diverged.wait_allow(*HEALTHY)
    isolation = eventually(lambda: faulty.status()["isolation"], diverged.describe)
    assert isolation["reason"] == "policy_divergence"
    assert "section `policies` differs" in isolation["detail"]
    assert faulty.status()["standing"] == faulty.check("anybody").reason == "policy_divergence"

    # The evidence convinces whoever holds the genesis: a whole lease, on a root that this node does not have.
    kept, genesis = evidence(faulty), diverged.genesis
    cluster_digest = bytes.fromhex(genesis.cluster_id)
    signed = Signed.decode(unpack(kept, max_bytes=1 << 20)["received"], Kind.LEASE)
    lease = verify_lease(
        signed, genesis.electorate(), genesis.origin, cluster_digest, LeaseTiming.of(genesis), is_valid=verify
    )
    certified = MerkleTree()
    for leaf, _ in diverged.nodes["node-1"].lineage()[: lease.probe.checkpoint.seq]:
        certified.append(leaf)
    assert lease.probe.checkpoint.root == certified.root()
    assert lease.voters == set(HEALTHY)

    # After a restart and more commands it stays what it is.
    faulty.kill()
    faulty.start()
    eventually(lambda: faulty.status()["isolation"] == isolation, diverged.describe)
    receipt = diverged.nodes["node-2"].client.submit(diverged.quarantine("later"))
    assert faulty.check("anybody").reason == "policy_divergence"
    assert evidence(faulty) == kept
    for node_id in HEALTHY:
        assert diverged.nodes[node_id].check("anybody", at_least=receipt.certified_seq)
        assert diverged.nodes[node_id].check("somebody").reason == "quarantined"
    diverged.verified_lineage(*HEALTHY)


def test_an_isolated_node_never_leads(diverged: Cluster) -> None:
    """It would never probe, and the others would wait for a lease for ever."""
    faulty = diverged.nodes[FAULTY]
    eventually(lambda: faulty.status()["isolation"], diverged.describe)
    diverged.wait_allow(*HEALTHY)
    # For three leases after its last probe they are deaf to it in any case; that is not what is tested here.
    deaf_until = time.monotonic() + 3 * 1.01 * diverged.lease_s
    eventually(lambda: time.monotonic() > deaf_until, "time to pass")
    leader = diverged.nodes[diverged.nodes["node-1"].status()["leader_hint"]]
    (survivor,) = diverged.others(leader, faulty)
    leader.kill()
    # From here on the survivor would vote for the first that asks, and the isolated one is the quickest to ask.
    eventually(lambda: survivor.status()["leader_hint"] != leader.id, diverged.describe)
    diverged.start(leader.id)
    diverged.wait_allow(*HEALTHY)
    assert not faulty.status()["is_leader"]


def evidence(node: Node) -> bytes:
    with closing(sqlite3.connect(node.database)) as connection:
        (text,) = connection.execute("SELECT value FROM records WHERE name = 'isolation'").fetchone()
    return base64.b64decode(json.loads(text)["evidence"])
