"""How each node is, looked at from outside while the run goes on, and what it holds at the end."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from contextlib import closing
from typing import Any, Self

import msgspec

from govraft.client.client import Client
from govraft.core.codec.canonical import unpack
from govraft.core.codec.envelope import decode_envelope
from govraft.core.lineage.leaf import Leaf
from govraft.errors import GovraftError
from govraft.testing.chaos.workload import Recorder, now
from govraft.testing.history import Certificate, Event, Lineage, NodeState
from govraft.testing.local_cluster import LocalCluster, LocalNode

__all__ = ["Observer", "read_lineage"]

_PERIOD_S = 0.1
_TIMEOUT_S = 0.5
_JOIN_S = 10.0
_SIGNED_EVERY = 10


class Observer:
    """A thread a node that asks for its status; writes `NodeState` and `Certificate` events. A context manager.

    Attributes:
        faults: What a thread died of; empty if all is well.
        signed_reads: How often the highest signed seq was read from a node's database.
        latest: The newest state of each node.
    """

    def __init__(self, cluster: LocalCluster, recorder: Recorder) -> None:
        self._cluster = cluster
        self._recorder = recorder
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self.faults: list[BaseException] = []
        self.signed_reads = 0
        self.latest: dict[str, NodeState] = {}

    def __enter__(self) -> Self:
        for node in self._cluster.nodes.values():
            self.watch(node)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(_JOIN_S)

    def watch(self, node: LocalNode) -> None:
        """Look at this node as well from now on: one that was added later."""
        thread = threading.Thread(target=self._watch, args=(node,))
        self._threads.append(thread)
        thread.start()

    def _watch(self, node: LocalNode) -> None:
        client = Client(node.endpoint, timeout=_TIMEOUT_S)
        signed, certified, rounds = 0, 0, 0
        try:
            while not self._stopped.wait(_PERIOD_S):
                rounds += 1
                life, running = node.lives, node.is_running
                status = _status(client) if running else None
                # Only of a node that answers: it has looked at its own files and found them whole.
                if status is not None and rounds % _SIGNED_EVERY == 0:
                    signed = self._signed(node, signed)
                if status is None or node.lives != life:
                    self._missing(node.id, life, "node_unreachable" if running else "down")
                else:
                    certified = self._record(node.id, life, status, signed, certified)
        except Exception as error:  # noqa: BLE001 - kept, and the run fails for it
            self.faults.append(error)
        finally:
            client.close()

    def _missing(self, node_id: str, life: int, standing: str) -> None:
        """Write that the node did not answer. What it held before it still holds, as far as anybody knows."""
        before = self.latest.get(node_id, NodeState(0, node_id, life, standing))
        seq, certified, term = (before.seq, before.certified_seq, before.term) if before.life == life else (0, 0, 0)
        self._recorder.write(
            lambda at: [
                self._seen(
                    msgspec.structs.replace(
                        before,
                        at=at,
                        life=life,
                        standing=standing,
                        seq=seq,
                        certified_seq=certified,
                        leader_hint="",
                        term=term,
                    )
                )
            ]
        )

    def _record(self, node_id: str, life: int, status: dict[str, Any], signed: int, certified: int) -> int:
        """Write how the node is; returns the newest certificate that was written."""

        def events(at: int) -> list[Event]:
            state = NodeState(
                at,
                node_id,
                life,
                status["standing"],
                status["seq"],
                status["certified_seq"],
                signed,
                status["leader_hint"] or "",
                status["term"],
            )
            found: list[Event] = [self._seen(state)]
            # Only then do the roots that the node tells belong to the certificate.
            if status["seq"] == status["certified_seq"] > certified:
                found.append(Certificate(at, status["seq"], status["root"], status["state_root"], node_id))
            return found

        self._recorder.write(events)
        return max(certified, int(status["certified_seq"]))

    def _seen(self, state: NodeState) -> NodeState:
        self.latest[state.node] = state
        return state

    def _signed(self, node: LocalNode, before: int) -> int:
        """The highest seq that the node ever signed, as its database has it; `before` if it cannot be read now."""
        try:
            address = f"file:{node.database}?mode=ro"
            with closing(sqlite3.connect(address, uri=True, timeout=0.2)) as connection:
                row = connection.execute("SELECT value FROM records WHERE name = 'cosigner'").fetchone()
        except sqlite3.Error:
            return before
        if row is None:
            return before
        self.signed_reads += 1
        seq = json.loads(row[0])["seq"]
        return seq if isinstance(seq, int) else before


def read_lineage(node: LocalNode) -> Lineage:
    """What a node holds: leaf digests, and command id and outcome of each entry.

    Raises:
        GovraftError: It does not answer.
    """
    leaves, commands = [], []
    for leaf, entry in node.lineage():
        leaves.append(hashlib.sha256(leaf).hexdigest())
        commands.append((_command_id(len(leaves), entry), Leaf.decode(leaf).outcome))
    return Lineage(now(), node.id, 1, tuple(leaves), tuple(commands))


def _command_id(seq: int, entry: bytes | None) -> str:
    if seq == 1:
        return "genesis"
    if entry is None:
        return ""
    try:
        envelope = unpack(entry, max_bytes=len(entry))["envelope"]
        return str(json.loads(decode_envelope(envelope).payload)["command_id"])
    except (GovraftError, ValueError, KeyError, TypeError):
        # An entry that holds no command is rejected by every machine, and is no command of anybody.
        return ""


def _status(client: Client) -> dict[str, Any] | None:
    try:
        return client.status()
    except GovraftError:
        return None
