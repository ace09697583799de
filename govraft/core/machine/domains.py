"""Domains: create, move, remove.

    create  signed by the roots of the parent, there and above
    move    signed by the roots of the lowest domain above the domain, its old and its new parent
    remove  signed by the roots of the parent; nothing may be left in the domain

A domain can be removed when it has no domain below it, no entity, no policy (its latest and its active version are
empty), no grant that may still count, no boundary, no role that is assigned in it and no threshold. What it published
and what it was marked with goes with it. Its name then rests for `DOMAIN_NAME_REST_MS`: a command or proposal that was
signed for the removed domain is void before another domain can have the name.
"""

from __future__ import annotations

from collections.abc import Iterator

from govraft.core.machine.authorities import check_roles_able
from govraft.core.machine.domain_view import DOMAIN_PREFIX, REMOVED_PREFIX, Domain
from govraft.core.machine.policies import drop_domain
from govraft.core.machine.records import mark_key
from govraft.core.machine.requirement import Requirement, room
from govraft.core.machine.state import Changes, Context, State
from govraft.core.model import limits
from govraft.core.model.authority import AuthorityStatus, Role
from govraft.core.model.commands import DomainCreate, DomainMove, DomainRemove, TargetKind
from govraft.core.model.ids import ROOT_DOMAIN
from govraft.core.model.outcome import Rejected, Rejection

__all__ = ["create_domain", "move_domain", "of_created", "of_moved", "of_removed", "remove_domain"]


def of_created(state: State, command: DomainCreate) -> Requirement:
    """The roots of the parent."""
    del state
    return Requirement(Role.ROOT, command.parent)


def of_moved(state: State, command: DomainMove) -> Requirement | Rejected:
    """The roots of the lowest domain above the domain, its old and its new parent."""
    domain = _find(state, command.id)
    if isinstance(domain, Rejected):
        return domain
    if not state.domains.path(command.parent):
        return _unknown(command.parent)
    # SAFETY: nobody takes a domain from under those above it. test_domains.test_who_may_move
    return Requirement(Role.ROOT, state.domains.common([domain.parent, command.parent]))


def of_removed(state: State, command: DomainRemove) -> Requirement | Rejected:
    """The roots of the parent."""
    domain = _find(state, command.id)
    return domain if isinstance(domain, Rejected) else Requirement(Role.ROOT, domain.parent)


def create_domain(state: State, command: DomainCreate, context: Context) -> Changes | Rejected:
    """Create a domain. Refused: the name is taken or rests, no such parent, too many, too deep."""
    view = state.domains
    if command.id == ROOT_DOMAIN or command.id in view.domains:
        return Rejected(Rejection.DOMAIN_EXISTS, f"domain `{command.id}` exists already")
    # SAFETY: what was signed for the domain of that name before cannot reach this one.
    # test_domains.test_a_removed_name_rests
    if view.resting.get(command.id, 0) > context.time:
        return Rejected(Rejection.DOMAIN_EXISTS, f"a domain `{command.id}` was removed, its name is not free again yet")
    above = view.path(command.parent)
    if not above:
        return _unknown(command.parent)
    most = room(state, limits.DOMAINS, Role.ROOT, context.authors)
    if len(view.domains) >= most:
        return Rejected(Rejection.LIMIT_EXCEEDED, f"at most {most} domains, remove some")
    if len(above) > limits.DOMAIN_DEPTH:
        return Rejected(Rejection.LIMIT_EXCEEDED, f"domains stand at most {limits.DOMAIN_DEPTH} deep")
    changes = Changes()
    _forget_rested(state, context, changes)
    if command.id in view.resting:
        changes.remove("domains", REMOVED_PREFIX + command.id)
    record = Domain(command.id, command.parent, context.seq, context.time, context.authors)
    changes.put("domains", DOMAIN_PREFIX + command.id, record)
    return changes


