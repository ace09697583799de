"""Clusters whose members change: commands about members, nodes that the genesis does not know, and pins that are kept."""

from __future__ import annotations

import base64
from typing import Any

from sim_cluster import Clock, SimCluster, SimNode, raw
from simulation.arena import Arena, View
from simulation.checkers import ConvergenceWatcher

from govraft.adapters.node_key import NodeIdentity
from govraft.core.codec.envelope import pae, seal
from govraft.core.model.commands import (
    Command,
    MemberAdd,
    MemberFields,
    MemberPromote,
    MemberRemove,
    MemberRotate,
    encode_command,
    payload_type,
)

ROOT = "root-1"


def text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


class Members:
    """What a test does to the electorate of a simulated cluster."""

    nodes: dict[str, SimNode]
    authority_keys: dict[str, Any]

    def prepare(self) -> None:
        """Only pinned members reach each other, each under the certificate that the other one has pinned."""
        self.ids = 0
        before = self.tap

        def tap(source: str, target: str, channel: int, payload: bytes) -> bytes | None:
            if source != target and not (self.is_pinned(source, target) and self.is_pinned(target, source)):
                return None
            return before(source, target, channel, payload)

        self.tap = tap

    def send(self, source: str, target: str, channel: int, payload: bytes) -> None:
        """To all who go by that id; of two nodes, while one takes the other's place."""
        for name, node in self.nodes.items():
            is_own = self.nodes[source].member_id == target
            if (name == source) if is_own else (node.member_id == target):
                super().send(source, name, channel, payload)

    def is_pinned(self, node: str, by: str) -> bool:
        core = self.nodes[by].core
        own = self.nodes[node].identity.certificate
        name = self.nodes[node].member_id
        return core is not None and any(m.id == name and m.certificate == own for m in core.pinned_members)

    def enlist(self, name: str) -> None:
        """A node that nobody has added yet, with an empty disk."""
        self.nodes[name] = SimNode(name, NodeIdentity.create(name), Clock(self))

    def fields(self, name: str, identity: NodeIdentity | None = None) -> MemberFields:
        identity = identity or self.nodes[name].identity
        return MemberFields(name, text(identity.public_key), text(identity.certificate), "127.0.0.1:7100")

    def sealed(self, command: Command, *identities: NodeIdentity) -> bytes:
        kind, payload = payload_type(command), encode_command(command)
        message = pae(kind, payload)
        root = self.authority_keys[ROOT]
        signed = [(raw(root), root.sign(message))]
        return seal(kind, payload, signed + [(item.public_key, item.sign(message)) for item in identities])

    def head(self) -> dict[str, Any]:
        self.ids += 1
        return self.header(f"member-{self.ids}")

    def add(self, name: str) -> bytes:
        return self.sealed(MemberAdd(**self.head(), member=self.fields(name)), self.nodes[name].identity)

    def promote(self, name: str) -> bytes:
        return self.sealed(MemberPromote(**self.head(), id=name))

    def remove(self, name: str) -> bytes:
        return self.sealed(MemberRemove(**self.head(), id=name, reason="test"))

    def rotate(self, name: str, identity: NodeIdentity) -> bytes:
        return self.sealed(MemberRotate(**self.head(), member=self.fields(name, identity)), identity)

    def core(self, name: str) -> Any:
        return self.nodes[name].core

    def epoch(self, name: str) -> int:
        return self.core(name).epochs.certified.epoch


class ChangingArena(Members, Arena):
    """Nodes of a scripted sequencer, of which the first lead."""

    def __init__(self, nodes: int = 3, **options: Any) -> None:
        super().__init__(nodes, watcher=ConvergenceWatcher(), **options)
        self.step_ms = 5
        self.prepare()

    def enlist(self, name: str) -> None:
        super().enlist(name)
        self.views[name] = View()
        self.start(name)


class ChangingCluster(Members, SimCluster):
    """Nodes of the real engine."""

    def __init__(self, nodes: int = 3, **options: Any) -> None:
        super().__init__(nodes, watcher=ConvergenceWatcher(), **options)
        self.prepare()

    def enlist(self, name: str) -> None:
        super().enlist(name)
        self.start(name)
