"""Members that come and go while faults happen: the nemesis of the electorate.

It works in a thread of its own all through a run, one change after the other, as operators would do it:

======== ==========================================================================================================
change   steps
======== ==========================================================================================================
grow     add a new node as an observer, make its store of an export, start it, promote it
shrink   remove a voter; see that it denies; read what it holds; stop it for good
rotate   give a voter a new key and certificate, restart it with them
======== ==========================================================================================================

Faults may hit whoever is concerned meanwhile, but for the one that is being rotated or stopped.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from govraft.api.wire import Receipt
from govraft.cli.free_ports import find_free_ports
from govraft.cli.lineage import export_lines
from govraft.cli.member_creation import create_in_directory, create_member
from govraft.cli.node_store import create as create_node_store
from govraft.errors import GovraftError, InputError, RejectedError
from govraft.node.config import load_config
from govraft.testing.chaos.nemesis import Arena
from govraft.testing.chaos.observer import read_lineage
from govraft.testing.chaos.workload import ACTION, RESOURCE, now, subject
from govraft.testing.history import CommandTried, Event, FaultEnded, FaultStarted
from govraft.testing.local_cluster import ClusterTimeoutError, LocalNode
from govraft.testing.local_cluster_process import wait_for

__all__ = ["CHANGES", "MemberChurn"]

CHANGES = {
    "grow-members": "a node is added, caught up and promoted",
    "shrink-members": "a voter is removed; it must deny, and is stopped for good",
    "rotate-member": "a voter gets a new key and certificate",
}
"""Kinds of changes, and what they are; for the scenarios in which members move."""

_VOTERS = (3, 5)
_PATIENCE_S = 60.0
_JOIN_S = 5 * _PATIENCE_S
_LAG_S = 15.0
_RETRY_S = 0.2
_REST_S = (0.2, 1.5)
_ROTATIONS = 0.25
_REVOKED = "revoked"
_ASKED = 20


class MemberChurn:
    """Changes the members of a cluster under load and faults.

    Args:
        arena: Of the run.
        dice: Chooses changes and members.
        names: Ids for new nodes, each used once.
        watch: Told of each node that was added.
        record: Takes events for the history.
        number: Gives the next number of a fault.

    Attributes:
        findings: What it saw that must not be. Empty if all is well.
        changes: How many changes of each kind came about.
    """

    def __init__(
        self,
        arena: Arena,
        dice: random.Random,
        names: Sequence[str],
        *,
        watch: Callable[[LocalNode], None],
        record: Callable[[Event], None],
        number: Callable[[], int],
    ) -> None:
        self.findings: list[str] = []
        self.changes = dict.fromkeys(CHANGES, 0)
        self._arena = arena
        self._cluster = arena.cluster
        self._dice = dice
        self._names = list(names)
        self._watch = watch
        self._record = record
        self._number = number
        self._rotations = 0
        self._stopped = threading.Event()
        self._closed = threading.Event()
        self._idle = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the change that is under way. All faults must be over, so that it can come about."""
        self._stopped.set()
        if not self._idle.wait(_JOIN_S):
            self.findings.append("a change of the members neither came about nor failed")

    def close(self) -> None:
        """Let its thread end, and with it whatever it started that still runs: the kernel ties nodes to it."""
        self._stopped.set()
        self._closed.set()

    def _run(self) -> None:
        try:
            while not self._stopped.wait(self._dice.uniform(*_REST_S)):
                self._change()
        except Exception as error:  # noqa: BLE001 - kept, and the run fails for it
            self.findings.append(f"the members cannot be changed any more: {error!r}")
        finally:
            self._idle.set()
            self._closed.wait()

    def _change(self) -> None:
        """One change of those that are possible now."""
        voters = list(self._cluster.nodes)
        least, most = _VOTERS
        if self._dice.random() < _ROTATIONS:
            kind, node_id, change = "rotate-member", self._dice.choice(voters), self._rotate
        elif self._names and (len(voters) <= least or (len(voters) < most and self._dice.random() < 0.5)):
            kind, node_id, change = "grow-members", self._names.pop(0), self._grow
        elif len(voters) > least:
            kind, node_id, change = "shrink-members", self._dice.choice(voters), self._shrink
        else:
            return
        fault, began = self._number(), now()
        self._arena.outside.add(node_id)
        self._record(FaultStarted(began, fault, kind, (node_id,)))
        try:
            change(node_id)
            self.changes[kind] += 1
        except (GovraftError, OSError) as error:
            self.findings.append(f"{kind} of {node_id}: {error}")
        finally:
            self._record(FaultEnded(now(), fault))
        self._arena.outside.discard(node_id)

    # The changes.

    def _grow(self, node_id: str) -> None:
        (port,) = find_free_ports(1)
        fields = create_in_directory(self._cluster.home, node_id, listen=f"127.0.0.1:{port}")
        node = self._cluster.node_type(self._cluster.home, node_id)
        self._submit("member.add", node_id, self._cluster.commands.add_member(fields, node.home))
        wait_for(lambda: self._make_store(node), f"a store for {node_id}", _PATIENCE_S)
        node.start()
        # Another dictionary, not a changed one: faults walk through the one that is there.
        self._cluster.nodes = {**self._cluster.nodes, node_id: node}
        self._watch(node)
        self._submit("member.promote", node_id, self._cluster.commands.promote_member(node_id))
        self._wait_until_serving(node)

    def _make_store(self, node: LocalNode) -> bool:
        """Of an export of any node that knows of this one; False if there is none now."""
        export = node.home / "lineage.jsonl"
        for source in self._serving(but=node.id):
            export.write_bytes(b"".join(export_lines(source.client, self._cluster.genesis)))
            try:
                create_node_store(node.config, export)
            except InputError as error:
                if error.code != "member_unknown":
                    raise
            else:
                return True
        return False

    def _shrink(self, node_id: str) -> None:
        node = self._cluster.nodes[node_id]
        self._submit("member.remove", node_id, self._cluster.commands.remove_member(node_id))
        self._claim(node_id)
        try:
            # A fault may have left it stopped or behind: it must learn of its removal, and deny before and after.
            wait_for(lambda: node.status()["standing"] == _REVOKED, f"{node_id} to know of its removal", _PATIENCE_S)
            verdicts = node.client.check_many([(subject("agent-0"), ACTION, RESOURCE)] * _ASKED)
            if any(verdicts):
                self.findings.append(f"{node_id} allowed after its removal")
            self._record(read_lineage(node))
        finally:
            node.stop()
            self._cluster.nodes = {name: item for name, item in self._cluster.nodes.items() if name != node_id}
            self._arena.give_back([node])

    def _rotate(self, node_id: str) -> None:
        node = self._cluster.nodes[node_id]
        self._claim(node_id)
        try:
            self._rotations += 1
            host, port = load_config(node.config).peer_listen
            home = self._arena.place(f"{node_id}-{self._rotations}")
            fields = create_member(home, self._cluster.genesis.encode(), node_id, listen=f"{host}:{port}")
            self._submit("member.rotate", node_id, self._cluster.commands.rotate_member(fields, home))
            node.stop()
            for name in (f"{node_id}.key.pem", f"{node_id}.cert.pem"):
                (home / name).replace(node.home / name)
            node.start()
            self._wait_until_serving(node)
        finally:
            self._arena.give_back([node])

    # Their parts.

    def _claim(self, node_id: str) -> None:
        """Keep faults away from a node, once the one that has it is over."""
        wait_for(lambda: self._arena.claim(node_id), f"{node_id} to be given back", _PATIENCE_S)

    def _serving(self, but: str) -> Iterable[LocalNode]:
        for node in self._cluster.nodes.values():
            try:
                if node.id != but and node.may_allow():
                    yield node
            except GovraftError:
                continue

    def _wait_until_serving(self, node: LocalNode) -> None:
        # A fault may hit it meanwhile, and undoes itself.
        wait_for(node.may_allow, lambda: f"{node.id} to serve\n{self._cluster.describe()}", _PATIENCE_S)

    def _submit(self, kind: str, node_id: str, envelope: bytes) -> None:
        """Hand in a command until it is effective.

        Raises:
            GovraftError: It is rejected, or nobody said in time what became of it.
        """
        began, name = now(), f"{kind}-{node_id}-{self._rotations}"
        try:
            receipt = self._submit_patiently(envelope)
        except (RejectedError, ClusterTimeoutError) as error:
            self._record(CommandTried(began, now(), name, kind, node_id, "", "unknown", error.code))
            raise
        name, seq, certified = receipt.command_id, receipt.seq, receipt.certified_seq
        self._record(CommandTried(began, now(), name, kind, node_id, "", "effective", "", seq, certified))

    def _submit_patiently(self, envelope: bytes) -> Receipt:
        deadline = time.monotonic() + _LAG_S
        while True:
            try:
                return self._cluster.submit(envelope, timeout_s=_PATIENCE_S)
            except RejectedError as error:
                # Without a seq it is the opinion of one node, which may lag behind the change before this one.
                if error.diagnostics().get("seq") or time.monotonic() > deadline:
                    raise
            time.sleep(_RETRY_S)
