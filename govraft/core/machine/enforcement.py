"""Enforcement: quarantine, release, revoke.

    marks on a target   quarantine      release           revoke
    none                quarantined     NOT_QUARANTINED   revoked
    quarantined         ALREADY_…       none              quarantined, revoked
    revoked             ALREADY_REVOKED NOT_QUARANTINED   ALREADY_REVOKED
    both                ALREADY_REVOKED revoked           ALREADY_REVOKED

Nothing ends a revocation. A target need not exist as an entity: what is not registered yet can be stopped too.
"""

from __future__ import annotations

from collections.abc import Mapping

from govraft.core.machine.records import Mark, mark_key
from govraft.core.machine.state import Changes, Context, State
from govraft.core.model import limits
from govraft.core.model.commands import EnforcementCommand, Quarantine, Release, Revoke, TargetKind
from govraft.core.model.ids import is_action_type, parse_uid
from govraft.core.model.outcome import Rejected, Rejection
from govraft.errors import DecodeError

__all__ = ["QUARANTINED", "REVOKED", "quarantine", "release", "revoke"]

QUARANTINED = "quarantined"
REVOKED = "revoked"


def quarantine(state: State, command: Quarantine, context: Context) -> Changes | Rejected:
    """Quarantine a target."""
    key = _target_key(state, command)
    if isinstance(key, Rejected):
        return key
    marks = state.entities.marks.get(key, {})
    if REVOKED in marks:
        return Rejected(Rejection.ALREADY_REVOKED, f"{command.kind.value} `{command.id}` is revoked for ever")
    if QUARANTINED in marks:
        return Rejected(Rejection.ALREADY_QUARANTINED, f"{command.kind.value} `{command.id}` is quarantined already")
    return _add(state, key, QUARANTINED, command, context)


def release(state: State, command: Release, context: Context) -> Changes | Rejected:
    """Release a target from quarantine. A revocation stays."""
    del context
    key = _target_key(state, command)
    if isinstance(key, Rejected):
        return key
    marks = state.entities.marks.get(key, {})
    if QUARANTINED not in marks:
        return Rejected(Rejection.NOT_QUARANTINED, f"{command.kind.value} `{command.id}` is not quarantined")
    changes = Changes()
    _store(changes, key, {name: mark for name, mark in marks.items() if name != QUARANTINED})
    return changes


def revoke(state: State, command: Revoke, context: Context) -> Changes | Rejected:
    """Revoke a target for ever."""
    key = _target_key(state, command)
    if isinstance(key, Rejected):
        return key
    if REVOKED in state.entities.marks.get(key, {}):
        return Rejected(Rejection.ALREADY_REVOKED, f"{command.kind.value} `{command.id}` is revoked already")
    return _add(state, key, REVOKED, command, context)


def _target_key(state: State, command: EnforcementCommand) -> str | Rejected:
    if len(command.reason) > limits.REASON_CHARS:
        return Rejected(Rejection.LIMIT_EXCEEDED, f"the reason is over {limits.REASON_CHARS} characters")
    kind = command.kind
    if kind is TargetKind.NODE:
        if state.electorate.find(command.id) is None:
            return Rejected(Rejection.TARGET_UNKNOWN, f"`{command.id[:64]}` is not a node of this cluster")
        return mark_key(kind.value, command.id)
    try:
        uid = parse_uid(command.id)
    except DecodeError as error:
        return Rejected(Rejection.TARGET_INVALID, str(error))
    # A mark of the wrong kind would be looked up by nobody: its author would believe the target stopped.
    if is_action_type(uid.type) is not (kind is TargetKind.ACTION):
        return Rejected(Rejection.TARGET_INVALID, f"`{command.id}` cannot be the {kind.value} of a request")
    # SAFETY: keyed by the canonical spelling, so no other one evades the mark. test_enforcement.test_spellings
    return mark_key(kind.value, str(uid))


def _add(state: State, key: str, name: str, command: EnforcementCommand, context: Context) -> Changes | Rejected:
    marks = state.entities.marks.get(key, {})
    if not marks and len(state.entities.marks) >= limits.MARKS:
        return Rejected(Rejection.LIMIT_EXCEEDED, f"{limits.MARKS} targets are marked, release some")
    changes = Changes()
    mark = Mark(command.reason, context.authors, context.seq, context.time)
    _store(changes, key, {**marks, name: mark})
    return changes


def _store(changes: Changes, key: str, marks: Mapping[str, Mark]) -> None:
    if marks:
        changes.put("entities", key, marks)
    else:
        changes.remove("entities", key)
