"""Boundaries: where, when, how often and at what level anything may execute at all."""

from __future__ import annotations

from typing import Annotated

import msgspec

from govraft.core.model.commands.header import CommandHeader, DomainId, Name
from govraft.core.model.ids import ROOT_DOMAIN
from govraft.core.model.limits import BOUNDARY_REGIONS, BOUNDARY_WINDOWS, NAME_CHARS

__all__ = ["BoundaryRemove", "BoundarySet", "Rate", "Window"]

_Minute = Annotated[int, msgspec.Meta(ge=0, le=24 * 60)]
_Day = Annotated[int, msgspec.Meta(ge=0, le=6)]
_Region = Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_CHARS)]


class Window(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A span of the week in UTC.

    Attributes:
        days: 0 (Monday) to 6, sorted, distinct.
        start, end: Minutes of the day, start < end; `end` is outside.
    """

    days: Annotated[tuple[_Day, ...], msgspec.Meta(min_length=1, max_length=7)]
    start: _Minute
    end: _Minute


class Rate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """At most `count` allows in any `seconds`, in the whole cluster, for each subject.

    Each node allows `count` divided by the number of members, rounded down: with more members than `count`, none.
    """

    count: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
    seconds: Annotated[int, msgspec.Meta(ge=1, le=86_400)]


class BoundarySet(CommandHeader, frozen=True, kw_only=True):
    """Set a boundary. It binds the domain and all below it; a field that is None or empty bounds nothing.

    Attributes:
        id: Unique in the domain; a boundary of that id is replaced.
        subject: Uid of a subject or group; None: everyone.
        action: Uid of an action or group; None: every one.
        windows: It may execute only in one of them.
        regions: The request's `context.region` must be one of them.
        rate: How often.
        level_max: The request's `context.level` must be a whole number of at most this.
    """

    id: Name
    subject: str | None = None
    action: str | None = None
    windows: Annotated[tuple[Window, ...], msgspec.Meta(max_length=BOUNDARY_WINDOWS)] = ()
    regions: Annotated[tuple[_Region, ...], msgspec.Meta(max_length=BOUNDARY_REGIONS)] = ()
    rate: Rate | None = None
    level_max: Annotated[int, msgspec.Meta(ge=0, le=1_000)] | None = None
    domain: DomainId = ROOT_DOMAIN


class BoundaryRemove(CommandHeader, frozen=True, kw_only=True):
    """Remove a boundary."""

    id: Name
    domain: DomainId = ROOT_DOMAIN
