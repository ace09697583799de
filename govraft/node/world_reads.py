"""What a node tells about the governed world: its domains, what they have published, and the entities in them."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

from govraft.core.machine.machine import Machine
from govraft.core.machine.records import Entity
from govraft.core.model import limits
from govraft.core.model.ids import ROOT_DOMAIN
from govraft.errors import DecodeError, InputError

__all__ = ["ENTITY_PAGE_MAX", "world_reads"]

ENTITY_PAGE_MAX = 1_000
MARKS_MAX = 10_000
"""Marked targets in one answer."""

Reader = Callable[[dict[str, Any]], object]


def world_reads(machine: Machine) -> dict[str, Reader]:
    """The reads by name. Each may raise `InputError` for unusable parameters."""
    return {
        "domains": lambda params: _domains(machine, params),
        "entities": lambda params: _entities(machine, params),
        "entity": lambda params: _entity(machine, params),
        "marks": lambda params: _marks(machine, params),
        "policies": lambda params: _policies(machine, params),
        "policy": lambda params: _policy(machine, params),
    }


def _domains(machine: Machine, params: dict[str, Any]) -> list[dict[str, Any]]:
    """All domains, the root first, each before those below it."""
    del params
    view, policies, entities = machine.state.domains, machine.state.policies, machine.state.entities
    paths = sorted(tuple(reversed(view.path(name))) for name in (ROOT_DOMAIN, *view.domains))
    return [
        {
            "id": path[-1],
            "path": list(path),
            "seq": view.domains[path[-1]].seq if path[1:] else 1,
            "authors": list(view.domains[path[-1]].authors) if path[1:] else [],
            "entities": entities.counts[path[-1]],
            "policy_version": active.version if (active := policies.of(path[-1]).active) is not None else 0,
        }
        for path in paths
    ]


def _policies(machine: Machine, params: dict[str, Any]) -> dict[str, Any]:
    """`domain`: whose published versions; the root's by default."""
    own = machine.state.policies.of(_domain(machine, params))
    versions = [
        {
            "version": item.version,
            "digest": item.digest,
            "policies": len(item.policy_ids),
            "seq": item.seq,
            "time": item.time,
            "authors": list(item.authors),
        }
        for _, item in sorted(own.versions.items())
    ]
    active = None if own.active is None else {"version": own.active.version, "digest": own.active.digest}
    return {"active": active, "versions": versions}


def _policy(machine: Machine, params: dict[str, Any]) -> dict[str, Any]:
    """`version` of a `domain`, with its texts; the active one by default. The schema is that of the root."""
    version, domain, view = _natural(params, "version", 0), _domain(machine, params), machine.state.policies
    bundle = view.bundle(version, domain) if version else view.active_bundle(domain)
    if bundle is None:
        where = "" if domain == ROOT_DOMAIN else f" in `{domain}`"
        wanted = f"policy version {version} is not kept{where}" if version else f"no policy version is active{where}"
        raise InputError(f"{wanted}; see `govraft policy list`", code="policy_unknown")
    return {
        "version": bundle.version,
        "digest": bundle.digest,
        "schema": bundle.schema if domain == ROOT_DOMAIN else view.schema() or "",
        "policies": dict(bundle.policies),
    }


def _entities(machine: Machine, params: dict[str, Any]) -> dict[str, Any]:
    """`after`: a uid; a page of those behind it, of a `domain` if one is named."""
    after, limit = params.get("after", ""), _natural(params, "limit", ENTITY_PAGE_MAX)
    if not isinstance(after, str):
        raise DecodeError("`after` must be an entity uid")
    domain = _domain(machine, params) if "domain" in params else None
    entities = machine.entities
    wanted = min(limit, ENTITY_PAGE_MAX)
    # One more than wanted, to know whether more follow. Sorting all of them would hold up everybody else.
    found = (uid for uid, item in entities.items() if uid > after and domain in (None, item.domain))
    uids = heapq.nsmallest(wanted + 1, found)
    page, size = [], 0
    for uid in uids[:wanted]:
        page.append(_entity_fields(entities[uid]))
        size += len(str(entities[uid].attrs))
        if size > limits.FRAME_BYTES:
            break
    return {"entities": page, "next": page[-1]["uid"] if page and len(page) < len(uids) else None}


def _entity(machine: Machine, params: dict[str, Any]) -> dict[str, Any]:
    """`uid`: its canonical spelling."""
    uid = params.get("uid")
    item = machine.entities.get(uid) if isinstance(uid, str) else None
    if item is None:
        raise InputError(f"entity `{str(uid)[:200]}` does not exist", code="entity_unknown")
    return _entity_fields(item)


def _entity_fields(item: Entity) -> dict[str, Any]:
    return {"uid": item.uid, "attrs": item.attrs, "parents": list(item.parents), "domain": item.domain}


def _marks(machine: Machine, params: dict[str, Any]) -> list[dict[str, Any]] | dict[str, Any]:
    """The first marks; with `after`, a kind and a target such as `subject/T::"a"` or "", a page of those behind it."""
    after, limit = params.get("after", ""), min(_natural(params, "limit", MARKS_MAX), MARKS_MAX)
    if not isinstance(after, str):
        raise DecodeError('`after` must be a kind and a target, such as `subject/T::"a"`')
    names = (f"{kind}/{target}" for kind, target in machine.marked)
    # One more than wanted, to know whether more follow.
    found = heapq.nsmallest(limit + 1, (name for name in names if name > after))
    page = []
    for kind, _, target in (name.partition("/") for name in found[:limit]):
        for name, mark in sorted(machine.marked[kind, target].items()):
            fields = {"reason": mark.reason, "authors": list(mark.authors), "seq": mark.seq, "time": mark.time}
            page.append({"kind": kind, "id": target, "mark": name, **fields, "domain": mark.domain})
    if "after" not in params:
        return page
    return {"marks": page, "next": found[limit - 1] if 0 < limit < len(found) else None}


def _domain(machine: Machine, params: dict[str, Any]) -> str:
    name = params.get("domain", ROOT_DOMAIN)
    if not isinstance(name, str) or not machine.state.domains.path(name):
        raise InputError(f"domain `{str(name)[:64]}` does not exist; see `govraft domain list`", code="domain_unknown")
    return name


def _natural(params: dict[str, Any], name: str, default: int) -> int:
    value = params.get(name, default)
    if type(value) is not int or not 0 <= value < 2**63:
        raise DecodeError(f"`{name}` must be a whole number, 0 or more")
    return value
