"""What a node tells of attestations: what is on record, and what of it counts now."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator
from typing import Any

from govraft.core.machine.attestation_view import Attestation
from govraft.core.machine.attestations import counts, disagreeing
from govraft.core.machine.machine import Machine
from govraft.core.model.ids import canonical_uid
from govraft.errors import DecodeError, InputError
from govraft.ports.clock import Clock

__all__ = ["ATTESTATION_PAGE_MAX", "attestation_reads"]

ATTESTATION_PAGE_MAX = 500

Reader = Callable[[dict[str, Any]], object]


def attestation_reads(machine: Machine, clock: Clock) -> dict[str, Reader]:
    """The reads by name. Each may raise `InputError` for unusable parameters.

    Args:
        machine: Of the node.
        clock: Says what has expired.
    """

    def attestations(params: dict[str, Any]) -> dict[str, Any]:
        """`entity`: only those about it. `after`: the digest of the last one of the page before. `limit`: of a page."""
        entity, after, limit = params.get("entity"), params.get("after", ""), params.get("limit", ATTESTATION_PAGE_MAX)
        if not isinstance(after, str) or type(limit) is not int or limit < 1:
            raise DecodeError("`after` must be a digest and `limit` a whole number, 1 or more")
        if entity is not None and not isinstance(entity, str):
            raise DecodeError("`entity` must be an entity uid")
        found = _about(canonical_uid(entity)) if entity is not None else machine.state.attestations.by_digest.values()
        wanted = min(limit, ATTESTATION_PAGE_MAX)
        # One more than wanted, to know whether more follow.
        digests = heapq.nsmallest(wanted + 1, (item.digest for item in found if item.digest > after))
        page = [_shown(machine.state.attestations.by_digest[digest]) for digest in digests[:wanted]]
        return {"attestations": page, "next": digests[wanted - 1] if len(digests) > wanted else None}

    def attestation(params: dict[str, Any]) -> dict[str, Any]:
        """`digest`: which one."""
        digest = params.get("digest")
        item = machine.state.attestations.by_digest.get(digest) if isinstance(digest, str) else None
        if item is None:
            message = f"attestation `{str(digest)[:64]}` is not on record; see `govraft attestation list`"
            raise InputError(message, code="attestation_unknown")
        return _shown(item)

    def _about(entity: str) -> Iterator[Attestation]:
        types = machine.state.attestations.by_entity.get(entity, {})
        return itertools.chain.from_iterable(heads.values() for heads in types.values())

    def _shown(item: Attestation) -> dict[str, Any]:
        # As old as a decision would take it to be now.
        now = max(machine.time, clock.wall())
        state, dropped = machine.state, item.dropped
        return {
            "digest": item.digest,
            "entity": item.entity,
            "predicate_type": item.predicate_type,
            "attestor": item.attestor,
            "subjects": list(item.subjects),
            "predicate": item.predicate,
            "issued": item.issued,
            "expires": item.expires,
            "seq": item.seq,
            "supersedes": item.supersedes,
            "length": item.length,
            "dropped": None if dropped is None else {"reason": dropped.reason, "seq": dropped.seq},
            "marks": sorted(machine.marks("attestation", item.digest)),
            "counts": counts(state, item, now),
            "disputed": item in disagreeing(state, item.entity, item.predicate_type, now),
        }

    return {"attestation": attestation, "attestations": attestations}
