"""What clients read to put evidence together: changes of the electorate, proofs, contradictions that were witnessed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from govraft.errors import DecodeError, InputError
from govraft.node.core import NodeCore
from govraft.node.isolation import isolation_view

__all__ = ["evidence_reads"]


def evidence_reads(core: NodeCore) -> dict[str, Callable[[dict[str, Any]], object]]:
    """The reads, by name."""

    def epoch_links(params: dict[str, Any]) -> list[dict[str, Any]]:
        """The changes of the electorate, as evidence files carry them."""
        del params
        return core.epoch_links()

    def evidence(params: dict[str, Any]) -> dict[str, Any]:
        """What other nodes signed that contradicts itself, or what this node holds; and why this node stopped."""
        del params
        return {
            "equivocations": [
                {"node": item.node, "first": item.first, "second": item.second}
                for item in core.convergence.witness.found
            ],
            "contradictions": [
                {"node": item.node, "permit": item.permit, "denial": item.denial}
                for item in core.permits.contradictions
            ],
            "isolation": isolation_view(core.convergence.isolation),
        }

    return {"epoch_links": epoch_links, "evidence": evidence, "proof": lambda params: _proof(core, params)}


def _proof(core: NodeCore, params: dict[str, Any]) -> dict[str, Any]:
    """That the certified lineage holds the leaf of a seq, and that it begins with an earlier lineage."""
    lineage, certified = core.machine.lineage, core.convergence.certified_seq
    seq, earlier = _seq(params, "seq", certified), _seq(params, "from", 0)
    if not 1 <= seq <= certified or earlier > certified:
        raise InputError(f"certified is seq {certified}, ask for that or an earlier one", code="seq_unknown")
    return {
        "certified_seq": certified,
        "note": core.convergence.certified_note,
        "proof": lineage.inclusion_proof(seq - 1, certified),
        "from_root": lineage.root(earlier) if earlier else b"",
        "consistency": lineage.consistency_proof(earlier, certified) if earlier else [],
    }


def _seq(params: dict[str, Any], name: str, default: int) -> int:
    value = params.get(name, default)
    if type(value) is not int or not 0 <= value < 2**63:
        raise DecodeError(f"`{name}` must be a seq")
    return value
