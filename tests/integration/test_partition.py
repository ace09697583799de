"""A node that is cut off stops allowing within one lease; the others go on, and all agree once it is back."""

from __future__ import annotations

import threading
import time
from typing import NamedTuple

import pytest
from integration.cluster_harness import Cluster, Node, eventually

from govraft.client.verdicts import Verdict

pytestmark = pytest.mark.cluster


class Answered(NamedTuple):
    """A verdict, when it arrived (seconds, `time.monotonic`), and whether it still held after that."""

    at: float
    verdict: Verdict
    held: bool


class CheckStream:
    """Asks one node again and again, from a thread of its own."""

    def __init__(self, node: Node, agent: str) -> None:
        self.answers: list[Answered] = []
        self._node, self._agent = node, agent
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> CheckStream:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join(20)
        assert not self._thread.is_alive()

    def since(self, at: float) -> list[Answered]:
        return [item for item in self.answers if item.at >= at]

    def _run(self) -> None:
        while not self._stopped.wait(0.004):
            verdict = self._node.check(self._agent)
            arrived = time.monotonic()
            self.answers.append(Answered(arrived, verdict, bool(verdict)))


@pytest.mark.clause("1 authoritative runtime coordination")
@pytest.mark.clause("1 synchronized execution authority")
@pytest.mark.clause("2 topology-resilient")
@pytest.mark.clause("7 no soft-fail synchronization")
@pytest.mark.parametrize("role", ["follower", "leader"])
def test_a_cut_off_node_denies_within_one_lease(cluster: Cluster, role: str) -> None:
    old_leader = cluster.leader()
    cut = old_leader if role == "leader" else cluster.others(old_leader)[0]
    rest = cluster.others(cut)
    agent = f"cut-{role}"
    eventually(lambda: all(node.check(agent) for node in cluster.nodes.values()), cluster.describe)

    with CheckStream(cut, agent) as asked, CheckStream(rest[0], agent) as asked_rest:
        cluster.links.cut(cut.id)
        cut_at = time.monotonic()
        # The commands of the others wait for the lease of the one that is silent, not longer.
        receipt = eventually(lambda: rest[1].client.submit(cluster.revoke(agent)), cluster.describe)
        effective_at = time.monotonic()
        eventually(lambda: not asked.answers[-1].held, cluster.describe, cluster.lease_s)
    cluster.wait_allow(*(node.id for node in rest))

    # Before the revocation is effective, nobody answers from it; afterwards, nobody without it.
    late = [item for item in asked.since(cut_at) if item.held and item.at > cut_at + cluster.lease_s]
    assert not late, f"still allowed {late[-1].at - cut_at:.3f} s after the cut"
    stale = [item for item in asked.since(effective_at) + asked_rest.since(effective_at) if item.held]
    assert not stale, "a stale allow"
    assert all(node.check("bystander") for node in rest)
    assert not cut.check("bystander")
    assert cut.status()["certified_seq"] < receipt.seq

    cluster.links.heal()
    cluster.wait_allow()
    assert cut.check("bystander", at_least=receipt.certified_seq)
    assert all(node.check(agent).reason == "revoked" for node in cluster.nodes.values())
    if role == "leader":
        assert cluster.leader() is not old_leader
    cluster.verified_lineage()


def test_the_majority_does_not_notice_a_follower_that_is_cut_off(cluster: Cluster) -> None:
    cut = cluster.others(cluster.leader())[0]
    rest = cluster.others(cut)
    with CheckStream(rest[0], "busy") as first, CheckStream(rest[1], "busy") as second:
        eventually(lambda: first.answers and second.answers, "answers")
        cluster.links.cut(cut.id)
        eventually(lambda: not cut.check("busy"), cluster.describe, cluster.lease_s)
        cut_off_at = time.monotonic()
        assert cut.check("busy").reason in {"lease_expired", "leader_unconfirmed", "partition_ambiguous"}
        cluster.links.heal()
        cluster.wait_allow()
    for stream in (first, second):
        assert stream.since(cut_off_at)
        refused = [item.verdict for item in stream.answers if not item.held]
        assert not refused, refused[:3]


@pytest.mark.parametrize("direction", ["deaf", "mute"])
def test_a_node_that_is_cut_off_in_one_direction_only(cluster: Cluster, direction: str) -> None:
    """It may lose its lease or not, but it never allows what was revoked, and it comes back."""
    cut = cluster.others(cluster.leader())[0]
    rest = cluster.others(cut)
    agent = f"one-way-{direction}"
    assert cut.check(agent)
    with CheckStream(cut, agent) as asked:
        for node in rest:
            pair = (node.id, cut.id) if direction == "deaf" else (cut.id, node.id)
            cluster.links.cut_link(*pair)
        eventually(lambda: rest[0].client.submit(cluster.revoke(agent)), cluster.describe)
        effective_at = time.monotonic()
        eventually(lambda: not asked.answers[-1].held, cluster.describe, cluster.lease_s)
    assert not [item for item in asked.since(effective_at) if item.held], "a stale allow"
    assert all(node.check("bystander") for node in rest)
    cluster.links.heal()
    cluster.wait_allow()
    assert cut.check(agent).reason == "revoked"
