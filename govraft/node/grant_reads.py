"""What a node tells about grants and boundaries."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import Any

from govraft.core.machine.boundary_view import BOUNDARY_PREFIX, Boundary
from govraft.core.machine.grant_view import GRANT_PREFIX, Grant
from govraft.core.machine.machine import Machine
from govraft.core.model.ids import canonical_uid
from govraft.core.model.limits import FRAME_BYTES
from govraft.errors import DecodeError, InputError
from govraft.ports.clock import Clock

__all__ = ["GRANT_PAGE_MAX", "grant_reads"]

GRANT_PAGE_MAX = 500
"""Fewer if they are large."""

Reader = Callable[[dict[str, Any]], object]


def grant_reads(machine: Machine, clock: Clock) -> dict[str, Reader]:
    """The reads by name. Each may raise `InputError` for unusable parameters."""
    return {
        "boundaries": lambda params: _boundaries(machine, params),
        "grant": lambda params: _grant(machine, clock, params),
        "grants": lambda params: _grants(machine, clock, params),
    }


def _grants(machine: Machine, clock: Clock, params: dict[str, Any]) -> dict[str, Any]:
    """`after`: an id; `holder`: a uid, None for all."""
    view, holder = machine.state.grants, params.get("holder")
    names: Iterable[str] = view.grants if holder is None else view.of_holder(canonical_uid(_text(params, "holder")))
    after = _text(params, "after", "")
    found = heapq.nsmallest(GRANT_PAGE_MAX + 1, (name for name in names if name > after))
    page, size = [], 0
    for name in found[:GRANT_PAGE_MAX]:
        page.append(_grant_fields(machine, clock, view.grants[name]))
        size += len(machine.records("grants")[GRANT_PREFIX + name])
        if size > FRAME_BYTES:
            break
    return {"grants": page, "next": page[-1]["id"] if len(found) > len(page) else None}


def _grant(machine: Machine, clock: Clock, params: dict[str, Any]) -> dict[str, Any]:
    """`id`: the grant, and the ids of those that it came of, the nearest first."""
    identifier, view = _text(params, "id"), machine.state.grants
    grant = view.grants.get(identifier)
    if grant is None:
        raise InputError(f"there is no grant `{identifier[:128]}`; see `govraft grant list`", code="grant_unknown")
    above = [link.id for link in view.chain(grant)[1:]]
    return {**_grant_fields(machine, clock, grant), "above": above}


def _grant_fields(machine: Machine, clock: Clock, grant: Grant) -> dict[str, Any]:
    revoked = grant.revoked
    return {
        "id": grant.id,
        "holder": grant.holder,
        "actions": list(grant.actions),
        "resources": list(grant.resources),
        "not_before": grant.not_before,
        "not_after": grant.not_after,
        "delegate": grant.delegate,
        "depth": grant.depth,
        "domain": grant.domain,
        "parent": grant.parent,
        "seq": grant.seq,
        "authors": list(grant.authors),
        "status": _status(machine, grant, max(clock.wall(), machine.time)),
        "revoked": None
        if revoked is None
        else {"reason": revoked.reason, "authors": list(revoked.authors), "seq": revoked.seq, "time": revoked.time},
    }


def _status(machine: Machine, grant: Grant, time: int) -> str:
    """Whether a grant counts, as far as time and what it came of can tell."""
    chain = machine.state.grants.chain(grant)
    if any(link.revoked is not None for link in chain):
        return "revoked"
    if any(link.not_after <= time for link in chain):
        return "ended"
    return "pending" if any(link.not_before > time for link in chain) else "valid"


def _boundaries(machine: Machine, params: dict[str, Any]) -> dict[str, Any]:
    """`after`: domain and id with a slash between; `domain`: with all above it, None for all."""
    state, domain = machine.state, params.get("domain")
    path = None if domain is None else state.domains.path(_text(params, "domain"))
    if path is not None and not path:
        message = f"domain `{str(domain)[:63]}` does not exist; see `govraft domain list`"
        raise InputError(message, code="domain_unknown")
    after = _text(params, "after", "")
    places = (key[len(BOUNDARY_PREFIX) :] for key in machine.records("boundaries"))
    wanted = (place for place in places if place > after and (path is None or place.partition("/")[0] in path))
    found = heapq.nsmallest(GRANT_PAGE_MAX + 1, wanted)
    page, size = [], 0
    for place in found[:GRANT_PAGE_MAX]:
        owner, _, identifier = place.partition("/")
        page.append(_boundary_fields(state.boundaries.of(owner)[identifier]))
        size += len(machine.records("boundaries")[BOUNDARY_PREFIX + place])
        if size > FRAME_BYTES:
            break
    return {"boundaries": page, "next": found[len(page) - 1] if len(found) > len(page) else None}


def _boundary_fields(item: Boundary) -> dict[str, Any]:
    return {
        "id": item.id,
        "domain": item.domain,
        "subject": item.subject,
        "action": item.action,
        "windows": [{"days": list(part.days), "start": part.start, "end": part.end} for part in item.windows],
        "regions": list(item.regions),
        "rate": None if item.rate is None else {"count": item.rate.count, "seconds": item.rate.seconds},
        "level_max": item.level_max,
        "seq": item.seq,
        "time": item.time,
        "authors": list(item.authors),
    }


def _text(params: dict[str, Any], name: str, default: str | None = None) -> str:
    value = params.get(name, default)
    if not isinstance(value, str):
        raise DecodeError(f"`{name}` must be text")
    return value
