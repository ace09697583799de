"""How the nodes of a `LocalCluster` reach each other, and how that is disturbed.

A link is directed: `(a, b)` carries what `a` sends to `b`. Two networks are here: `DirectNetwork` cannot be disturbed,
`ProxyNetwork` carries each link through a proxy process. `govraft.testing.chaos.namespaces` has a third.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Protocol

import msgspec

from govraft.node.config import load_config
from govraft.testing.link_control import LinkControl, link_name
from govraft.testing.link_proxy import Mode
from govraft.testing.local_cluster_errors import ClusterError
from govraft.testing.local_cluster_node import LocalNode
from govraft.testing.local_cluster_process import ChildProcess, wait_for

__all__ = ["ClusterNetwork", "Condition", "DirectNetwork", "Pair", "ProxyNetwork"]

Pair = tuple[str, str]


class Condition(msgspec.Struct, frozen=True):
    """How a link is.

    Attributes:
        mode: See `link_proxy`.
        delay_ms: Added to whatever passes.
        loss: Share, from 0 to 1, of the pieces that are lost and sent again, which is how TCP shows loss.
    """

    mode: Mode = Mode.OPEN
    delay_ms: int = 0
    loss: float = 0.0


class ClusterNetwork(Protocol):
    """What a `LocalCluster` asks of its network."""

    name: str

    def addresses(self, node_ids: Collection[str]) -> Mapping[str, str]:
        """Where nodes are dialled, as `host:port`; a node that is not named gets a free loopback port."""

    def open(self, nodes: Mapping[str, LocalNode], home: Path) -> None:
        """Set up all links; called once, after the nodes' files are written and before any of them runs.

        Raises:
            ClusterError: This host does not allow it.
        """

    def change(self, links: Collection[Pair], condition: Condition) -> None:
        """Set these links.

        Raises:
            ClusterError: This network cannot do that to a link.
        """

    def heal(self) -> None:
        """Open all links."""

    def close(self) -> None:
        """Remove whatever `open` made. Idempotent."""


class DirectNetwork:
    """Plain loopback connections: the least overhead, and nothing to disturb."""

    name = "direct"

    def addresses(self, node_ids: Collection[str]) -> Mapping[str, str]:
        """Free loopback ports."""
        del node_ids
        return {}

    def open(self, nodes: Mapping[str, LocalNode], home: Path) -> None:
        """Nothing to do."""
        del nodes, home

    def change(self, links: Collection[Pair], condition: Condition) -> None:
        """Refused.

        Raises:
            ClusterError: Always.
        """
        del links, condition
        raise ClusterError("links cannot be disturbed: make the cluster with `links=True`", code="links_missing")

    def heal(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""


class ProxyNetwork:
    """Each link goes through a `link_proxy` process on the loopback interface. Works for any user."""

    name = "proxy"

    def __init__(self) -> None:
        self._process: ChildProcess | None = None
        self._control: LinkControl | None = None
        self._carried: set[Pair] = set()

    @property
    def control(self) -> LinkControl:
        """Speaks to the proxy process.

        Raises:
            ClusterError: The network is not open.
        """
        if self._control is None:
            raise ClusterError("the links are not set up: use the cluster as a context manager", code="links_missing")
        return self._control

    def addresses(self, node_ids: Collection[str]) -> Mapping[str, str]:
        """Free loopback ports."""
        del node_ids
        return {}

    def open(self, nodes: Mapping[str, LocalNode], home: Path) -> None:
        """Start the proxy and let every node dial through it."""
        listening = {node.id: load_config(node.config).peer_listen for node in nodes.values()}
        pairs = list(itertools.permutations(listening, 2))
        self._carried = set(pairs)
        plan, socket = home / "run" / "links.json", home / "run" / "links.sock"
        plan.write_text(json.dumps({link_name(a, b): "{}:{}".format(*listening[b]) for a, b in pairs}))
        command = [sys.executable, "-P", "-m", "govraft.testing.link_proxy", str(plan), str(socket)]
        self._process = ChildProcess(command, home / "log" / "links.log")
        self._control = LinkControl(socket)
        states = wait_for(self._control.states, self._process.log)
        for node in nodes.values():
            dialled = (f'"{b}" = "127.0.0.1:{states[link_name(a, b)].port}"\n' for a, b in pairs if a == node.id)
            with node.config.open("a") as config:
                config.write("\n[peers]\n" + "".join(dialled))

    def change(self, links: Collection[Pair], condition: Condition) -> None:
        """Set these links; all else stays. Links of nodes that were added later pass it by: they stay open."""
        carried = [link for link in links if link in self._carried]
        self.control.change(carried, condition.mode, delay_ms=condition.delay_ms, loss=condition.loss)

    def heal(self) -> None:
        """Open all links."""
        self.control.heal()

    def close(self) -> None:
        """End the proxy."""
        if self._process is not None:
            self._process.kill()
