"""The cluster that most tests share, whole again before each of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from integration.cluster_harness import Cluster


class _Shared:
    """Keeps one cluster running; makes a new one if the last test ruined it."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._cluster: Cluster | None = None

    def take(self) -> Cluster:
        if self._cluster is not None:
            try:
                self._cluster.links.heal()
                self._cluster.start()
            except Exception:
                self.close()
        if self._cluster is None:
            cluster = self._stack.enter_context(Cluster(proxied=True))
            cluster.start()
            cluster.activate_policy(cluster.nodes["node-1"])
            self._cluster = cluster
        return self._cluster

    def close(self) -> None:
        self._cluster = None
        self._stack.close()


@pytest.fixture(scope="session")
def _shared() -> Iterator[_Shared]:
    shared = _Shared()
    yield shared
    shared.close()


@pytest.fixture
def cluster(_shared: _Shared) -> Cluster:
    """Three stock nodes that all may allow; every agent may use every tool. Links can be cut."""
    return _shared.take()
