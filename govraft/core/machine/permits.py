"""Redeeming single-use permits: each works once, in the whole cluster.

A permit is void here unless it is of the current epoch, holds at the machine's time, and nothing that it names is
stopped. Whoever is shown one submits `permit.redeem`; the entry that is applied first has used it up.

A used permit is remembered until it runs out: from then on it is void anyway, as the machine's time never goes back.
"""

from __future__ import annotations

from collections.abc import Iterator

from govraft.core.codec.base64_text import from_base64
from govraft.core.evidence.permit import verify_permit
from govraft.core.evidence.statements import PermitStatement
from govraft.core.machine.ancestry import with_ancestors
from govraft.core.machine.permit_view import PERMIT_PREFIX, UsedPermit
from govraft.core.machine.records import mark_key
from govraft.core.machine.requirement import Requirement
from govraft.core.machine.state import Changes, Context, State
from govraft.core.model import limits
from govraft.core.model.commands import PermitRedeem
from govraft.core.model.commands.enforcement import TargetKind
from govraft.core.model.outcome import Rejected, Rejection
from govraft.errors import CertificateError, VerificationError

__all__ = ["of_shown_node", "redeem_permit"]


def of_shown_node(state: State, command: PermitRedeem) -> Requirement:
    """The member that the permit was shown to signs."""
    del state
    return Requirement(member=command.node)


def redeem_permit(state: State, command: PermitRedeem, context: Context) -> Changes | Rejected:
    """Use up a single-use permit."""
    envelope = from_base64(command.permit)
    if envelope is None:
        return Rejected(Rejection.EVIDENCE_INVALID, "`permit` is not standard base64 with padding")
    try:
        verified = verify_permit(envelope, state.electorate, context.cluster_id, is_valid=context.is_valid)
    except CertificateError as error:
        # SAFETY: an electorate that is no more permits nothing (test_permits.py::test_table).
        return Rejected(Rejection.PERMIT_VOID, str(error))
    except VerificationError as error:
        return Rejected(Rejection.EVIDENCE_INVALID, str(error))
    statement = verified.statement
    void = _voided(state, statement, context)
    if void is not None:
        return void
    # SAFETY: a permit that is used stays used (test_permits.py::test_a_permit_works_once).
    used = state.audit.permits.used
    if statement.permit in used:
        earlier = used[statement.permit]
        return Rejected(Rejection.PERMIT_USED, f"the permit was used at seq {earlier.seq}, on `{earlier.node}`")
    if len(used) >= limits.PERMITS_REDEEMED:
        return Rejected(Rejection.LIMIT_EXCEEDED, f"{limits.PERMITS_REDEEMED} used permits are remembered, wait")
    changes = Changes()
    record = UsedPermit(statement.permit, command.node, statement.not_after, context.seq, context.time)
    changes.put("audit", PERMIT_PREFIX + statement.permit, record)
    for name in state.audit.permits.over(context.time, limits.PERMITS_PRUNED_PER_ENTRY):
        changes.remove_unless_put("audit", PERMIT_PREFIX + name)
    return changes


def _voided(state: State, statement: PermitStatement, context: Context) -> Rejected | None:
    if not statement.single_use:
        return Rejected(Rejection.PERMIT_VOID, "the permit is not for a single use: it need not be redeemed")
    # SAFETY: beyond `not_after` its use is forgotten, so it must never work again
    # (test_permits.py::test_a_permit_that_has_run_out_is_void).
    if context.time >= statement.not_after:
        return Rejected(Rejection.PERMIT_VOID, "the permit has run out, ask for another one")
    if statement.seq >= context.seq:
        return Rejected(Rejection.PERMIT_VOID, f"the permit speaks of seq {statement.seq}, which is yet to come")
    for kind, uid in _targets(state, statement):
        stopped = state.entities.marks.get(mark_key(kind.value, uid))
        if stopped:
            return Rejected(Rejection.PERMIT_VOID, f"{kind.value} `{uid}` is {', '.join(sorted(stopped))} since")
    marks = [state.entities.marks.get(mark_key(TargetKind.POLICY.value, name)) for name in statement.policies]
    # SAFETY: as in a decision, a permit rests on at least one policy that nothing marks; from rules 2 on one that names
    # none is void too (test_review_issue_governance.py::test_policies_that_were_all_stopped_void_a_permit).
    if (marks or state.rules >= 2) and all(marks):
        return Rejected(Rejection.PERMIT_VOID, "every policy that permitted it is stopped since")
    return None


def _targets(state: State, statement: PermitStatement) -> Iterator[tuple[TargetKind, str]]:
    """What the permit names, all groups above it, and the domains that it was decided in."""
    # SAFETY: a domain that was stopped stops what was permitted in it
    # (test_review_issue_governance.py::test_a_domain_that_was_stopped_voids_its_permits).
    for domain in state.domains.path(state.entities.domain(statement.resource)):
        yield TargetKind.DOMAIN, domain
    yield TargetKind.ACTION, statement.action
    for kind, uid in ((TargetKind.SUBJECT, statement.principal), (TargetKind.RESOURCE, statement.resource)):
        for name in with_ancestors(state.entities.entities, uid):
            yield kind, name
