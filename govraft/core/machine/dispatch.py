"""The closed table from commands to who may give them and what they do.

A handler is pure: it reads the state and returns what it wants changed, or why it refuses. It changes nothing itself,
so a handler that fails has changed nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from govraft.core.machine.attestations import attest, of_resolution, resolve
from govraft.core.machine.audit import anchor_log, of_anchoring_node
from govraft.core.machine.authorities import (
    add_authority,
    assign_authority,
    of_added,
    of_assigned,
    of_rotated,
    of_target_authority,
    of_threshold,
    resume_authority,
    revoke_authority,
    rotate_authorities,
    set_threshold,
    suspend_authority,
)
from govraft.core.machine.boundaries import remove_boundary, set_boundary
from govraft.core.machine.domains import (
    create_domain,
    move_domain,
    of_created,
    of_moved,
    of_removed,
    remove_domain,
)
from govraft.core.machine.enforcement import (
    end_invalidations,
    invalidate,
    isolate,
    of_release,
    of_target,
    quarantine,
    release,
    revoke,
)
from govraft.core.machine.entities import (
    delete_entities,
    of_deleted_entities,
    of_patched_entity,
    of_put_entities,
    patch_entity,
    put_entities,
)
from govraft.core.machine.grants import (
    delegate_grant,
    issue_grant,
    of_delegate,
    of_grant,
    renew_grant,
    revoke_grant,
)
from govraft.core.machine.members import (
    add_member,
    evict_member,
    of_evidence,
    promote_member,
    remove_member,
    rotate_member,
)
from govraft.core.machine.permits import of_shown_node, redeem_permit
from govraft.core.machine.policies import activate_policies, publish_policies
from govraft.core.machine.proposals import (
    Rules,
    of_author,
    of_voter,
    open_proposal,
    vote_on_proposal,
    withdraw_proposal,
)
from govraft.core.machine.requirement import Requirement, of_role
from govraft.core.machine.rules import raise_rules
from govraft.core.machine.state import Changes, Context, State
from govraft.core.model.commands import (
    COMMANDS,
    Attest,
    AttestationResolve,
    AuditAnchor,
    AuthorityAdd,
    AuthorityAssign,
    AuthorityEmergencyRevoke,
    AuthorityResume,
    AuthorityRevoke,
    AuthorityRotate,
    AuthoritySuspend,
    BoundaryRemove,
    BoundarySet,
    ClusterRules,
    Command,
    DomainCreate,
    DomainMove,
    DomainRemove,
    EnforcementCommand,
    EntityDelete,
    EntityPatch,
    EntityPut,
    GrantDelegate,
    GrantIssue,
    GrantRenew,
    GrantRevoke,
    Invalidate,
    Isolate,
    MemberAdd,
    MemberEvict,
    MemberPromote,
    MemberRemove,
    MemberRotate,
    PermitRedeem,
    PolicyActivate,
    PolicyPublish,
    ProposalOpen,
    ProposalVote,
    ProposalWithdraw,
    Quarantine,
    Release,
    Revoke,
    ThresholdSet,
)
from govraft.core.model.outcome import Rejected
from govraft.errors import require

__all__ = ["HANDLERS", "Handler", "handle", "requirement"]


class Handler(NamedTuple):
    """What a command does, and whose signatures it takes.

    Attributes:
        decide: Exactly for the command type that it stands beside, which a dict's type cannot express.
        requires: Whose signatures it takes in this state, or why it is refused whoever signs.
    """

    decide: Callable[[State, Any, Context], Changes | Rejected]
    requires: Callable[[State, Any], Requirement | Rejected] = of_role


HANDLERS: dict[type[Command], Handler] = {
    PolicyPublish: Handler(publish_policies),
    PolicyActivate: Handler(activate_policies),
    EntityPut: Handler(put_entities, of_put_entities),
    EntityPatch: Handler(patch_entity, of_patched_entity),
    EntityDelete: Handler(delete_entities, of_deleted_entities),
    ClusterRules: Handler(raise_rules),
    DomainCreate: Handler(create_domain, of_created),
    DomainMove: Handler(move_domain, of_moved),
    DomainRemove: Handler(remove_domain, of_removed),
    Quarantine: Handler(quarantine, of_target),
    Release: Handler(release, of_release),
    Isolate: Handler(isolate, of_target),
    Revoke: Handler(revoke, of_target),
    Invalidate: Handler(invalidate, of_target),
    Attest: Handler(attest),
    AttestationResolve: Handler(resolve, of_resolution),
    AuthorityAdd: Handler(add_authority, of_added),
    AuthorityAssign: Handler(assign_authority, of_assigned),
    AuthorityRotate: Handler(rotate_authorities, of_rotated),
    AuthoritySuspend: Handler(suspend_authority, of_target_authority),
    AuthorityResume: Handler(resume_authority, of_target_authority),
    AuthorityRevoke: Handler(revoke_authority, of_target_authority),
    AuthorityEmergencyRevoke: Handler(revoke_authority, of_target_authority),
    ThresholdSet: Handler(set_threshold, of_threshold),
    ProposalOpen: Handler(lambda *given: open_proposal(*given, rules=_RULES), of_author),
    ProposalVote: Handler(lambda *given: vote_on_proposal(*given, rules=_RULES), of_voter),
    ProposalWithdraw: Handler(withdraw_proposal, of_author),
    MemberAdd: Handler(add_member),
    MemberPromote: Handler(promote_member),
    MemberRemove: Handler(remove_member),
    MemberRotate: Handler(rotate_member),
    MemberEvict: Handler(evict_member, of_evidence),
    PermitRedeem: Handler(redeem_permit, of_shown_node),
    AuditAnchor: Handler(anchor_log, of_anchoring_node),
    GrantIssue: Handler(issue_grant),
    GrantDelegate: Handler(delegate_grant, of_delegate),
    GrantRenew: Handler(renew_grant, of_grant),
    GrantRevoke: Handler(revoke_grant, of_grant),
    BoundarySet: Handler(set_boundary),
    BoundaryRemove: Handler(remove_boundary),
}

require(HANDLERS.keys() <= {kind for kind, _ in COMMANDS.values()}, "every handler has a command")


def requirement(state: State, command: Command) -> Requirement | Rejected:
    """Whose signatures a command takes in this state."""
    return HANDLERS[type(command)].requires(state, command)


def handle(state: State, command: Command, context: Context) -> Changes | Rejected:
    """Let a command's handler decide."""
    result = HANDLERS[type(command)].decide(state, command, context)
    # What marks replaces nothing, and to ask for the domain of a thousand targets takes long.
    if isinstance(result, Changes) and state.entities.marks and not isinstance(command, EnforcementCommand):
        required = requirement(state, command)
        if isinstance(required, Requirement):
            end_invalidations(state, command, required.domain, result)
    return result


_RULES: Rules = Rules(requirement, handle)
"""What proposals execute by: this very table."""
