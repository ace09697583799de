"""Asking several nodes for their lineages and decision logs, and comparing what they say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from govraft.cli.nodes import field_of
from govraft.client.client import Client
from govraft.core.evidence.reconcile import AnchoredHead, Difference, check_log, reconcile_lineages
from govraft.errors import GovraftError

__all__ = ["Reconciliation", "reconcile_nodes"]


@dataclass(slots=True)
class Reconciliation:
    """What the comparison found.

    Attributes:
        nodes: One row a node.
        differences: Of lineages.
        problems: Everything that is wrong, one line each.
    """

    nodes: list[dict[str, Any]] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def data(self) -> dict[str, Any]:
        """For `-o json`."""
        differences = [item._asdict() for item in self.differences]
        return {"agree": not self.problems, "nodes": self.nodes, "differences": differences, "problems": self.problems}


class _Node:
    """`LineageView` and `LogView` of one node, asked over its socket."""

    def __init__(self, name: str, client: Client) -> None:
        self._client = client
        newest = client.read("lineage_root")
        self.seq: int = field_of(newest, "seq", int)
        # Anchors first: the log only grows until its head is read.
        self.anchors = _anchors(client.read("anchors"))
        status = client.status()
        self.name = str(status.get("node") or name)
        log = client.read("decision_log")
        self.log: str = field_of(log, "log", str)
        self.size: int = field_of(log, "size", int)
        self.log_root: bytes = bytes.fromhex(field_of(log, "root", str))

    def root(self, seq: int) -> bytes:
        found: bytes = field_of(self._client.read("lineage_root", seq=seq), "root", bytes)
        return found

    def consistency(self, first: int, second: int) -> Sequence[bytes]:
        return _proof(self._client.read("consistency", first=first, second=second))

    @property
    def decisions(self) -> _Log:
        return _Log(self._client, self.log, self.size, self.log_root)


@dataclass(slots=True)
class _Log:
    _client: Client
    log: str
    size: int
    root: bytes

    def consistency(self, first: int, second: int) -> Sequence[bytes]:
        return _proof(self._client.read("decision_proof", first=first, second=second))


def reconcile_nodes(names: Sequence[str], clients: Sequence[Client]) -> Reconciliation:
    """Ask all nodes and compare.

    Raises:
        GovraftError: One does not answer: nothing is said about the others then.
    """
    nodes = [_Node(name, client) for name, client in zip(names, clients, strict=True)]
    found = Reconciliation()
    found.differences = reconcile_lineages(nodes)
    found.problems += [item.message for item in found.differences]
    for node in nodes:
        anchor = _last_anchor(nodes, node.name)
        problem = check_log(anchor, node.decisions)
        if problem:
            found.problems.append(f"`{node.name}`: {problem}")
        found.nodes.append(
            {
                "node": node.name,
                "seq": node.seq,
                "log": node.log[:12],
                "records": node.size,
                "anchored": 0 if anchor is None else anchor.size,
                "problem": problem,
            }
        )
    return found


def _last_anchor(nodes: Sequence[_Node], name: str) -> AnchoredHead | None:
    """The last anchor of a node that any of them knows: a node must not be able to hide its own."""
    known = [node.anchors[name] for node in nodes if name in node.anchors]
    return max(known, key=lambda anchor: anchor.seq, default=None)


def _anchors(found: object) -> dict[str, AnchoredHead]:
    if not isinstance(found, list):
        raise GovraftError("the node's answer is no list of anchors", code="answer_invalid")
    return {
        field_of(item, "node", str): AnchoredHead(
            field_of(item, "log", str),
            field_of(item, "size", int),
            field_of(item, "root", bytes),
            field_of(item, "seq", int),
        )
        for item in found
    }


def _proof(found: object) -> list[bytes]:
    proof: list[bytes] = field_of(found, "proof", list)
    if not all(isinstance(node, bytes) for node in proof):
        raise GovraftError("the node's answer is no proof", code="answer_invalid")
    return proof
