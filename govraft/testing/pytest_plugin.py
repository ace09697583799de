"""The pytest fixture `govraft_cluster`, found by pytest when govraft is installed.

Nothing of govraft is imported before a test asks for the fixture: a plugin is loaded in every run of pytest, whatever
it tests.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from govraft.testing.local_cluster import LocalCluster

__all__ = ["MakeCluster", "govraft_cluster"]


class MakeCluster(Protocol):
    """What `govraft_cluster` gives."""

    def __call__(self, nodes: int = 3, **options: Any) -> LocalCluster:
        """A cluster whose nodes serve, and permit everything. Options are those of `LocalCluster`.

        Raises:
            GovraftError: It cannot be made here, or does not come to serve.
        """


@pytest.fixture
def govraft_cluster() -> Iterator[MakeCluster]:
    """Make clusters of real nodes; they are gone after the test.

    ```python
    def test_nothing_runs_without_a_quorum(govraft_cluster):
        cluster = govraft_cluster(nodes=3)
    ```
    """
    from govraft.testing.local_cluster import LocalCluster

    with contextlib.ExitStack() as made:

        def make(nodes: int = 3, **options: Any) -> LocalCluster:
            cluster = made.enter_context(LocalCluster(nodes, **options))
            cluster.start()
            cluster.permit_all()
            return cluster

        yield make
