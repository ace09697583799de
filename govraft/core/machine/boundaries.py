"""Boundaries: set, remove.

    boundary   set                  remove
    absent     applied              BOUNDARY_UNKNOWN
    present    applied (replaces)   applied

Whoever may command in a domain sets its boundaries, as tight or loose as he likes: those of the domains above go on
binding, and he has no say over them.
"""

from __future__ import annotations

from govraft.core.machine.boundary_view import Boundary, boundary_key
from govraft.core.machine.requirement import room
from govraft.core.machine.state import Changes, Context, State
from govraft.core.model import limits
from govraft.core.model.authority import Role
from govraft.core.model.commands import BoundaryRemove, BoundarySet, Window
from govraft.core.model.ids import is_action_type, parse_uid
from govraft.core.model.outcome import Rejected, Rejection
from govraft.errors import DecodeError

__all__ = ["remove_boundary", "set_boundary"]


def set_boundary(state: State, command: BoundarySet, context: Context) -> Changes | Rejected:
    """Set a boundary, or replace the one of that id."""
    boundary = _read(command, context)
    if isinstance(boundary, Rejected):
        return boundary
    view = state.boundaries
    if command.id not in view.of(command.domain):
        most = room(state, limits.BOUNDARIES, Role.OPERATOR, context.authors)
        if len(view) >= most:
            return Rejected(Rejection.LIMIT_EXCEEDED, f"there are {most} boundaries, remove some")
        if len(view.of(command.domain)) >= limits.BOUNDARIES_OF_DOMAIN:
            message = f"`{command.domain}` has {limits.BOUNDARIES_OF_DOMAIN} boundaries, remove some"
            return Rejected(Rejection.LIMIT_EXCEEDED, message)
    changes = Changes()
    changes.put("boundaries", boundary_key(command.domain, command.id), boundary)
    return changes


def remove_boundary(state: State, command: BoundaryRemove, context: Context) -> Changes | Rejected:
    """Remove a boundary."""
    del context
    if command.id not in state.boundaries.of(command.domain):
        message = f"`{command.domain}` has no boundary `{command.id}`, see `govraft boundary list`"
        return Rejected(Rejection.BOUNDARY_UNKNOWN, message)
    changes = Changes()
    changes.remove("boundaries", boundary_key(command.domain, command.id))
    return changes


def _read(command: BoundarySet, context: Context) -> Boundary | Rejected:
    if not command.windows and not command.regions and command.rate is None and command.level_max is None:
        # It would look like a protection and be none.
        return Rejected(Rejection.BOUNDARY_INVALID, "it bounds nothing: give windows, regions, a rate or a level")
    if not all(map(_is_sound, command.windows)):
        return Rejected(Rejection.BOUNDARY_INVALID, "a window's days must be sorted and distinct, start before end")
    if len(set(command.regions)) != len(command.regions):
        return Rejected(Rejection.BOUNDARY_INVALID, "a region is named twice, leave one out")
    try:
        subject = None if command.subject is None else _uid(command.subject, is_action=False)
        action = None if command.action is None else _uid(command.action, is_action=True)
    except DecodeError as error:
        return Rejected(Rejection.BOUNDARY_INVALID, str(error))
    return Boundary(
        command.id,
        command.domain,
        context.seq,
        context.time,
        context.authors,
        subject=subject,
        action=action,
        windows=command.windows,
        regions=tuple(sorted(command.regions)),
        rate=command.rate,
        level_max=command.level_max,
    )


def _is_sound(window: Window) -> bool:
    return window.start < window.end and all(a < b for a, b in zip(window.days, window.days[1:], strict=False))


def _uid(text: str, *, is_action: bool) -> str:
    uid = parse_uid(text)
    # SAFETY: one of the wrong kind would bind no request. test_boundaries.test_set_table
    if is_action_type(uid.type) is not is_action:
        raise DecodeError(f"`{uid}` is {'no' if is_action else 'an'} action")
    return str(uid)
