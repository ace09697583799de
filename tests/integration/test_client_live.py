"""The client library against live nodes."""

from __future__ import annotations

import asyncio
import time

import pytest
from integration.cluster_harness import ACTION, TOOL, Cluster, eventually

from govraft import Allow, AsyncClient, Client, Denied, Deny
from govraft.core.codec.note import Checkpoint, parse_note
from govraft.core.lineage.leaf import Leaf
from govraft.core.lineage.proofs import verify_inclusion
from govraft.errors import RejectedError

pytestmark = pytest.mark.cluster


def test_check_and_require(cluster: Cluster) -> None:
    for node in cluster.nodes.values():
        with Client(node.endpoint) as client:
            asked_at = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            verdict = client.check('Agent::"ann"', ACTION, TOOL)
            assert isinstance(verdict, Allow)
            assert verdict
            assert verdict.node == node.id
            assert asked_at < verdict.valid_until <= time.clock_gettime_ns(time.CLOCK_BOOTTIME) + cluster.lease_s * 1e9
            assert client.require('Agent::"ann"', ACTION, TOOL).seq == verdict.seq
            with pytest.raises(Denied) as denied:
                client.require('Agent::"ann"', 'Action::"nonsense"', TOOL)
            assert denied.value.verdict.reason == "request_invalid"
            assert client.check("not a uid", ACTION, TOOL).reason == "request_invalid"
            assert client.check('Agent::"ann"', ACTION, 'Agent::"bob"').reason == "request_invalid"


def test_an_allow_runs_out_by_itself(cluster: Cluster) -> None:
    verdict = cluster.nodes["node-1"].check("ann")
    assert verdict
    eventually(lambda: not verdict, "the allow to run out", cluster.lease_s)


def test_check_many_answers_in_order(cluster: Cluster) -> None:
    node = cluster.nodes["node-2"]
    receipt = node.client.submit(cluster.quarantine("many"))
    requests = [(f'Agent::"{name}"', ACTION, TOOL) for name in ("many", "ann") for _ in range(700)]
    requests.insert(3, ("nonsense", ACTION, TOOL))
    for place in cluster.nodes.values():
        verdicts = place.client.check_many(requests, at_least=receipt.certified_seq)
        assert len(verdicts) == 1401
        assert verdicts[3].reason == "request_invalid"
        del verdicts[3]
        assert {item.reason for item in verdicts[:700]} == {"quarantined"}
        # What each was: on a busy host an allow may have run out by now.
        assert all(isinstance(item, Allow) for item in verdicts[700:])
        assert all(item.seq >= receipt.certified_seq for item in verdicts)


def test_submit_waits_for_what_it_is_asked_to(cluster: Cluster) -> None:
    node, other = cluster.nodes["node-1"], cluster.nodes["node-3"]
    effective = node.client.submit(cluster.quarantine("effective"))
    # From this moment on no node can answer from the state before: no `at_least` is needed.
    assert [item.check("effective").reason for item in cluster.nodes.values()] == ["quarantined"] * 3
    assert effective.outcome == "applied"
    assert effective.certified_seq >= effective.seq > 1
    note = parse_note(effective.certificate)
    checkpoint = Checkpoint.decode(note.body)
    assert checkpoint.seq == effective.certified_seq
    verify_inclusion(effective.leaf, effective.seq - 1, checkpoint.seq, effective.proof, checkpoint.root)
    leaf = Leaf.decode(effective.leaf)
    assert (leaf.seq, leaf.outcome) == (effective.seq, "applied")

    committed = other.client.submit(cluster.quarantine("committed"), wait="committed")
    assert committed.seq > effective.seq
    pending = other.client.submit(cluster.quarantine("pending"), wait="none")
    assert (pending.outcome, pending.seq) == ("pending", 0)
    for agent in ("committed", "pending"):
        eventually(lambda agent=agent: not node.check(agent), cluster.describe)
    with pytest.raises(RejectedError) as refused:
        node.client.submit(cluster.quarantine("effective"))
    assert refused.value.code == "already_quarantined"


@pytest.mark.clause("7 synchronize-before-execute")
def test_at_least_never_answers_from_an_older_state(cluster: Cluster) -> None:
    node = cluster.nodes["node-1"]
    seq = cluster.settled()["seq"]
    assert node.check("ann", at_least=seq).seq >= seq
    assert node.check("ann", at_least=seq + 1).reason == "synchronizing"
    for place in range(5):
        receipt = cluster.nodes["node-2"].client.submit(cluster.quarantine(f"at-least-{place}"), wait="committed")
        for other in cluster.nodes.values():
            verdict = other.check(f"at-least-{place}", at_least=receipt.seq)
            assert (verdict.reason, verdict.seq >= receipt.seq) == ("quarantined", True)


def test_a_killed_node_is_unreachable_and_the_same_client_finds_it_again(cluster: Cluster) -> None:
    node = cluster.others(cluster.leader())[0]
    client, held = node.client, node.check("ann")
    assert held
    node.kill()
    verdict = client.check('Agent::"ann"', ACTION, TOOL)
    assert isinstance(verdict, Deny)
    assert verdict.reason == "node_unreachable"
    assert {item.reason for item in client.check_many([('Agent::"ann"', ACTION, TOOL)] * 3)} == {"node_unreachable"}
    with pytest.raises(Denied):
        client.require('Agent::"ann"', ACTION, TOOL)
    eventually(lambda: not held, "the allow of the dead node to run out", cluster.lease_s)
    cluster.start()
    assert client.check('Agent::"ann"', ACTION, TOOL)


def test_a_paused_node_costs_the_timeout_and_denies(cluster: Cluster) -> None:
    node = cluster.others(cluster.leader())[0]
    assert node.check("ann")
    node.process.pause()
    try:
        assert node.check("ann", timeout=0.1).reason == "node_unreachable"
        with Client(node.endpoint, timeout=0.1) as client:
            assert client.check('Agent::"ann"', ACTION, TOOL).reason == "node_unreachable"
    finally:
        node.process.resume()
    eventually(lambda: node.check("ann"), cluster.describe)


def test_the_asynchronous_client(cluster: Cluster) -> None:
    async def talk() -> None:
        async with AsyncClient(cluster.nodes["node-1"].endpoint) as client:
            verdicts = await asyncio.gather(*(client.check(f'Agent::"{n}"', ACTION, TOOL) for n in range(200)))
            assert all(isinstance(item, Allow) for item in verdicts)
            receipts = await asyncio.gather(*(client.submit(cluster.quarantine(f"async-{n}")) for n in range(20)))
            assert len({item.seq for item in receipts}) == 20
            many = await client.check_many([(f'Agent::"async-{n}"', ACTION, TOOL) for n in range(20)])
            assert {item.reason for item in many} == {"quarantined"}

    asyncio.run(talk())
