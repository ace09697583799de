"""Clusters for the clauses: some whole, some with one node that lies when it is told to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from integration.cluster_harness import Cluster, Node

LIAR = "node-3"
HONEST = ("node-1", "node-2")

QUICK = "election_min_ms = 310\nelection_max_ms = 400"
PATIENT = "election_min_ms = 1500\nelection_max_ms = 2500"


class Stage:
    """Three nodes, of which `node-3` lies as soon as it is told to."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.liar = cluster.nodes[LIAR]
        self.honest = [cluster.nodes[node_id] for node_id in HONEST]

    def tell(self) -> None:
        """From now on it lies."""
        self.liar.config.with_name("lie").touch()

    def hush(self) -> None:
        """From now on it behaves."""
        self.liar.config.with_name("lie").unlink()


@contextmanager
def stages() -> Iterator[Callable[..., Stage]]:
    """Makes stages, and ends them all."""
    with ExitStack() as stack:

        def make(lie: str, *, leads: bool = False, proxied: bool = False) -> Stage:
            program = [str(Path(__file__).with_name("lying_node.py")), lie]
            timing = {LIAR: QUICK, **dict.fromkeys(HONEST, PATIENT)} if leads else {LIAR: PATIENT}
            cluster = stack.enter_context(Cluster(programs={LIAR: program}, timing=timing, proxied=proxied))
            cluster.start()
            cluster.activate_policy(cluster.nodes["node-1"])
            cluster.wait_allow()
            if leads:
                assert cluster.leader().id == LIAR
            return Stage(cluster)

        yield make


@pytest.fixture
def stage() -> Iterator[Callable[..., Stage]]:
    """`stage(lie, leads=..., proxied=...)`: a running cluster that may allow, its liar still honest."""
    with stages() as make:
        yield make


@pytest.fixture(scope="module")
def whole() -> Iterator[Cluster]:
    """Three stock nodes whose links can be cut. A test leaves it as it found it."""
    with Cluster(proxied=True) as cluster:
        cluster.start()
        cluster.activate_policy(cluster.nodes["node-1"])
        yield cluster


def reason(node: Node) -> str:
    """Why a node denies what all policies permit; empty when it allows."""
    verdict = node.check("anybody")
    return "" if verdict else str(verdict.reason)
