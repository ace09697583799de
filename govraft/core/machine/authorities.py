"""Authorities: add, assign, rotate, suspend, resume, revoke; and how many of them it takes.

    status       assign            rotate            suspend           resume            revoke
    active       active            active            suspended         AUTHORITY_STATE   revoked
    suspended    suspended         suspended         AUTHORITY_STATE   active            revoked
    revoked      AUTHORITY_STATE   AUTHORITY_STATE   AUTHORITY_STATE   AUTHORITY_STATE   AUTHORITY_STATE

Rules:
1. Whoever changes an authority holds `root` over all domains in which that authority has roles, before and after.
2. No change leaves a role unable to act: for each threshold there stay as many active holders (`check_roles_able`).
3. How many roots a domain takes is said by the roots of the domain above: they can always take it back.
4. A rotation is signed by a threshold of old keys, and each new key signs it. So the signers that remain, together with
   the new keys, are a threshold of new keys too, as TUF demands of a new root.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from govraft.core.crypto.keys import key_id
from govraft.core.machine.authority_view import AUTHORITY_PREFIX, RETIRED_PREFIX, threshold_key
from govraft.core.machine.new_key import check_possession, decode_new_key
from govraft.core.machine.requirement import Requirement, room
from govraft.core.machine.state import Changes, Context, State
from govraft.core.model import limits
from govraft.core.model.authority import Assignment, Authority, AuthorityStatus, Role
from govraft.core.model.commands import (
    AuthorityAdd,
    AuthorityAssign,
    AuthorityEmergencyRevoke,
    AuthorityResume,
    AuthorityRevoke,
    AuthorityRotate,
    AuthoritySuspend,
    ThresholdSet,
    required_role,
)
from govraft.core.model.ids import ROOT_DOMAIN
from govraft.core.model.outcome import Rejected, Rejection

__all__ = [
    "add_authority",
    "assign_authority",
    "check_roles_able",
    "of_added",
    "of_assigned",
    "of_rotated",
    "of_target_authority",
    "of_threshold",
    "resume_authority",
    "revoke_authority",
    "rotate_authorities",
    "set_threshold",
    "suspend_authority",
]

_OnTarget = AuthoritySuspend | AuthorityResume | AuthorityRevoke | AuthorityEmergencyRevoke


# Whose signatures it takes.


def of_added(state: State, command: AuthorityAdd) -> Requirement | Rejected:
    """`root` over all domains in which the new authority is to have roles."""
    return _root_over(state, command.assignments)


def of_assigned(state: State, command: AuthorityAssign) -> Requirement | Rejected:
    """`root` over all domains in which the authority has roles, and is to have them."""
    authority = state.authorities.by_id.get(command.id)
    if authority is None:
        return _unknown(command.id)
    # SAFETY: a domain's root takes no authority away from another domain.
    # test_authorities.py::test_scoped_roots_reach_only_their_domain
    return _root_over(state, (*command.assignments, *authority.assignments), new=command.assignments)


def of_rotated(state: State, command: AuthorityRotate) -> Requirement | Rejected:
    """`root` over all domains in which the authorities have roles."""
    held: list[Assignment] = []
    for item in command.keys:
        authority = state.authorities.by_id.get(item.id)
        if authority is None:
            return _unknown(item.id)
        held.extend(authority.assignments)
    return _root_over(state, held, new=())


def of_target_authority(state: State, command: _OnTarget) -> Requirement | Rejected:
    """The command's role over all domains in which the authority has roles."""
    authority = state.authorities.by_id.get(command.id)
    if authority is None:
        return _unknown(command.id)
    return Requirement(required_role(command), _domain_over(state, authority.assignments))


def of_threshold(state: State, command: ThresholdSet) -> Requirement | Rejected:
    """`root` of the domain; for the threshold of `root` itself, of the domain above."""
    path = state.domains.path(command.domain)
    if not path:
        return _unknown_domain(command.domain)
    # SAFETY: else a domain's roots could demand more signatures than the roots above it have, and be rid of them.
    # test_authorities.py::test_a_domain_can_be_taken_back
    return Requirement(Role.ROOT, path[min(1, len(path) - 1)] if command.role is Role.ROOT else command.domain)


def _root_over(
    state: State, assignments: Sequence[Assignment], *, new: Sequence[Assignment] | None = None
) -> Requirement | Rejected:
    for item in assignments if new is None else new:
        if not state.domains.path(item.domain):
            return _unknown_domain(item.domain)
    return Requirement(Role.ROOT, _domain_over(state, assignments))


def _domain_over(state: State, assignments: Iterable[Assignment]) -> str:
    return state.domains.common(item.domain for item in assignments)


