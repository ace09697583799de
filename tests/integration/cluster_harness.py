"""`LocalCluster`, with the words that the integration tests use: agents and a tool, and a lineage that proves itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from govraft.core.codec.canonical import unpack
from govraft.core.codec.envelope import decode_envelope
from govraft.core.convergence.certificate import verify_certificate
from govraft.core.crypto.keys import verify
from govraft.core.lineage.leaf import Leaf
from govraft.core.machine.machine import Machine
from govraft.testing.link_control import LinkControl
from govraft.testing.local_cluster import LocalCluster, LocalNode
from govraft.testing.local_cluster_network import ProxyNetwork
from govraft.testing.local_cluster_process import PATIENCE_S, ChildProcess, wait_for

ACTION, TOOL = 'Action::"use"', 'Tool::"hammer"'

Child = ChildProcess

T = TypeVar("T")


def eventually(attempt: Callable[[], T | None], what: str | Callable[[], str], timeout_s: float = PATIENCE_S) -> T:
    """The first true value of `attempt`, which is repeated until then; its own errors count as not yet."""
    return wait_for(attempt, what, timeout_s)


class Node(LocalNode):
    """One node, and questions of agents about the tool."""

    def check(self, agent: str, **options: Any) -> Any:
        return self.client.check(f'Agent::"{agent}"', ACTION, TOOL, **options)


class Cluster(LocalCluster):
    """A cluster whose subjects are agents, named without their type.

    Here `quarantine` and `revoke` only make the envelope: most tests care about where and when it is handed in.
    """

    node_type = Node

    def __init__(self, nodes: int = 3, *, proxied: bool = False, **options: Any) -> None:
        super().__init__(nodes, links=proxied, **options)

    @property
    def links(self) -> LinkControl:
        assert isinstance(self.network, ProxyNetwork)
        return self.network.control

    @property
    def keys(self) -> Any:
        return self.commands.keys

    def wait_allow(self, *node_ids: str, timeout_s: float = PATIENCE_S) -> None:
        self.wait_until_serving(*node_ids, timeout_s=timeout_s)

    def header(self, **fields: Any) -> dict[str, Any]:
        return self.commands.header(**fields)

    def seal(self, command: Any, *authors: str) -> bytes:
        """Signed by exactly these, even by nobody."""
        return self.commands.seal(command, authors)

    def quarantine(self, agent: str, **fields: Any) -> bytes:
        """A signed envelope that quarantines an agent."""
        return self.commands.quarantine(f'Agent::"{agent}"', **fields)

    def revoke(self, agent: str, **fields: Any) -> bytes:
        """A signed envelope that revokes an agent."""
        return self.commands.revoke(f'Agent::"{agent}"', **fields)

    def activate_policy(self, node: Node) -> None:
        """Let every agent use every tool."""
        del node
        self.permit_all()

    # Judging.

    def settled(self, *node_ids: str) -> dict[str, Any]:
        """The status of one of these nodes, once all hold the same certified state and nothing is under way."""

        def same() -> dict[str, Any] | None:
            found = [node.status() for node in self.select(node_ids)]
            facts = {(item["seq"], item["certified_seq"], item["root"], item["state_root"]) for item in found}
            return found[0] if len(facts) == 1 and found[0]["seq"] == found[0]["certified_seq"] else None

        return eventually(same, self.describe)

    def verified_lineage(self, *node_ids: str) -> list[Applied]:
        """What the nodes hold, after checking all of it from the genesis alone.

        The lineages are equal byte for byte, a fresh machine comes to the same leaves, and a quorum has certified the
        root.
        """
        self.settled(*node_ids)
        nodes = self.select(node_ids)
        lineage = nodes[0].lineage()
        for node in nodes[1:]:
            assert node.lineage() == lineage, f"{node.id} and {nodes[0].id} hold different lineages"
        machine = Machine(self.genesis)
        assert lineage[0] == (machine.genesis_leaf, None)
        for leaf, entry in lineage[1:]:
            assert entry is not None and machine.apply(entry).leaf == leaf
        for node in nodes:
            note = node.client.read("certificate")["note"]
            origin = self.genesis.origin
            checkpoint = verify_certificate(note, self.genesis.electorate(), origin, is_valid=verify)
            assert (checkpoint.seq, checkpoint.root) == (len(lineage), machine.root)
        return [Applied(Leaf.decode(leaf), entry) for leaf, entry in lineage[1:] if entry is not None]


class Applied:
    """One entry of a lineage."""

    def __init__(self, leaf: Leaf, entry: bytes) -> None:
        self.seq, self.outcome, self.entry = leaf.seq, leaf.outcome, entry

    @property
    def envelope(self) -> bytes:
        return bytes(unpack(self.entry, max_bytes=len(self.entry))["envelope"])

    @property
    def command_id(self) -> str:
        return str(json.loads(decode_envelope(self.envelope).payload)["command_id"])
