"""What auditors read from a node: roots and proofs of its lineage, anchors, and the head of its decision log."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from govraft.core.machine.machine import Machine
from govraft.errors import AvailabilityError, DecodeError
from govraft.node.decision_keeper import DecisionKeeper

__all__ = ["audit_reads"]

Reader = Callable[[dict[str, Any]], object | Awaitable[object]]


def audit_reads(machine: Machine, decisions: DecisionKeeper | None) -> dict[str, Reader]:
    """The reads by name. Each may raise `InputError` for unusable parameters.

    Args:
        machine: Of the node.
        decisions: None for a node without a decision log.
    """

    def lineage_root(params: dict[str, Any]) -> dict[str, Any]:
        """`seq`: 0 for the newest."""
        seq = _natural(params, "seq") or machine.seq
        return {"seq": seq, "root": machine.lineage.root(seq)}

    def consistency(params: dict[str, Any]) -> dict[str, Any]:
        """`first` and `second`: seqs."""
        first, second = _natural(params, "first"), _natural(params, "second")
        return {"proof": machine.lineage.consistency_proof(first, second)}

    def anchors(params: dict[str, Any]) -> list[dict[str, Any]]:
        del params
        return [
            {
                "node": item.node,
                "log": item.log,
                "size": item.size,
                "root": item.root,
                "previous": item.previous,
                "seq": item.seq,
                "time": item.time,
            }
            for _, item in sorted(machine.anchors.items())
        ]

    def decision_log(params: dict[str, Any]) -> dict[str, Any]:
        del params
        return _keeper(decisions).status()

    async def decision_proof(params: dict[str, Any]) -> dict[str, Any]:
        """`first` and `second`: sizes of the decision log."""
        first, second = _natural(params, "first"), _natural(params, "second")
        proof = await _keeper(decisions).run(lambda store: store.consistency(first, second))
        return {"proof": proof}

    return {
        "anchors": anchors,
        "consistency": consistency,
        "decision_log": decision_log,
        "decision_proof": decision_proof,
        "lineage_root": lineage_root,
    }


def _keeper(decisions: DecisionKeeper | None) -> DecisionKeeper:
    if decisions is None:
        raise AvailabilityError("this node keeps no decision log", code="decision_log_missing")
    return decisions


def _natural(params: dict[str, Any], name: str) -> int:
    value = params.get(name, 0)
    if type(value) is not int or not 0 <= value < 2**63:
        raise DecodeError(f"`{name}` must be a whole number, 0 or more")
    return value