# What the commands do.


def add_authority(state: State, command: AuthorityAdd, context: Context) -> Changes | Rejected:
    """Add an authority with a key that it proves to hold."""
    view = state.authorities
    if command.id in view.by_id:
        return Rejected(Rejection.AUTHORITY_EXISTS, f"there is an authority `{command.id}`, or was; choose another id")
    refused = _check_assignments(command.assignments)
    if refused is not None:
        return refused
    present = sum(item.status is not AuthorityStatus.REVOKED for item in view.by_id.values())
    most, ever = (
        room(state, limit, Role.ROOT, context.authors) for limit in (limits.AUTHORITIES, limits.AUTHORITIES_EVER)
    )
    if present >= most or len(view.by_id) >= ever:
        return Rejected(Rejection.LIMIT_EXCEEDED, f"{present} authorities, {len(view.by_id)} ever: there is no room")
    key = decode_new_key(state, command.public_key)
    if isinstance(key, Rejected):
        return key
    unproven = check_possession(context, key)
    if unproven is not None:
        return unproven
    changes = Changes()
    _put(changes, _assigned(Authority(command.id, key, ()), command.assignments))
    return changes


def assign_authority(state: State, command: AuthorityAssign, context: Context) -> Changes | Rejected:
    """Give an authority other roles."""
    del context
    authority = _changeable(state, command.id)
    if isinstance(authority, Rejected):
        return authority
    refused = _check_assignments(command.assignments)
    if refused is not None:
        return refused
    return _change(state, _assigned(authority, command.assignments))


def rotate_authorities(state: State, command: AuthorityRotate, context: Context) -> Changes | Rejected:
    """Replace keys, all or none. Nobody comes or goes, so every role stays able to act."""
    changes = Changes()
    rotated: dict[str, None] = {}
    fresh: dict[bytes, None] = {}
    for item in command.keys:
        authority = _changeable(state, item.id)
        if isinstance(authority, Rejected):
            return authority
        if item.id in rotated:
            return Rejected(Rejection.AUTHORITY_INVALID, f"`{item.id}` is named twice, name each authority once")
        key = decode_new_key(state, item.public_key)
        if isinstance(key, Rejected):
            return key
        if key in fresh:
            return Rejected(Rejection.KEY_IN_USE, f"key `{item.public_key}` is given to two, make another one")
        unproven = check_possession(context, key)
        if unproven is not None:
            return unproven
        rotated[item.id], fresh[key] = None, None
        _put(changes, msgspec.structs.replace(authority, public_key=key))
        # SAFETY: a key that was replaced never signs for anybody again. test_authorities.py::test_new_keys
        changes.put("authorities", RETIRED_PREFIX + key_id(authority.public_key), context.seq)
    most = room(state, limits.AUTHORITY_KEYS_RETIRED, Role.ROOT, context.authors)
    if len(state.authorities.retired) + len(rotated) > most:
        return Rejected(Rejection.LIMIT_EXCEEDED, f"over {most} keys would be retired")
    return changes


def suspend_authority(state: State, command: AuthoritySuspend, context: Context) -> Changes | Rejected:
    """Let an authority's signatures count for nothing, for now."""
    del context
    return _set_status(state, command, AuthorityStatus.SUSPENDED, (AuthorityStatus.ACTIVE,))


def resume_authority(state: State, command: AuthorityResume, context: Context) -> Changes | Rejected:
    """Let a suspended authority's signatures count again."""
    del context
    return _set_status(state, command, AuthorityStatus.ACTIVE, (AuthorityStatus.SUSPENDED,))


def revoke_authority(
    state: State, command: AuthorityRevoke | AuthorityEmergencyRevoke, context: Context
) -> Changes | Rejected:
    """Let an authority's signatures count for nothing for ever. Its record stays, so its key does not come back."""
    del context
    before = (AuthorityStatus.ACTIVE, AuthorityStatus.SUSPENDED)
    return _set_status(state, command, AuthorityStatus.REVOKED, before)


def set_threshold(state: State, command: ThresholdSet, context: Context) -> Changes | Rejected:
    """Say how many distinct keys a role needs in a domain and below."""
    del context
    role, domain, count = command.role, command.domain, command.count
    if count > limits.THRESHOLD_KEYS:
        return Rejected(Rejection.LIMIT_EXCEEDED, f"`count` is at most {limits.THRESHOLD_KEYS}")
    if count == 0 and domain == ROOT_DOMAIN:
        return Rejected(Rejection.THRESHOLD_INVALID, "the root domain inherits from nobody, `count` is at least 1")
    if count == 0 and (role, domain) not in state.authorities.thresholds:
        return Rejected(Rejection.THRESHOLD_INVALID, f"`{domain}` has no threshold of its own for `{role.value}`")
    unable = check_roles_able(state, thresholds={(role, domain): count or None})
    if unable is not None:
        return unable
    changes = Changes()
    if count:
        changes.put("authorities", threshold_key(role, domain), count)
    else:
        changes.remove("authorities", threshold_key(role, domain))
    return changes


