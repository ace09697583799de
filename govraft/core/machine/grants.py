"""Grants: issue, delegate, renew, revoke.

    grant     issue          delegate                renew                revoke
    unknown   applied        GRANT_UNKNOWN           GRANT_UNKNOWN        GRANT_UNKNOWN
    counts    GRANT_EXISTS   applied, GRANT_WIDER    applied              applied
    ended     GRANT_EXISTS   GRANT_ENDED             GRANT_ENDED          applied
    revoked   GRANT_EXISTS   GRANT_REVOKED           GRANT_REVOKED        GRANT_REVOKED

A grant has ended, or is revoked, as soon as one above it is. Nothing brings it back: whoever needs it again issues
another. What is handed on must be narrower in every respect here, where the author can be told; that it stays so
when entities and domains move is seen to at each check (core/decision/grants.py).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from govraft.core.machine.enforcement import REVOKED
from govraft.core.machine.grant_view import GRANT_PREFIX, Grant
from govraft.core.machine.records import Entity, Mark, mark_key
from govraft.core.machine.requirement import Requirement, room
from govraft.core.machine.state import Changes, Context, State
from govraft.core.model import limits
from govraft.core.model.authority import AuthorityStatus, Role
from govraft.core.model.commands import GrantDelegate, GrantIssue, GrantRenew, GrantRevoke
from govraft.core.model.ids import is_action_type, parse_uid
from govraft.core.model.outcome import Rejected, Rejection
from govraft.errors import DecodeError

__all__ = ["delegate_grant", "issue_grant", "of_delegate", "of_grant", "renew_grant", "revoke_grant"]


def of_delegate(state: State, command: GrantDelegate) -> Requirement | Rejected:
    """The parent's delegate alone, or the operators of its domain."""
    parent = state.grants.grants.get(command.parent)
    if parent is None:
        return _unknown(command.parent)
    return Requirement(Role.OPERATOR, parent.domain, authority=parent.delegate)


def of_grant(state: State, command: GrantRenew | GrantRevoke) -> Requirement | Rejected:
    """The operators of the grant's domain."""
    grant = state.grants.grants.get(command.id)
    return _unknown(command.id) if grant is None else Requirement(Role.OPERATOR, grant.domain)


def issue_grant(state: State, command: GrantIssue, context: Context) -> Changes | Rejected:
    """Issue a grant."""
    grant = _read(state, command, context)
    return grant if isinstance(grant, Rejected) else _add(state, grant, context)


def delegate_grant(state: State, command: GrantDelegate, context: Context) -> Changes | Rejected:
    """Hand a grant on."""
    parent = state.grants.grants.get(command.parent)
    if parent is None:
        return _unknown(command.parent)
    grant = _check_alive(state, parent, context.time) or _read(state, command, context)
    if isinstance(grant, Rejected):
        return grant
    wider = _find_wider(state, grant, parent)
    if wider:
        return Rejected(Rejection.GRANT_WIDER, f"{wider} than that of `{parent.id}` allows, narrow it")
    return _add(state, msgspec.structs.replace(grant, parent=parent.id), context)


def renew_grant(state: State, command: GrantRenew, context: Context) -> Changes | Rejected:
    """Let a grant end at another time."""
    grant = state.grants.grants.get(command.id)
    if grant is None:
        return _unknown(command.id)
    # SAFETY: no renewal undoes a revocation, or brings back what came of an ended grant. test_grants.test_renew_table
    refused = _check_alive(state, grant, context.time)
    if refused is not None:
        return refused
    end = command.not_after_grant
    if end <= context.time or end <= grant.not_before:
        return Rejected(Rejection.GRANT_INVALID, "the grant would have ended already: revoke it instead")
    if grant.parent is not None and end > state.grants.grants[grant.parent].not_after:
        return Rejected(Rejection.GRANT_WIDER, f"`{grant.parent}` ends before that, renew it first")
    changes = Changes()
    changes.put("grants", GRANT_PREFIX + grant.id, msgspec.structs.replace(grant, not_after=end))
    return changes


def revoke_grant(state: State, command: GrantRevoke, context: Context) -> Changes | Rejected:
    """Revoke a grant, and with it all that came of it."""
    grant = state.grants.grants.get(command.id)
    if grant is None:
        return _unknown(command.id)
    if grant.revoked is not None:
        return Rejected(Rejection.GRANT_REVOKED, f"grant `{grant.id}` is revoked already")
    if len(command.reason) > limits.REASON_CHARS:
        return Rejected(Rejection.LIMIT_EXCEEDED, f"the reason is over {limits.REASON_CHARS} characters")
    mark = Mark(command.reason, context.authors, context.seq, context.time)
    changes = Changes()
    changes.put("grants", GRANT_PREFIX + grant.id, msgspec.structs.replace(grant, revoked=mark))
    return changes


def _unknown(identifier: str) -> Rejected:
    return Rejected(Rejection.GRANT_UNKNOWN, f"there is no grant `{identifier}`, see `govraft grant list`")


