"""Anchoring the nodes' decision logs.

Once the head of a log is in the lineage, nobody can change, remove or add a record before it: the next head must
prove that it only grew. Another log id begins another log, for good: which ones came before it stays on record, and
none of them is taken up again.
"""

from __future__ import annotations

from govraft.core.codec.base64_text import from_base64
from govraft.core.lineage.proofs import verify_consistency
from govraft.core.machine.anchor_view import ANCHOR_PREFIX, Anchor, former_log_key
from govraft.core.machine.requirement import Requirement
from govraft.core.machine.state import Changes, Context, State
from govraft.core.model import limits
from govraft.core.model.commands import AuditAnchor
from govraft.core.model.outcome import Rejected, Rejection
from govraft.errors import LineageError

__all__ = ["anchor_log", "of_anchoring_node"]


def of_anchoring_node(state: State, command: AuditAnchor) -> Requirement:
    """The node whose log it is signs, and nobody else."""
    del state
    return Requirement(member=command.node)


def anchor_log(state: State, command: AuditAnchor, context: Context) -> Changes | Rejected:
    """Put the head of a node's decision log on record."""
    # SAFETY: nobody speaks for another node's log (test_audit.py::test_the_handler_itself_takes_no_word_for_it).
    if context.node != command.node:
        return Rejected(Rejection.THRESHOLD_UNMET, f"node `{command.node}` must sign with its own key")
    proof = _decode_proof(command.proof)
    if proof is None:
        return Rejected(Rejection.EVIDENCE_INVALID, "`proof` holds nodes of 32 bytes in standard base64 with padding")
    root, last = bytes.fromhex(command.root), state.audit.anchors.by_node.get(command.node)
    previous, changes = "", Changes()
    if last is None or last.log != command.log:
        if proof:
            return Rejected(Rejection.ANCHOR_INCONSISTENT, "the first anchor of a log extends nothing: omit the proof")
        refused = None if last is None else _begins(state, command)
        if refused is not None:
            return refused
        previous = "" if last is None else last.log
        if last is not None:
            changes.put("audit", former_log_key(command.node, last.log), context.seq)
    else:
        previous = last.previous
        refused = _extends(last, command.size, root, proof)
        if refused is not None:
            return refused
    anchor = Anchor(command.node, command.log, command.size, root, previous, context.seq, context.time)
    changes.put("audit", ANCHOR_PREFIX + command.node, anchor)
    return changes


def _begins(state: State, command: AuditAnchor) -> Rejected | None:
    former = state.audit.anchors.former(command.node)
    # SAFETY: else a node could leave a log for a moment and come back with another past of it
    # (test_review_issue_governance.py::test_no_log_is_taken_up_again).
    if command.log in former:
        return Rejected(Rejection.ANCHOR_INCONSISTENT, f"log {command.log} was given up for another: begin a new one")
    if len(former) + 1 >= limits.ANCHORED_LOGS:
        return Rejected(Rejection.LIMIT_EXCEEDED, f"`{command.node}` has begun {limits.ANCHORED_LOGS} logs, replace it")
    return None


def _extends(last: Anchor, size: int, root: bytes, proof: list[bytes]) -> Rejected | None:
    # SAFETY: what is anchored stays as it is (test_audit.py::test_an_anchored_record_cannot_be_changed).
    if size <= last.size:
        message = f"the log has {size} records, {last.size} are anchored at seq {last.seq}: a log only grows"
        return Rejected(Rejection.ANCHOR_INCONSISTENT, message)
    try:
        verify_consistency(last.size, last.root, size, root, proof)
    except LineageError as error:
        return Rejected(Rejection.ANCHOR_INCONSISTENT, f"does not extend the anchor of seq {last.seq}: {error}")
    return None


def _decode_proof(proof: tuple[str, ...]) -> list[bytes] | None:
    nodes = []
    for text in proof:
        node = from_base64(text)
        if node is None or len(node) != 32:
            return None
        nodes.append(node)
    return nodes
