"""A cluster of real node processes on this host, for tests of what asks it: start it, cut it, freeze it, heal it.

```python
with LocalCluster() as cluster:
    cluster.start()
    cluster.permit_all()
    node = cluster.nodes["node-1"]
    assert node.client.check('Agent::"ci-bot"', 'Action::"use"', 'Tool::"hammer"')
    cluster.partition("node-1")          # node-1 on one side, all others on the other
    cluster.wait_until_denying("node-1")
    cluster.heal()
    cluster.wait_until_serving()
```

Every process is a child of this one and dies with it, even if it is killed. Start nodes from the main thread, or from
one that lives as long as they shall: the kernel ties them to the thread.
"""

from __future__ import annotations

import itertools
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from govraft.api.wire import Receipt
from govraft.cli.cluster_creation import create_cluster
from govraft.cli.cluster_plan import ClusterPlan, plan_cluster
from govraft.cli.free_ports import find_free_ports
from govraft.cli.lineage import export_lines
from govraft.cli.member_creation import create_in_directory
from govraft.cli.node_store import create as create_node_store
from govraft.core.model.commands import Command
from govraft.core.model.electorate import QuorumRule
from govraft.core.model.genesis import Genesis
from govraft.errors import AvailabilityError, GovraftError, InputError, RejectedError
from govraft.testing.local_cluster_commands import CommandOffice, open_schema
from govraft.testing.local_cluster_errors import ClusterError, ClusterTimeoutError, NodeExitedError
from govraft.testing.local_cluster_links import LinkFaults
from govraft.testing.local_cluster_network import ClusterNetwork, DirectNetwork, ProxyNetwork
from govraft.testing.local_cluster_node import LocalNode
from govraft.testing.local_cluster_process import PATIENCE_S, start_sweeper, wait_for

__all__ = ["ClusterError", "ClusterTimeoutError", "LocalCluster", "LocalNode", "NodeExitedError"]

_SUBMIT_ATTEMPT_S = 3.0
_RETRY_S = 0.02
_SWEEP_S = 10.0
_STATUS_FIELDS = ("standing", "message", "leader_hint", "term", "seq", "certified_seq", "links", "isolation")