def _check_alive(state: State, grant: Grant, time: int) -> Rejected | None:
    """Refuse a grant that is over, or that has one above it that is."""
    chain = state.grants.chain(grant)
    for link in chain:
        if link.revoked is not None:
            return Rejected(Rejection.GRANT_REVOKED, f"grant `{link.id}` is revoked, issue another one")
    for link in chain:
        if link.not_after <= time:
            return Rejected(Rejection.GRANT_ENDED, f"grant `{link.id}` has ended, issue another one")
    return None


def _read(state: State, command: GrantIssue | GrantDelegate, context: Context) -> Grant | Rejected:
    """The grant that a command describes."""
    if command.id in state.grants.grants:
        return Rejected(Rejection.GRANT_EXISTS, f"grant `{command.id}` exists already, choose another id")
    if not state.domains.path(command.domain):
        return Rejected(Rejection.DOMAIN_UNKNOWN, f"domain `{command.domain}` does not exist, create it first")
    end = command.not_after_grant
    if end <= command.not_before or end <= context.time:
        return Rejected(Rejection.GRANT_INVALID, "the grant ends before it begins, or has ended already")
    try:
        holder = _uid(command.holder, is_action=False)
        actions = tuple(sorted({_uid(text, is_action=True) for text in command.actions}))
        resources = tuple(sorted({_uid(text, is_action=False) for text in command.resources}))
    except DecodeError as error:
        return Rejected(Rejection.GRANT_INVALID, str(error))
    if REVOKED in state.entities.marks.get(mark_key("subject", holder), {}):
        return Rejected(Rejection.TARGET_STATE, f"`{holder}` is revoked and cannot hold a grant")
    if command.delegate is not None:
        authority = state.authorities.by_id.get(command.delegate)
        if authority is None:
            return Rejected(Rejection.AUTHORITY_UNKNOWN, f"`{command.delegate}` is no authority, add it first")
        if authority.status is AuthorityStatus.REVOKED:
            return Rejected(Rejection.AUTHORITY_STATE, f"`{command.delegate}` is revoked and cannot hand anything on")
    return Grant(
        command.id,
        holder,
        actions,
        resources,
        command.not_before,
        end,
        command.depth,
        context.seq,
        context.time,
        context.authors,
        delegate=command.delegate,
        domain=command.domain,
    )


def _uid(text: str, *, is_action: bool) -> str:
    uid = parse_uid(text)
    # One of the wrong kind would cover nothing: its author would believe that something was granted.
    if is_action_type(uid.type) is not is_action:
        raise DecodeError(f"`{uid}` is {'no' if is_action else 'an'} action")
    return str(uid)


def _find_wider(state: State, grant: Grant, parent: Grant) -> str:
    """In what respect a grant is wider than its parent; empty if in none.

    SAFETY: nobody hands on what he does not have. test_grants.test_delegate_table
    """
    if grant.depth >= parent.depth:
        return "it may be handed on more often"
    if grant.not_before < parent.not_before or grant.not_after > parent.not_after:
        return "its time is longer"
    if parent.domain not in state.domains.path(grant.domain):
        return "its domain is another one"
    # Which actions a group holds is for the schema to say, which apply does not read: the same uids only.
    if not set(grant.actions) <= set(parent.actions):
        return "it has other actions"
    if not all(_is_covered(state.entities.entities, uid, frozenset(parent.resources)) for uid in grant.resources):
        return "it has other resources"
    return ""


def _is_covered(entities: Mapping[str, Entity], uid: str, groups: frozenset[str]) -> bool:
    """Whether a uid is one of these, or belongs to one. False too if it belongs to more than a check could look at."""
    seen, todo = {uid}, [uid]
    while todo and len(seen) <= limits.SLICE_ENTITIES:
        current = todo.pop()
        if current in groups:
            return True
        entity = entities.get(current)
        new = [parent for parent in entity.parents if parent not in seen] if entity is not None else []
        seen.update(new)
        todo.extend(new)
    return False


def _add(state: State, grant: Grant, context: Context) -> Changes | Rejected:
    view = state.grants
    changes = Changes()
    # Each grant makes room by at most one, so a history of short ones never fills up the section.
    over = view.removable(context.time)
    if over is not None:
        changes.remove("grants", GRANT_PREFIX + over)
    most, held = (
        room(state, limit, Role.OPERATOR, context.authors) for limit in (limits.GRANTS, limits.GRANTS_OF_HOLDER)
    )
    if len(view.grants) - (over is not None) >= most:
        return Rejected(Rejection.LIMIT_EXCEEDED, f"{most} grants are kept, revoke some and wait")
    if len(view.of_holder(grant.holder)) >= held:
        return Rejected(Rejection.LIMIT_EXCEEDED, f"`{grant.holder}` holds {held} grants already")
    changes.put("grants", GRANT_PREFIX + grant.id, grant)
    return changes
