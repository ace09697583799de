"""More commands than the cluster can bring through at once. Each is effective or not; the checks must go on."""

from __future__ import annotations

import random
import threading

from govraft.client.client import Client
from govraft.errors import GovraftError
from govraft.testing.chaos.nemesis import Hit, Nemesis, UnavailableFaultError
from govraft.testing.local_cluster import LocalNode

__all__ = ["Flood"]

_SUBMITTERS = 24
_SUBMIT_TIMEOUT_S = 2.5


class Flood(Nemesis):
    """Many clients revoke subjects of their own, as fast as they are answered, at all nodes that run."""

    kind, explanation, group = "flood", "24 clients command as fast as they are answered", "network"

    def start(self) -> Hit:
        nodes = [node for node in self.cluster.nodes.values() if node.is_running]
        if not nodes:
            raise UnavailableFaultError("no node runs")
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._command, args=(self.dice.getrandbits(64), nodes), daemon=True)
            for _ in range(_SUBMITTERS)
        ]
        for thread in self._threads:
            thread.start()
        return Hit((), f"{_SUBMITTERS} clients")

    def end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(2 * _SUBMIT_TIMEOUT_S)
        if any(thread.is_alive() for thread in self._threads):
            self.findings.append(f"{self.kind}: a command got no answer, not even that its time is over")

    def _command(self, seed: int, nodes: list[LocalNode]) -> None:
        dice = random.Random(seed)  # noqa: S311 - a load that can be repeated
        number = 0
        while not self._over.is_set():
            number += 1
            envelope = self.cluster.commands.revoke(f'Agent::"flood-{seed:x}-{number}"', reason="chaos")
            with Client(dice.choice(nodes).endpoint) as client:
                try:
                    client.submit(envelope, timeout=_SUBMIT_TIMEOUT_S)
                except GovraftError:
                    # Refused, unknown or unreachable: whether it is in the log is for the judge of the lineages.
                    self._over.wait(0.02)
