"""Any evidence file: tells its kind, verifies it, and says in plain values what it proves.

A file is never taken for another kind than it says it is: what has no known `format` and is no object of JSON is read
as a certificate, which proves itself or nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from io import BytesIO
from typing import Any, NamedTuple

import msgspec

from govraft.core.codec.complaints import in_words
from govraft.core.evidence.certificate import ProvenCheckpoint, prove_certificate
from govraft.core.evidence.denial import DENIAL_FORMAT, show_denial
from govraft.core.evidence.equivocation import EQUIVOCATION_FORMAT, prove_equivocation
from govraft.core.evidence.files import malformed
from govraft.core.evidence.lineage_export import APPLIED_FORMAT, LINEAGE_FORMAT, ProvenLineage, prove_lineage
from govraft.core.evidence.lineage_proof import PROOF_FORMAT, prove_leaf
from govraft.core.evidence.permit_file import PERMIT_FORMAT, prove_permit
from govraft.core.evidence.receipt import RECEIPT_FORMAT, prove_receipt
from govraft.core.evidence.snapshot_proof import prove_snapshot
from govraft.core.evidence.statements import Statement
from govraft.core.evidence.trust_state import Shown, TrustState, not_shown
from govraft.core.lineage.leaf import Leaf
from govraft.core.machine.snapshot import is_snapshot
from govraft.core.model.genesis import Genesis
from govraft.core.model.request import Request

__all__ = ["TIMES", "Use", "describe_lineage", "is_lineage", "prove_evidence", "weigh"]

TIMES = frozenset({"time", "issued", "not_after", "nodes_until", "clients_until", "permits_until"})
"""Which of the values that `prove_evidence` gives are WallMs."""

_HEADER = frozenset({"cluster", "command_id", "not_after"})


class Use(NamedTuple):
    """For what evidence is looked at.

    Attributes:
        at: WallMs now, by the verifier's own clock.
        request: What a permit or denial must be about; None to leave that to the reader.
        audience: Who verifies.
        at_least: A seq that the verifier knows to be effective.
        trust: What the verifier was given to trust beyond the genesis; None for the genesis alone.
        is_past: Evidence of the past is wanted even if nothing shows that it lies in the trusted history.
    """

    at: int
    request: Request | None = None
    audience: str | None = None
    at_least: int = 0
    trust: TrustState | None = None
    is_past: bool = False


class _Head(msgspec.Struct, frozen=True):
    format: str


# The member, not the bare name: a receipt may be of a command whose id is that name.
_LINEAGE_HEADER = re.compile(
    rb'"format"[ \t\r]*:[ \t\r]*"(?:%b|%b)"' % (re.escape(LINEAGE_FORMAT.encode()), re.escape(APPLIED_FORMAT.encode()))
)
_read_head = msgspec.json.Decoder(_Head).decode


def is_lineage(data: bytes) -> bool:
    """Whether a file that begins with these bytes is a lineage export."""
    return _LINEAGE_HEADER.search(data.split(b"\n", 1)[0]) is not None


def prove_evidence(data: bytes, genesis: Genesis, use: Use) -> dict[str, Any]:
    """Verify an evidence file of any kind against the genesis, and the trust state in `use`.

    Args:
        data: The whole file.
        genesis: Trusted.
        use: For what it is looked at.

    Returns:
        What is proven: `kind`, and values that JSON can carry; digests as hexadecimal digits. `trust` is `genesis` if
        that is all that stands for it, `state` if the trust state does, `not_shown` if it does not and `use.is_past`.

    Raises:
        VerificationError: It proves nothing.
    """
    if is_snapshot(data):
        return _snapshot(data, genesis, use)
    if is_lineage(data):
        return describe_lineage(prove_lineage(BytesIO(data), genesis, trust=use.trust), use)
    if not data.lstrip().startswith(b"{"):
        checkpoint, shown = prove_certificate(data, genesis, use.trust)
        return {"kind": "certificate", **_checkpoint(checkpoint), **_weigh(shown, use)}
    try:
        kind = _read_head(data).format
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise malformed(f"this is no evidence that govraft knows: {in_words(error)}") from error
    prove = _KINDS.get(kind)
    if prove is None:
        raise malformed(f"`{kind[:64]}` is no evidence that this version knows")
    return prove(data, genesis, use)


def weigh(shown: Shown, use: Use) -> str:
    """What stands for evidence of the past: the value of `trust` in what `prove_evidence` returns.

    Raises:
        VerificationError: It is of another history (code `conflict`), or not shown to lie in the trusted one (code
            `not_shown`) unless `use.is_past`.
    """
    if use.trust is None:
        return "genesis"
    if use.trust.ties(shown):
        return "state"
    if not use.is_past:
        raise not_shown()
    return "not_shown"


def _weigh(shown: Shown, use: Use) -> dict[str, Any]:
    return {"trust": weigh(shown, use)}


def describe_lineage(proven: ProvenLineage, use: Use) -> dict[str, Any]:
    """What a lineage export proves, in plain values. Raises `VerificationError` as `weigh`."""
    return {
        "kind": "lineage",
        **_checkpoint(proven.checkpoint),
        "applied": proven.applied,
        "rejected": proven.rejected,
        "state_root": proven.state_root.hex(),
        "time": proven.time,
        "policy_version": proven.policy_version,
        "entities": proven.entities,
        **_weigh(proven.shown, use),
    }


def _snapshot(data: bytes, genesis: Genesis, use: Use) -> dict[str, Any]:
    proven = prove_snapshot(data, genesis)
    return {
        "kind": "snapshot",
        **_checkpoint(proven.checkpoint),
        "leaf": _leaf_fields(proven.leaf),
        "records": dict(sorted(proven.records.items())),
        **_weigh(proven.shown, use),
    }


def _permit(data: bytes, genesis: Genesis, use: Use) -> dict[str, Any]:
    proven = prove_permit(
        data,
        genesis,
        at=use.at,
        request=use.request,
        audience=use.audience,
        at_least=use.at_least,
        trust=use.trust,
    )
    trust = "genesis" if use.trust is None else "state"
    return {"kind": "permit", **_statement(proven.statement), "voters": list(proven.voters), "trust": trust}


def _denial(data: bytes, genesis: Genesis, use: Use) -> dict[str, Any]:
    statement, shown = show_denial(data, genesis, request=use.request)
    return {"kind": "denial", **_statement(statement), **_weigh(shown, use)}


def _receipt(data: bytes, genesis: Genesis, use: Use) -> dict[str, Any]:
    proven = prove_receipt(data, genesis)
    return {
        "kind": "receipt",
        "command": proven.command,
        "command_id": proven.command_id,
        "outcome": proven.leaf.outcome,
        "command_seq": proven.leaf.seq,
        "time": proven.leaf.time,
        "fields": {name: value for name, value in proven.payload.items() if name not in _HEADER},
        "seq": proven.certified_seq,
        "root": proven.root.hex(),
        "voters": list(proven.voters),
        "nodes_until": proven.nodes_until,
        "clients_until": proven.clients_until,
        "permits_until": proven.permits_until,
        **_weigh(proven.shown, use),
    }


def _leaf(data: bytes, genesis: Genesis, use: Use) -> dict[str, Any]:
    proven = prove_leaf(data, genesis)
    return {
        "kind": "proof",
        **_checkpoint(proven.checkpoint),
        "leaf": _leaf_fields(proven.leaf),
        "earlier_seq": proven.earlier_seq,
        "earlier_root": proven.earlier_root.hex(),
        **_weigh(proven.shown, use),
    }


def _equivocation(data: bytes, genesis: Genesis, use: Use) -> dict[str, Any]:
    proven = prove_equivocation(data, genesis)
    return {
        "kind": "equivocation",
        "node": proven.member.id,
        "public_key": proven.member.public_key.hex(),
        "epoch": proven.epoch,
        "seq": proven.seq,
        "roots": [root.hex() for root in proven.roots],
        **_weigh(proven.shown, use),
    }


_KINDS: dict[str, Callable[[bytes, Genesis, Use], dict[str, Any]]] = {
    PERMIT_FORMAT: _permit,
    DENIAL_FORMAT: _denial,
    RECEIPT_FORMAT: _receipt,
    PROOF_FORMAT: _leaf,
    EQUIVOCATION_FORMAT: _equivocation,
}


def _checkpoint(checkpoint: ProvenCheckpoint) -> dict[str, Any]:
    return {
        "seq": checkpoint.seq,
        "root": checkpoint.root.hex(),
        "epoch": checkpoint.epoch,
        "cosigners": list(checkpoint.cosigners),
    }


def _statement(statement: Statement) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(statement)
    return {name: value for name, value in fields.items() if name != "cluster"}


def _leaf_fields(leaf: Leaf) -> dict[str, Any]:
    return {
        "seq": leaf.seq,
        "epoch": leaf.epoch,
        "time": leaf.time,
        "entry_digest": leaf.entry_digest.hex(),
        "outcome": leaf.outcome,
        "sections": {name: value.hex() for name, value in sorted(leaf.sections.items())},
        "state_root": leaf.state_root.hex(),
    }