class LocalCluster(LinkFaults):
    """Nodes, the keys of their authorities, and the links between them. Use as a context manager.

    Args:
        nodes: How many voters, 1 to 9, called `node-1` and so on.
        quorum: `majority` or `byzantine`.
        links: Carry all traffic between nodes through a proxy, so that it can be cut, delayed and dropped.
        directory: Make the cluster here, and leave it at the end; None for a temporary directory that goes.
        profile: `lan` (lease of 1 s) or `wan` (4 s).
        timing: More lines for the `[timing]` table of single nodes, by node id.
        programs: What runs single nodes, in place of the stock program: arguments for the Python interpreter, the
            configuration's path follows.
        network: In place of the one that `links` chooses.

    Attributes:
        nodes: `LocalNode`s by node id.
        genesis: The cluster's genesis.
        lease_s: Length of a lease, seconds: the longest time for which a node that is cut off may go on allowing.
        commands: Makes signed envelopes, for `submit`.
        home: The cluster directory, as `govraft init` makes one.
    """

    node_type: type[LocalNode] = LocalNode
    """What the nodes are made of; for subclasses."""

    def __init__(
        self,
        nodes: int = 3,
        *,
        quorum: str = "majority",
        links: bool = True,
        directory: Path | None = None,
        profile: str = "lan",
        timing: Mapping[str, str] | None = None,
        programs: Mapping[str, Sequence[str]] | None = None,
        network: ClusterNetwork | None = None,
    ) -> None:
        """Plan; nothing is made before the cluster is entered.

        Raises:
            InputError: Such a cluster cannot be.
        """
        try:
            rule = QuorumRule(quorum)
        except ValueError:
            raise InputError(f"quorum `{quorum}` is unknown; choose `majority` or `byzantine`") from None
        self._plan = plan_cluster(name="test", nodes=nodes, quorum=rule, profile=profile)
        self._directory = directory
        self._timing = dict(timing or {})
        self._programs = dict(programs or {})
        self.network: ClusterNetwork = network or (ProxyNetwork() if links and nodes > 1 else DirectNetwork())
        self._temporary: Path | None = None
        self._sweeper: subprocess.Popen[bytes] | None = None
        self.nodes: dict[str, LocalNode] = {}
        self._removed: set[str] = set()
        self.lease_s = self._plan.lease_ms / 1000

    def __enter__(self) -> Self:
        """Make the cluster's files and links. No node runs yet.

        Raises:
            GovraftError: The directory is in use, or this host does not allow what is needed.
        """
        try:
            self._make()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """See `close`."""
        self.close()

    def close(self) -> None:
        """Kill all nodes, remove links and, if it is temporary, the directory. Idempotent."""
        for node in self.nodes.values():
            node.kill()
            node.client.close()
        self.network.close()
        if self._sweeper is not None and self._sweeper.stdin is not None:
            self._sweeper.stdin.close()
            self._sweeper.wait(_SWEEP_S)
            self._sweeper = None

    # Running.

    def start(self, *node_ids: str) -> None:
        """Start these nodes, or all that do not run, and wait until they may allow.

        Raises:
            ClusterError: They do not come to serve; the message says how all nodes are.
        """
        for node in self.select(node_ids):
            if not node.is_running:
                node.start()
        self.wait_until_serving(*node_ids)

    def wait_until_serving(self, *node_ids: str, timeout_s: float = PATIENCE_S) -> None:
        """Wait until these nodes, or all, hold a lease: each would then allow what the policies permit.

        Raises:
            NodeExitedError: One of them does not run.
            ClusterTimeoutError: Not in time; the message says how all nodes are.
        """
        wanted = self.select(node_ids)

        def all_serve() -> bool:
            gone = [node.id for node in wanted if not node.is_running]
            if gone:
                raise NodeExitedError(f"does not run: {', '.join(gone)}\n{self.describe()}")
            return all(node.may_allow() for node in wanted)

        wait_for(all_serve, self.describe, timeout_s)

    def wait_until_denying(self, *node_ids: str, timeout_s: float = PATIENCE_S) -> None:
        """Wait until these nodes, or all, deny whatever they are asked. A node that does not run denies.

        Raises:
            ClusterTimeoutError: Not in time; the message says how all nodes are.
        """
        wanted = self.select(node_ids)

        def serves(node: LocalNode) -> bool:
            try:
                return node.is_running and node.may_allow()
            except AvailabilityError:
                return False

        wait_for(lambda: not any(serves(node) for node in wanted), self.describe, timeout_s)

    def leader(self) -> LocalNode:
        """The leader on which all running nodes agree, once they do.

        Raises:
            ClusterTimeoutError: They do not.
        """

        def agreed() -> LocalNode | None:
            running = [node for node in self.nodes.values() if node.is_running]
            hints = {node.status()["leader_hint"] for node in running}
            return self.nodes[hints.pop()] if len(hints) == 1 and None not in hints else None

        return wait_for(agreed, self.describe)

    def others(self, *but: LocalNode) -> list[LocalNode]:
        """All nodes but these."""
        return [node for node in self.nodes.values() if node not in but]

    def describe(self) -> str:
        """How all nodes are, for people."""
        lines = []
        for node in self.nodes.values():
            try:
                status = node.status()
                lines.append(f"{node.id}: " + ", ".join(f"{name}={status[name]!r}" for name in _STATUS_FIELDS))
            except GovraftError as error:
                lines.append(f"{node.id}: running={node.is_running} {error}; said:\n{node.log(1500)}")
        return "\n".join(lines)

    # Members.

    def add_node(
        self, node_id: str, *, voter: bool = True, donor: LocalNode | None = None, timeout_s: float = PATIENCE_S
    ) -> LocalNode:
        """Add a node to the running cluster, start it, and wait until it may allow; as operators do it, step by step.

        Its links cannot be disturbed: it is reached directly.

        Args:
            node_id: Of nobody yet.
            voter: Whether to promote it once it has caught up. Otherwise it stays an observer.
            donor: Begin with a copy of this node's store, which must have a snapshot; None for an export.
            timeout_s: Seconds for each step.

        Raises:
            GovraftError: One of the commands is refused.
            ClusterTimeoutError: A step takes too long.
        """
        (port,) = find_free_ports(1)
        fields = create_in_directory(self.home, node_id, listen=f"127.0.0.1:{port}", profile=self._plan.profile)
        node = self._node(node_id)
        self.submit(self.commands.add_member(fields, node.home), timeout_s=timeout_s)
        if donor is None:
            export = node.home / "lineage.jsonl"
            export.write_bytes(b"".join(export_lines(self._any().client, self.genesis)))
            create_node_store(node.config, export)
        else:
            donor.copy_store(node.home / "copy")
            create_node_store(node.config, donor=node.home / "copy")
        self.nodes[node_id] = node
        node.start()
        if voter:
            self.submit(self.commands.promote_member(node_id), timeout_s=timeout_s)
        self.wait_until_serving(node_id, timeout_s=timeout_s)
        return node

    def remove_node(self, node_id: str, *, timeout_s: float = PATIENCE_S) -> Receipt:
        """Remove a node from the electorate; its process goes on, and denies. It stays in `nodes`.

        Raises:
            GovraftError: It is refused.
            ClusterTimeoutError: Nobody said in time what became of it.
        """
        receipt = self.submit(self.commands.remove_member(node_id), timeout_s=timeout_s)
        self._removed.add(node_id)
        return receipt

    # Commanding.

    def submit(self, envelope: bytes, *, node: str | None = None, timeout_s: float = PATIENCE_S) -> Receipt:
        """Hand in an envelope at `node`, or at any that takes it, until it is effective.

        Raises:
            GovraftError: It is refused.
            ClusterTimeoutError: Nobody said in time what became of it.
        """
        places = itertools.cycle(self.select([node] if node else ()))
        deadline, tried, said = time.monotonic() + timeout_s, False, ""
        while (left := deadline - time.monotonic()) > 0:
            place = next(places)
            try:
                # A retry of the very same envelope: if an earlier attempt took its place, this is how we hear of it.
                return place.client.submit(envelope, timeout=min(left, _SUBMIT_ATTEMPT_S), retry=tried)
            except AvailabilityError as error:
                tried, said = tried or not error.definite, f"{place.id}: {error}"
                time.sleep(_RETRY_S)
            except RejectedError as error:
                # A node that lags may reject what the others would take, or what they have taken at an earlier try.
                if error.definite:
                    raise
                tried, said = True, f"{place.id}: {error}"
                time.sleep(_RETRY_S)
        raise ClusterTimeoutError(f"not effective within {timeout_s:g} s ({said})\n{self.describe()}", definite=False)

    def seal(self, command: Command, *authors: str) -> bytes:
        """The envelope of a command, signed by these authorities, or by as many as it needs.

        Raises:
            ClusterError: There is no such authority.
        """
        return self.commands.seal(command, authors or None)

    def publish(self, schema: str, policies: Sequence[str]) -> Receipt:
        """Let exactly these Cedar policies decide, from now on.

        Raises:
            GovraftError: They are refused.
        """
        client = self._any().client
        versions = client.read("policies")["versions"]
        latest = client.read("policy", version=max(item["version"] for item in versions)) if versions else None
        self.submit(self.commands.publish(schema, policies, latest))
        number = 1 if latest is None else latest["version"] + 1

        def digest() -> str | None:
            # This node may apply it a moment after the one that took it.
            return {item["version"]: item["digest"] for item in client.read("policies")["versions"]}.get(number)

        return self.submit(self.commands.activate(number, wait_for(digest, self.describe)))

    def permit_all(self, *, principal: str = "Agent", action: str = "use", resource: str = "Tool") -> Receipt:
        """Permit `action` to every principal on every resource of these entity types.

        Raises:
            GovraftError: It is refused.
        """
        schema, policy = open_schema(principal, action, resource)
        return self.publish(schema, [policy])

    def quarantine(self, uid: str) -> Receipt:
        """Quarantine a subject, such as `Agent::"ci-bot"`; returns its `Receipt` once no node can allow it any more.

        Raises:
            GovraftError: It is refused, or its outcome is unknown.
        """
        return self.submit(self.commands.quarantine(uid))

    def release(self, uid: str) -> Receipt:
        """End a quarantine; returns the `Receipt`.

        Raises:
            GovraftError: It is refused, or its outcome is unknown.
        """
        return self.submit(self.commands.release(uid))

    def revoke(self, uid: str) -> Receipt:
        """Revoke a subject for ever; returns the `Receipt`.

        Raises:
            GovraftError: It is refused, or its outcome is unknown.
        """
        return self.submit(self.commands.revoke(uid))

    # Making.

    def _make(self) -> None:
        if self._directory is None:
            # Short on purpose: the path of a Unix socket may have 107 bytes.
            self._temporary = Path(tempfile.mkdtemp(prefix="govraft-"))
            self._sweeper = start_sweeper(self._temporary)
            self.home = self._temporary / "c"
        else:
            self.home = self._directory.absolute()
        create_cluster(self._placed(), self.home)
        self.genesis = Genesis.decode((self.home / "genesis.json").read_bytes())
        self.commands = CommandOffice(self.genesis, self.home / "keys")
        self.nodes = {member.id: self._node(member.id) for member in self.genesis.members}
        self.network.open(self.nodes, self.home)

    def _node(self, node_id: str) -> LocalNode:
        node = self.node_type(self.home, node_id)
        if node_id in self._timing:
            with node.config.open("a") as config:
                config.write(self._timing[node_id] + "\n")
        if node_id in self._programs:
            node.program = list(self._programs[node_id])
        return node

    def _placed(self) -> ClusterPlan:
        found = self.network.addresses([node.id for node in self._plan.nodes])
        nodes = tuple(msgspec.structs.replace(node, address=found.get(node.id)) for node in self._plan.nodes)
        return msgspec.structs.replace(self._plan, nodes=nodes)

    def _any(self) -> LocalNode:
        # What a removed node knows ends with its removal.
        running = [node for node in self.nodes.values() if node.is_running and node.id not in self._removed]
        if not running:
            raise NodeExitedError("no node runs; call `start()` first")
        return running[0]
