"""Boundaries at the moment of a decision: is it within all that bind the resource's domain?

Every boundary of the domain and of each domain above it binds, whatever the others say: so those below can only
narrow. What a boundary asks of the context must be there and of the right type; else the request is beyond it.
Rates are not counted here: they come out as charges, for whoever answers to take.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from govraft.core.decision.finding import Charge, Finding, denied
from govraft.core.decision.grants import Reach
from govraft.core.machine.boundary_view import Boundary
from govraft.core.machine.machine import Machine
from govraft.core.model.commands import Window
from govraft.core.model.reasons import Reason

__all__ = ["check_boundaries"]

_MINUTE_MS = 60_000
_DAY_MINUTES = 24 * 60
_EPOCH_WEEKDAY = 3
"""1 January 1970 was a Thursday; Monday is 0."""


def check_boundaries(machine: Machine, reach: Reach, context: Mapping[str, Any], *, wall: int) -> Finding:
    """Whether a request is within its boundaries.

    Args:
        machine: The state.
        reach: Of the request.
        context: Of the request; not believed in anything.
        wall: WallMs of the decision.

    Returns:
        An allow with `charges` and `expires`, or `boundary_exceeded`.
    """
    expires: int | None = None
    charges: list[Charge] = []
    for boundary in machine.state.boundaries.binding(reach.path):
        if not _binds(boundary, reach):
            continue
        broken = _find_breach(boundary, context)
        ends = [_end_of(window, wall) for window in boundary.windows if _is_open(window, wall)]
        if boundary.windows and not ends:
            broken = "it is not the time for it"
        # SAFETY: one that is broken denies, whatever the others say. test_decision_boundaries.test_children_only_narrow
        if broken:
            return denied(Reason.BOUNDARY_EXCEEDED, f"boundary `{boundary.id}` of `{boundary.domain}`: {broken}")
        if ends:
            expires = max(ends) if expires is None else min(expires, max(ends))
        if boundary.rate is not None:
            key = f"{boundary.domain}/{boundary.id}/{reach.principals[0]}"
            charges.append(Charge(key, boundary.rate.count, boundary.rate.seconds))
    return Finding(None, expires=expires, charges=tuple(charges))


def _binds(boundary: Boundary, reach: Reach) -> bool:
    """Whether a boundary is about a request at all."""
    return (boundary.subject is None or boundary.subject in reach.principals) and (
        boundary.action is None or boundary.action in reach.actions
    )


def _find_breach(boundary: Boundary, context: Mapping[str, Any]) -> str:
    """What of the context is beyond a boundary; empty if nothing."""
    if boundary.regions:
        region = context.get("region")
        # SAFETY: who says nothing of where is nowhere. test_decision_boundaries.test_context_table
        if type(region) is not str or region not in boundary.regions:
            return "`context.region` must be one of its regions"
    if boundary.level_max is not None:
        level = context.get("level")
        if type(level) is not int or not 0 <= level <= boundary.level_max:
            return f"`context.level` must be a whole number from 0 to {boundary.level_max}"
    return ""


def _is_open(window: Window, wall: int) -> bool:
    minutes = wall // _MINUTE_MS
    weekday = (minutes // _DAY_MINUTES + _EPOCH_WEEKDAY) % 7
    return weekday in window.days and window.start <= minutes % _DAY_MINUTES < window.end


def _end_of(window: Window, wall: int) -> int:
    """WallMs at which a window that is open closes."""
    midnight = wall // _MINUTE_MS // _DAY_MINUTES * _DAY_MINUTES
    return (midnight + window.end) * _MINUTE_MS
