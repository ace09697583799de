"""Asking nodes all the time, so that no stale allow goes unseen; and revoking while that goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from integration.cluster_harness import Cluster, Node, eventually

from govraft.client.verdicts import Verdict
from govraft.errors import AvailabilityError

__all__ = ["Watch", "revoke", "watched"]


class Watch:
    """Asks some nodes about one agent, again and again; keeps when each allow was asked for and had."""

    def __init__(self, agent: str, nodes: list[Node]) -> None:
        self.allows: list[tuple[float, float, str]] = []
        self.asked = 0
        self._agent, self._nodes = agent, nodes
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(0.003):
            for node in self._nodes:
                began = time.monotonic()
                verdict: Verdict = node.check(self._agent)
                self.asked += 1
                if verdict:
                    self.allows.append((began, time.monotonic(), node.id))

    def stop(self) -> None:
        self._stopped.set()

    def stale(self, effective_at: float) -> list[tuple[float, float, str]]:
        """Allows that were still held after the revocation was effective."""
        return [item for item in self.allows if item[1] > effective_at]


@contextmanager
def watched(agent: str, nodes: list[Node]) -> Iterator[Watch]:
    watch = Watch(agent, nodes)
    thread = threading.Thread(target=watch.run)
    thread.start()
    try:
        yield watch
    finally:
        watch.stop()
        thread.join(30)
    assert not thread.is_alive()


def revoke(cluster: Cluster, agent: str, *nodes: Node) -> tuple[int, float]:
    """Revoke through whichever of the nodes can: the certified seq, and when it was known to be effective."""
    envelope = cluster.revoke(agent)

    def attempt() -> tuple[int, float] | None:
        for node in nodes:
            try:
                receipt = node.client.submit(envelope, retry=True, timeout=1.5)
            except AvailabilityError:
                continue
            return receipt.certified_seq, time.monotonic()
        return None

    return eventually(attempt, cluster.describe)
