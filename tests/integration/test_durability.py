"""kill -9 while commands stream in: what was reported effective is there afterwards, once."""

from __future__ import annotations

import threading
from collections import Counter

import pytest
from integration.cluster_harness import Cluster, Node

from govraft.errors import AvailabilityError

pytestmark = pytest.mark.cluster


BURST = 60


class SubmitStream:
    """Threads that hand in one command after the other, each until it is effective, at whichever node answers.

    A command whose outcome is unknown is handed in again, as the very same envelope: that must never double it.
    """

    def __init__(self, cluster: Cluster, threads: int = 4) -> None:
        self.effective: dict[str, int] = {}
        self.faults: list[BaseException] = []
        self.retries = 0
        self._cluster = cluster
        self._stopped = threading.Event()
        self._moved = threading.Condition()
        self._threads = [threading.Thread(target=self._run, args=(place,)) for place in range(threads)]

    def __enter__(self) -> SubmitStream:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(30)
        assert not any(thread.is_alive() for thread in self._threads)

    def wait_for_more(self, count: int) -> None:
        """Until that many more commands are effective."""
        with self._moved:
            wanted = len(self.effective) + count
            done = self._moved.wait_for(lambda: len(self.effective) >= wanted or self.faults, 20)
        assert done and not self.faults, (self.faults, self._cluster.describe())

    def _run(self, place: int) -> None:
        nodes = list(self._cluster.nodes.values())
        try:
            while not self._stopped.is_set():
                header = self._cluster.header()
                name = header["command_id"]
                self._submit(
                    name, self._cluster.quarantine(f"stream-{name}", **header), nodes[place % 3 :] + nodes[: place % 3]
                )
        except BaseException as error:
            self.faults.append(error)

    def _submit(self, name: str, envelope: bytes, nodes: list[Node]) -> None:
        while not self._stopped.is_set():
            for node in nodes:
                try:
                    receipt = node.client.submit(envelope, timeout=2.0, retry=True)
                except AvailabilityError:
                    self.retries += 1
                    self._stopped.wait(0.02)
                    continue
                with self._moved:
                    self.effective[name] = receipt.seq
                    self._moved.notify_all()
                return


def assert_all_there_once(cluster: Cluster, stream: SubmitStream) -> None:
    assert not stream.faults
    lineage = cluster.verified_lineage()
    applied = {item.command_id: item.seq for item in lineage if item.outcome == "applied"}
    counted = Counter(item.command_id for item in lineage if item.outcome == "applied")
    assert set(counted.values()) == {1}, "a command was applied twice"
    assert set(stream.effective) <= set(applied), "an effective command is lost"
    assert all(applied[name] == seq for name, seq in stream.effective.items()), "a receipt names another seq"


@pytest.mark.clause("5 failover")
@pytest.mark.clause("5 replication")
@pytest.mark.clause("5 runtime recovery")
@pytest.mark.parametrize("victims", ["follower", "leader", "all"])
def test_kill_during_a_stream_of_commands(cluster: Cluster, victims: str) -> None:
    with SubmitStream(cluster) as stream:
        stream.wait_for_more(BURST)
        leader = cluster.leader()
        killed = {"follower": cluster.others(leader)[:1], "leader": [leader], "all": cluster.others()}[victims]
        for node in killed:
            node.process.signal(9)
        for node in killed:
            assert node.process.wait() == -9
        if victims != "all":
            stream.wait_for_more(BURST)
        for node in killed:
            node.start()
        stream.wait_for_more(BURST)
    cluster.wait_allow()
    assert_all_there_once(cluster, stream)
    if victims == "all":
        assert stream.retries > 0
    for name in list(stream.effective)[:3]:
        assert all(node.check(f"stream-{name}").reason == "quarantined" for node in cluster.nodes.values())


def test_checks_go_on_under_a_stream_of_commands(cluster: Cluster) -> None:
    """A node that moves on to the next state lets a check wait for its certificate, instead of denying it."""
    refused: list[object] = []
    asked = 0
    with SubmitStream(cluster) as stream:
        for _ in range(4):
            stream.wait_for_more(BURST // 4)
            for node in [*cluster.nodes.values()] * 10:
                verdict = node.check("innocent")
                asked += 1
                if not verdict:
                    refused.append(verdict)
    assert len(refused) < asked / 20, refused[:3]
