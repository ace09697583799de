"""Enforcement: quarantine, release, isolate, revoke, invalidate.

    marks on a target   quarantine      isolate           release           revoke            invalidate
    none                quarantined     isolated          NOT_QUARANTINED   revoked           invalidated
    quarantined         ALREADY_…       and isolated      none              and revoked       and invalidated
    isolated            ALREADY_…       TARGET_STATE      none, by `root`   and revoked       and invalidated
    invalidated         and quarantined and isolated      NOT_QUARANTINED   and revoked       TARGET_STATE
    revoked             ALREADY_REVOKED ALREADY_REVOKED   NOT_QUARANTINED   ALREADY_REVOKED   ALREADY_REVOKED

From rules 2 on a command may list many targets of one kind. It is signed as for all of them, and done whole or not at
all. What one target alone would be refused for as `ALREADY_…`, `NOT_QUARANTINED` or `TARGET_STATE`, a list leaves as it
is, and says so: an incident is one round, whatever others have stopped meanwhile.

A release ends quarantine and isolation together, and nothing else. Nothing ends a revocation. An invalidation ends
when the target is replaced, by whoever could have made it:

    subject, resource   an entity of that uid is put
    attestation         its attestor supersedes it
    node                its key is rotated
    policy              each domain whose active version holds it has activated a later version since
    domain              it activates a later version of its policies
    action              the root domain activates a later version: actions are those of its schema

Whoever marks holds the role in the domain of the target; whoever releases, also in the domain in which the mark was
made, so that no mark is lifted by bringing its target into a domain of one's own. A subject, resource or action need
not exist: what is not registered yet can be stopped too. Policies, attestations, nodes and domains must be known, or a
slip of the pen would pass for a measure. A mark on a forbid would change nothing, so there is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from govraft.core.machine.records import MARK_PREFIX, Mark, mark_key
from govraft.core.machine.requirement import Requirement, room
from govraft.core.machine.state import Changes, Context, State
from govraft.core.model import limits
from govraft.core.model.authority import Role
from govraft.core.model.commands import (
    Attest,
    Command,
    EnforcementCommand,
    EntityPut,
    Invalidate,
    Isolate,
    MemberRotate,
    PolicyActivate,
    Quarantine,
    Release,
    Revoke,
    TargetKind,
)
from govraft.core.model.ids import HEX_DIGEST_PATTERN, ROOT_DOMAIN, canonical_uid, is_action_type, parse_uid
from govraft.core.model.outcome import Rejected, Rejection
from govraft.errors import DecodeError

__all__ = [
    "INVALIDATED",
    "ISOLATED",
    "QUARANTINED",
    "REVOKED",
    "end_invalidations",
    "invalidate",
    "isolate",
    "of_release",
    "of_target",
    "quarantine",
    "release",
    "revoke",
]

QUARANTINED = "quarantined"
ISOLATED = "isolated"
REVOKED = "revoked"
INVALIDATED = "invalidated"

_POLICY_MARKS = mark_key(TargetKind.POLICY.value, "")
_ENDED_BY_RELEASE = (ISOLATED, QUARANTINED)
_HEX_DIGEST = re.compile(HEX_DIGEST_PATTERN)
# The word after any annotations and comments that says what a policy does. An annotation may be named like an effect.
_EFFECT = re.compile(
    r'//[^\n\r]*+|"(?:[^"\\]|\\.)*+"|@(?:\s|//[^\n\r]*+)*+[A-Za-z0-9_]++|(permit|forbid)(?![A-Za-z0-9_])|[A-Za-z0-9_]++',
    re.DOTALL,
)


def of_target(state: State, command: EnforcementCommand) -> Requirement:
    """A threshold of operators in the domain of the target; of a list, in the lowest domain above all of them."""
    # SAFETY: nobody stops more by a list than one by one. test_enforcement_lists.test_who_may_sign_a_list
    return Requirement(Role.OPERATOR, _common(state, [_domain_of(state, command.kind, name) for name in command.ids]))


def of_release(state: State, command: Release) -> Requirement:
    """As marking it took; of `root` if the target is isolated; for a domain, in the domain above it."""
    domains, is_isolated = [], False
    for target in command.ids:
        domain, key = _domain_of(state, command.kind, target), _key(command.kind, target)
        marks = {} if isinstance(key, Rejected) else state.entities.marks.get(key, {})
        if command.kind is TargetKind.DOMAIN and domain != ROOT_DOMAIN:
            domain = state.domains.path(domain)[1]
        domains += [domain, *(marks[name].domain for name in _ENDED_BY_RELEASE if name in marks)]
        is_isolated |= ISOLATED in marks
    # SAFETY: a narrower author never lifts a wider one's mark. test_enforcement.test_who_may_release
    return Requirement(Role.ROOT if is_isolated else Role.OPERATOR, state.domains.common(domains))


def quarantine(state: State, command: Quarantine, context: Context) -> Changes | Rejected:
    """Quarantine a target."""
    refused_by = {
        REVOKED: Rejection.ALREADY_REVOKED,
        ISOLATED: Rejection.ALREADY_QUARANTINED,
        QUARANTINED: Rejection.ALREADY_QUARANTINED,
    }
    return _mark(state, command, context, QUARANTINED, refused_by)


def isolate(state: State, command: Isolate, context: Context) -> Changes | Rejected:
    """Quarantine a target so that only `root` releases it."""
    refused_by = {REVOKED: Rejection.ALREADY_REVOKED, ISOLATED: Rejection.TARGET_STATE}
    return _mark(state, command, context, ISOLATED, refused_by)


def revoke(state: State, command: Revoke, context: Context) -> Changes | Rejected:
    """Revoke a target for ever."""
    if command.kind is TargetKind.DOMAIN and ROOT_DOMAIN in command.ids:
        return Rejected(Rejection.TARGET_INVALID, "nothing could follow the root domain, quarantine or isolate it")
    return _mark(state, command, context, REVOKED, {REVOKED: Rejection.ALREADY_REVOKED})


def invalidate(state: State, command: Invalidate, context: Context) -> Changes | Rejected:
    """Let a target count for nothing until it is replaced."""
    refused_by = {REVOKED: Rejection.ALREADY_REVOKED, INVALIDATED: Rejection.TARGET_STATE}
    return _mark(state, command, context, INVALIDATED, refused_by)


def release(state: State, command: Release, context: Context) -> Changes | Rejected:
    """Release a target from quarantine and isolation. A revocation and an invalidation stay."""
    del context
    keys = _check_reason(command) or _keys(command)
    if isinstance(keys, Rejected):
        return keys
    changes = Changes()
    for key, target in keys.items():
        marks = state.entities.marks.get(key, {})
        left = {name: mark for name, mark in marks.items() if name not in _ENDED_BY_RELEASE}
        if len(left) < len(marks):
            _store(changes, key, left)
        elif command.targets:
            changes.unchanged.append(target)
        else:
            return Rejected(Rejection.NOT_QUARANTINED, f"{_target(command.kind, target)} is not quarantined")
    return changes


def end_invalidations(state: State, command: Command, within: str, changes: Changes) -> None:
    """Add to the changes of a command what ends because the command replaces targets.

    Args:
        state: Before the command.
        command: About to be applied.
        within: The domain for which its authors signed.
        changes: Of the command.
    """
    for key in _replaced(state, command):
        marks = state.entities.marks.get(key, {})
        mark = marks.get(INVALIDATED)
        # SAFETY: whoever may only act further down cannot declare sound what was declared unsound above.
        # test_invalidation.test_an_invalidation_ends_only_from_above
        if mark is not None and (key.startswith(_POLICY_MARKS) or within in state.domains.path(mark.domain)):
            _store(changes, key, {name: marks[name] for name in marks if name != INVALIDATED})


def _replaced(state: State, command: Command) -> Iterator[str]:
    """Keys of the marks on what a command replaces."""
    if isinstance(command, EntityPut):
        for fields in command.entities:
            for entity_kind in (TargetKind.SUBJECT, TargetKind.RESOURCE):
                yield mark_key(entity_kind.value, canonical_uid(fields.uid))
    elif isinstance(command, Attest) and command.supersedes is not None:
        yield mark_key(TargetKind.ATTESTATION.value, command.supersedes)
    elif isinstance(command, MemberRotate):
        yield mark_key(TargetKind.NODE.value, command.member.id)
    elif isinstance(command, PolicyActivate):
        yield mark_key(TargetKind.DOMAIN.value, command.domain)
        for key, marks in state.entities.marks.items():
            kind, target = key[len(MARK_PREFIX) :].split("/", 1)
            mark = marks.get(INVALIDATED) if kind == TargetKind.POLICY.value else None
            # Actions are marked in the root domain, so no other domain's version ends that.
            if kind == TargetKind.ACTION.value or (
                mark is not None and _is_reviewed(state, command, bytes.fromhex(target), mark)
            ):
                yield key


def _is_reviewed(state: State, command: PolicyActivate, policy: bytes, mark: Mark) -> bool:
    """Whether this activation is the last of those that a marked policy waits for."""
    domains = state.policies.domains_of(policy)
    if command.domain not in domains:
        return False
    waits_for = []
    for domain in domains:
        own = state.policies.of(domain)
        is_older = own.active is not None and own.active.seq < mark.seq
        if is_older and own.active is not None and policy in own.versions[own.active.version].policy_ids:
            waits_for.append(domain)
    if waits_for:
        return waits_for == [command.domain]
    # It was active nowhere: then whoever puts it to use must be at least as high up as who marked it.
    holds = policy in state.policies.of(command.domain).versions[command.version].policy_ids
    return holds and command.domain in state.domains.path(mark.domain)


def _common(state: State, domains: list[str]) -> str:
    return domains[0] if len(domains) == 1 else state.domains.common(domains)


def _domain_of(state: State, kind: TargetKind, name: str) -> str:
    """The domain of a target; the root for what has none, is unknown, or cannot be a target at all."""
    if kind is TargetKind.DOMAIN:
        return name if state.domains.path(name) else ROOT_DOMAIN
    if kind is TargetKind.POLICY:
        known = _HEX_DIGEST.fullmatch(name) is not None
        return state.domains.common(state.policies.domains_of(bytes.fromhex(name)) if known else ())
    if kind is TargetKind.ATTESTATION:
        attestation = state.attestations.by_digest.get(name)
        uid: str | None = None if attestation is None else attestation.entity
    else:
        key = _key(kind, name)
        is_entity = kind in (TargetKind.SUBJECT, TargetKind.RESOURCE) and isinstance(key, str)
        uid = canonical_uid(name) if is_entity else None
    return ROOT_DOMAIN if uid is None else state.entities.domain(uid)


def _keys(command: EnforcementCommand) -> dict[str, str] | Rejected:
    """The targets by the keys of their marks: two spellings of a uid are one target."""
    keys: dict[str, str] = {}
    for name in command.ids:
        key = _key(command.kind, name)
        if isinstance(key, Rejected):
            return key
        keys.setdefault(key, name)
    return keys


def _key(kind: TargetKind, name: str) -> str | Rejected:
    """Key of the marks on a target, whether or not there is such a thing."""
    if kind not in (TargetKind.SUBJECT, TargetKind.RESOURCE, TargetKind.ACTION):
        return mark_key(kind.value, name)
    try:
        uid = parse_uid(name)
    except DecodeError as error:
        return Rejected(Rejection.TARGET_INVALID, str(error))
    # A mark of the wrong kind would be looked up by nobody: its author would believe the target stopped.
    if is_action_type(uid.type) is not (kind is TargetKind.ACTION):
        return Rejected(Rejection.TARGET_INVALID, f"{_target(kind, name)} cannot be that of a request")
    # SAFETY: keyed by the canonical spelling, so no other one evades the mark. test_enforcement.test_spellings
    return mark_key(kind.value, str(uid))


def _check_known(state: State, kind: TargetKind, name: str) -> Rejected | None:
    """Refuse to mark what does not exist, where that can be told."""
    if kind is TargetKind.POLICY:
        return _check_policy(state, name)
    known = {
        TargetKind.NODE: lambda: state.electorate.find(name) is not None,
        TargetKind.DOMAIN: lambda: bool(state.domains.path(name)),
        TargetKind.ATTESTATION: lambda: name in state.attestations.by_digest,
    }
    if kind in known and not known[kind]():
        return Rejected(Rejection.TARGET_UNKNOWN, f"{_target(kind, name)} is not known in this cluster")
    return None


def _check_policy(state: State, name: str) -> Rejected | None:
    target, text = _target(TargetKind.POLICY, name), state.policies.text(name)
    if text is None:
        return Rejected(Rejection.TARGET_UNKNOWN, f"{target} is in no version that is kept")
    # SAFETY: nobody takes a mark on a forbid for a measure: it would go on forbidding, and nothing else.
    # test_enforcement.test_only_permits_can_be_marked
    effect = next((match[1] for match in _EFFECT.finditer(text) if match[1]), None)
    if effect != "permit":
        return Rejected(Rejection.TARGET_INVALID, f"{target} is no permit, publish a version without it")
    return None


def _check_reason(command: EnforcementCommand) -> Rejected | None:
    if len(command.reason) > limits.REASON_CHARS:
        return Rejected(Rejection.LIMIT_EXCEEDED, f"the reason is over {limits.REASON_CHARS} characters")
    return None


def _mark(
    state: State, command: EnforcementCommand, context: Context, name: str, refused_by: Mapping[str, Rejection]
) -> Changes | Rejected:
    """Add a mark, unless one of those that refuse it is there."""
    keys = _check_reason(command) or _keys(command)
    if isinstance(keys, Rejected):
        return keys
    changes, kind, new = Changes(), command.kind, 0
    for key, target in keys.items():
        refused = _check_known(state, kind, target)
        if refused is not None:
            return refused
        marks = state.entities.marks.get(key, {})
        other = next((other for other in refused_by if other in marks), None)
        if other is None:
            mark = Mark(command.reason, context.authors, context.seq, context.time, _domain_of(state, kind, target))
            _store(changes, key, {**marks, name: mark})
            new += not marks
        elif command.targets:
            changes.unchanged.append(target)
        else:
            return Rejected(refused_by[other], f"{_target(kind, target)} is {other} already")
    most = room(state, limits.MARKS, Role.OPERATOR, context.authors)
    if new and len(state.entities.marks) + new > most:
        return Rejected(Rejection.LIMIT_EXCEEDED, f"{most} targets can be marked, release some")
    return changes


def _target(kind: TargetKind, name: str) -> str:
    return f"{kind.value} `{name[:512]}`"


def _store(changes: Changes, key: str, marks: Mapping[str, Mark]) -> None:
    if marks:
        changes.put("entities", key, marks)
    else:
        changes.remove("entities", key)
