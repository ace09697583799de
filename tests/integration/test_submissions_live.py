"""Real nodes: what one that is cut off says of commands, and checks under a flood of them."""

from __future__ import annotations

import secrets
import threading
import time

import pytest
from integration.cluster_harness import Cluster, Node, eventually

from govraft.core.model.commands import Release, TargetKind
from govraft.errors import AvailabilityError, GovraftError, RejectedError

pytestmark = pytest.mark.cluster

SUBMITTERS = 24
FLOOD_S = 6.0


def release(cluster: Cluster, agent: str) -> bytes:
    command = Release(**cluster.header(), kind=TargetKind.SUBJECT, id=f'Agent::"{agent}"', reason="over")
    return cluster.seal(command, "operator-1")


def test_a_node_that_missed_the_release_does_not_call_the_target_quarantined(cluster: Cluster) -> None:
    leader = cluster.leader()
    cut, other = cluster.others(leader)
    agent = f"missed-{secrets.token_hex(4)}"
    eventually(lambda: cut.check(agent), cluster.describe)
    cluster.submit(cluster.quarantine(agent))
    eventually(lambda: cut.check(agent).reason == "quarantined", cluster.describe)
    cluster.links.cut(cut.id)
    try:
        eventually(lambda: leader.client.submit(release(cluster, agent)), cluster.describe)
        eventually(lambda: leader.check(agent) and other.check(agent), cluster.describe)
        with pytest.raises(AvailabilityError) as caught:
            cut.client.submit(cluster.quarantine(agent), timeout=20)
        assert (caught.value.code, caught.value.definite) == ("unavailable", True)
    finally:
        cluster.links.heal()
    cluster.wait_allow()
    # Back, it proposes the same again, and the log says what that comes to.
    receipt = eventually(lambda: cut.client.submit(cluster.quarantine(agent)), cluster.describe)
    assert receipt.outcome == "applied"
    with pytest.raises(RejectedError, match="at seq"):
        cut.client.submit(cluster.quarantine(agent))


class Asker:
    """Checks one node again and again; keeps when it was allowed."""

    def __init__(self, node: Node, agent: str) -> None:
        self.node, self.agent = node, agent
        self.asked = 0
        self.allowed: list[float] = []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self.stop.wait(0.02):
            self.asked += 1
            if self.node.check(self.agent):
                self.allowed.append(time.monotonic())

    @property
    def longest_gap_s(self) -> float:
        return max(
            (later - earlier for earlier, later in zip(self.allowed, self.allowed[1:], strict=False)), default=99
        )


def test_checks_go_on_under_a_flood_of_commands(cluster: Cluster, record_property: pytest.RecordProperty) -> None:
    """How many are allowed, and the longest time without one. Loose: the host may be busy with something else."""
    eventually(lambda: all(node.check("asker") for node in cluster.nodes.values()), cluster.describe)
    lease_s = cluster.leader().client.status()["lease_ms"] / 1000 or 1.0
    nodes = list(cluster.nodes.values())
    end = time.monotonic() + FLOOD_S
    done = [0] * SUBMITTERS

    def submit(place: int) -> None:
        while time.monotonic() < end:
            agent = f"flood-{place}-{secrets.token_hex(6)}"
            try:
                nodes[place % len(nodes)].client.submit(cluster.revoke(agent), timeout=10)
            except GovraftError:
                continue
            done[place] += 1

    submitters = [threading.Thread(target=submit, args=(place,)) for place in range(SUBMITTERS)]
    askers = [Asker(node, "asker") for node in nodes]
    for thread in [*submitters, *(asker.thread for asker in askers)]:
        thread.start()
    for thread in submitters:
        thread.join(60)
    for asker in askers:
        asker.stop.set()
        asker.thread.join(20)
    for asker in askers:
        share, gap_s = len(asker.allowed) / max(1, asker.asked), asker.longest_gap_s
        said = f"{asker.node.id}: {share:.1%} of {asker.asked} allowed, longest gap {gap_s * 1000:.0f} ms"
        record_property(asker.node.id, said)
        print(said, f"lease left {lease_s:g} s, {sum(done)} commands")
        assert share >= 0.5
        assert gap_s < 5.0
    assert sum(done) > SUBMITTERS
