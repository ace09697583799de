"""Disturbing the links of a `LocalCluster`. What is set stays until it is set otherwise, or healed."""

from __future__ import annotations

import itertools
from collections.abc import Collection

from govraft.testing.link_proxy import Mode
from govraft.testing.local_cluster_errors import ClusterError
from govraft.testing.local_cluster_network import ClusterNetwork, Condition, Pair
from govraft.testing.local_cluster_node import LocalNode

__all__ = ["LinkFaults"]


class LinkFaults:
    """What `LocalCluster` can do to its links. A link is directed; a new condition replaces the one before.

    Attributes:
        nodes: By node id.
        network: Carries the links.
    """

    nodes: dict[str, LocalNode]
    network: ClusterNetwork

    def select(self, node_ids: Collection[str] = ()) -> list[LocalNode]:
        """These nodes; all, if none are named.

        Raises:
            ClusterError: There is no such node.
        """
        self._check(node_ids)
        return [self.nodes[node_id] for node_id in node_ids] or list(self.nodes.values())

    def partition(self, *node_ids: str) -> None:
        """Cut all links between these nodes and the others; bytes vanish, nobody is told.

        Raises:
            ClusterError: There is no such node, or the links cannot be cut.
        """
        self._check(node_ids)
        self.network.change(self._between(node_ids), Condition(Mode.CUT))

    def cut(self, source: str, target: str, *, one_way: bool = False) -> None:
        """Cut the link between two nodes; with `one_way` only what `source` sends to `target`.

        Raises:
            ClusterError: There is no such node, or the links cannot be cut.
        """
        self._check((source, target))
        links = [(source, target)] if one_way else [(source, target), (target, source)]
        self.network.change(links, Condition(Mode.CUT))

    def delay(self, *node_ids: str, delay_ms: int) -> None:
        """Delay whatever these nodes, or all, send to others and get from them.

        Raises:
            ClusterError: There is no such node, or the links cannot be delayed.
        """
        self._check(node_ids)
        self.network.change(self._touching(node_ids), Condition(delay_ms=delay_ms))

    def drop(self, *node_ids: str, share: float) -> None:
        """Lose a share, from 0 to 1, of what these nodes, or all, send and get; TCP sends it again, late.

        Raises:
            ClusterError: There is no such node, or the links cannot lose.
        """
        self._check(node_ids)
        self.network.change(self._touching(node_ids), Condition(loss=share))

    def half_open(self, *node_ids: str) -> None:
        """Reset the receiving end of all connections from and to these nodes; the sending end is not told.

        Raises:
            ClusterError: There is no such node, or the links cannot do it.
        """
        self._check(node_ids)
        self.network.change(self._touching(node_ids), Condition(Mode.HALF_OPEN))

    def heal(self) -> None:
        """Open all links. Nodes that are paused or do not run stay so."""
        self.network.heal()

    def _check(self, node_ids: Collection[str]) -> None:
        for node_id in node_ids:
            if node_id not in self.nodes:
                raise ClusterError(f"there is no `{node_id}`; choose from {', '.join(self.nodes)}", code="node_unknown")

    def _between(self, group: Collection[str]) -> list[Pair]:
        return [(a, b) for a, b in itertools.permutations(self.nodes, 2) if (a in group) != (b in group)]

    def _touching(self, group: Collection[str]) -> list[Pair]:
        touched = group or self.nodes
        return [(a, b) for a, b in itertools.permutations(self.nodes, 2) if a in touched or b in touched]