def check_roles_able(
    state: State,
    *,
    authorities: Mapping[str, Authority] | None = None,
    thresholds: Mapping[tuple[Role, str], int | None] | None = None,
    path: Callable[[str], Sequence[str]] | None = None,
) -> Rejected | None:
    """Refuse a change after which some role could not act in some domain.

    Args:
        state: As it is.
        authorities: Those that change, as they would be, by id.
        thresholds: Those that change, as they would be; None: removed.
        path: The domain and all above it, up to the root, as it would be; empty for a domain that would be gone.
    """
    climb = state.domains.path if path is None else path
    held: Counter[tuple[Role, str]] = Counter()
    for authority in {**state.authorities.by_id, **(authorities or {})}.values():
        places = {(item.role, item.domain) for item in authority.assignments} if authority.is_active else set()
        for item in authority.assignments if places else ():
            # Whoever holds the role further up too is counted there, so on each path at most once.
            if not any((item.role, above) in places for above in climb(item.domain)[1:]):
                held[item.role, item.domain] += 1
    for (role, domain), needed in sorted({**state.authorities.thresholds, **(thresholds or {})}.items()):
        able = sum(held[role, above] for above in climb(domain))
        # SAFETY: a role that no set of its holders can exercise is lost for ever.
        # test_authorities.py::test_no_change_leaves_a_role_unable
        if needed is not None and able < needed:
            message = (
                f"{able} could sign as `{role.value}` in `{domain}`, {needed} must: add some or lower the threshold"
            )
            return Rejected(Rejection.ROLE_UNABLE, message)
    return None


def _set_status(
    state: State, command: _OnTarget, status: AuthorityStatus, before: tuple[AuthorityStatus, ...]
) -> Changes | Rejected:
    if len(command.reason) > limits.REASON_CHARS:
        return Rejected(Rejection.LIMIT_EXCEEDED, f"the reason is over {limits.REASON_CHARS} characters")
    authority = state.authorities.by_id.get(command.id)
    if authority is None:
        return _unknown(command.id)
    if authority.status not in before:
        return Rejected(Rejection.AUTHORITY_STATE, f"authority `{command.id}` is {authority.status.value}")
    reason = "" if status is AuthorityStatus.ACTIVE else command.reason
    return _change(state, msgspec.structs.replace(authority, status=status, reason=reason))


def _changeable(state: State, identifier: str) -> Authority | Rejected:
    authority = state.authorities.by_id.get(identifier)
    if authority is None:
        return _unknown(identifier)
    if authority.status is AuthorityStatus.REVOKED:
        return Rejected(Rejection.AUTHORITY_STATE, f"authority `{identifier}` is revoked for ever")
    return authority


def _change(state: State, authority: Authority) -> Changes | Rejected:
    unable = check_roles_able(state, authorities={authority.id: authority})
    if unable is not None:
        return unable
    changes = Changes()
    _put(changes, authority)
    return changes


def _put(changes: Changes, authority: Authority) -> None:
    changes.put("authorities", AUTHORITY_PREFIX + authority.id, authority)


def _assigned(authority: Authority, assignments: Sequence[Assignment]) -> Authority:
    roles = tuple(item.role for item in assignments if item.domain == ROOT_DOMAIN)
    scoped = tuple(item for item in assignments if item.domain != ROOT_DOMAIN)
    return msgspec.structs.replace(authority, roles=roles, scoped=scoped)


def _check_assignments(assignments: Sequence[Assignment]) -> Rejected | None:
    if len(assignments) > limits.AUTHORITY_ASSIGNMENTS:
        return Rejected(Rejection.LIMIT_EXCEEDED, f"over {limits.AUTHORITY_ASSIGNMENTS} `assignments`")
    if list(assignments) != sorted(set(assignments)):
        return Rejected(Rejection.AUTHORITY_INVALID, "`assignments` must be sorted by role and domain, each once")
    return None


def _unknown(identifier: str) -> Rejected:
    return Rejected(Rejection.AUTHORITY_UNKNOWN, f"there is no authority `{identifier}`, see `govraft authority list`")


def _unknown_domain(domain: str) -> Rejected:
    return Rejected(Rejection.DOMAIN_UNKNOWN, f"domain `{domain}` does not exist, create it first")