def move_domain(state: State, command: DomainMove, context: Context) -> Changes | Rejected:
    """Move a domain. Refused: nothing changes, below itself, too deep, a role could not act any more."""
    view = state.domains
    domain = _find(state, command.id)
    if isinstance(domain, Rejected):
        return domain
    above = view.path(command.parent)
    if not above:
        return _unknown(command.parent)
    if command.parent == domain.parent:
        return Rejected(Rejection.DOMAIN_INVALID, f"`{command.parent}` is the parent of `{command.id}` already")
    # SAFETY: a domain above itself would have no root, and no end. test_domains.test_move_table
    if command.id in above:
        return Rejected(Rejection.DOMAIN_INVALID, f"`{command.parent}` is `{command.id}` or stands below it")
    height = max(len(view.path(name)) for name in view.below(command.id)) - len(view.path(command.id))
    if len(above) + height > limits.DOMAIN_DEPTH:
        return Rejected(Rejection.LIMIT_EXCEEDED, f"domains stand at most {limits.DOMAIN_DEPTH} deep")

    def path(name: str) -> tuple[str, ...]:
        now = view.path(name)
        return (*now[: now.index(command.id) + 1], *above) if command.id in now else now

    # SAFETY: a move takes holders of roles from above a threshold. test_domains.test_a_move_leaves_no_role_unable
    refused = check_roles_able(state, path=path)
    if refused is not None:
        return refused
    changes = Changes()
    record = Domain(command.id, command.parent, context.seq, context.time, context.authors)
    changes.put("domains", DOMAIN_PREFIX + command.id, record)
    return changes


def remove_domain(state: State, command: DomainRemove, context: Context) -> Changes | Rejected:
    """Remove a domain. Refused: the root, unknown, anything left in it, too many names rest."""
    domain = _find(state, command.id)
    if isinstance(domain, Rejected):
        return domain
    # SAFETY: what belongs to a domain never belongs to none. test_domains.test_remove_table
    left = next(_contents(state, command.id, context.time), None)
    if left is not None:
        return Rejected(Rejection.DOMAIN_IN_USE, f"`{command.id}` has {left}, remove that first")
    changes = Changes()
    _forget_rested(state, context, changes)
    if len(state.domains.resting) >= room(state, limits.DOMAIN_NAMES_RESTING, Role.ROOT, context.authors):
        return Rejected(Rejection.LIMIT_EXCEEDED, "too many names of removed domains rest, wait until some are free")
    drop_domain(state.policies, command.id, changes)
    marks = mark_key(TargetKind.DOMAIN.value, command.id)
    if marks in state.entities.marks:
        changes.remove("entities", marks)
    changes.remove("domains", DOMAIN_PREFIX + command.id)
    changes.put("domains", REMOVED_PREFIX + command.id, context.time + limits.DOMAIN_NAME_REST_MS)
    return changes


def _contents(state: State, domain: str, time: int) -> Iterator[str]:
    """What keeps a domain from being removed, for people."""
    children = state.domains.children(domain)
    if children:
        yield f"domain `{children[0]}` below it"
    if state.entities.counts[domain]:
        yield f"{state.entities.counts[domain]} entities"
    own = state.policies.of(domain)
    active = own.versions.get(own.active.version) if own.active is not None else None
    if any(version is not None and version.policy_ids for version in (own.latest, active)):
        yield "policies: publish and activate a version without any"
    if state.grants.has_live(domain, time):
        yield "a grant"
    if state.boundaries.of(domain):
        yield "a boundary"
    for authority in state.authorities.by_id.values():
        # Nothing ends a revocation: what such an authority was assigned never counts again.
        if authority.status is not AuthorityStatus.REVOKED and any(x.domain == domain for x in authority.scoped):
            yield f"a role of `{authority.id}`"
    for role, place in state.authorities.thresholds:
        if place == domain:
            yield f"a threshold of `{role.value}`"


def _forget_rested(state: State, context: Context, changes: Changes) -> None:
    """Forget some names that rest no longer: each removal adds one, so a few at a time keep pace."""
    for name in state.domains.rested(context.time, limits.DOMAIN_NAMES_PRUNED_PER_ENTRY):
        changes.remove("domains", REMOVED_PREFIX + name)


def _find(state: State, identifier: str) -> Domain | Rejected:
    if identifier == ROOT_DOMAIN:
        return Rejected(Rejection.DOMAIN_INVALID, "the root domain stays where it is")
    return state.domains.domains.get(identifier) or _unknown(identifier)


def _unknown(identifier: str) -> Rejected:
    return Rejected(Rejection.DOMAIN_UNKNOWN, f"domain `{identifier}` does not exist, create it first")
