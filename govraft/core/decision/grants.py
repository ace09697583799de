"""Does the principal hold a grant for what it asks, at this moment?

A grant counts only if, at that moment, it and every grant that it was handed on from

1. is not revoked, has begun and has not ended,
2. covers the action and the resource, each by its uid or by a group that it belongs to **now**,
3. belongs to the resource's domain, or one above it, as the tree stands **now**.

So a grant never lends more than what each one above it would: an entity that leaves the parent's group, or a domain
that is moved away, is lost to all that came of it at once, though nothing was written into their records.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from govraft.core.decision.finding import Finding, denied
from govraft.core.machine.grant_view import Grant
from govraft.core.machine.machine import Machine
from govraft.core.model.reasons import Reason

__all__ = ["Reach", "check_grant"]


class Reach(NamedTuple):
    """A request, with all groups that what it names belongs to. All uids are canonical.

    Attributes:
        principals, actions, resources: The uid first, then the groups above it, each once.
        path: The resource's domain and all above it, up to the root.
    """

    principals: tuple[str, ...]
    actions: frozenset[str]
    resources: frozenset[str]
    path: tuple[str, ...]


def check_grant(machine: Machine, reach: Reach, *, wall: int) -> Finding:
    """Whether a grant of the principal, or of a group that it belongs to, covers the request.

    Args:
        machine: The state.
        reach: Of the request.
        wall: WallMs of the decision.

    Returns:
        An allow whose `expires` says until when, `grant_expired` if only the end of one is against it, else
        `grant_missing`.
    """
    view = machine.state.grants
    ends: list[int] = []
    has_ended = False
    for holder in reach.principals:
        for identifier in view.of_holder(holder):
            grant = view.grants[identifier]
            if not _covers(grant, reach):
                continue
            chain = view.chain(grant)
            # SAFETY: revoking one revokes all that came of it. test_decision_grants.test_a_revocation_cascades
            if any(link.revoked is not None for link in chain) or not all(_covers(link, reach) for link in chain):
                continue
            end = min(link.not_after for link in chain)
            if wall >= end:
                has_ended = True
            elif all(link.not_before <= wall for link in chain):
                ends.append(end)
    who, what = f"`{reach.principals[0]}`", "that covers this action and resource"
    # SAFETY: the end is looked at in each decision. test_decision_grants.test_time_table
    if ends:
        return Finding(None, expires=max(ends))
    if has_ended:
        return denied(Reason.GRANT_EXPIRED, f"the grant of {who} {what} has ended")
    return denied(Reason.GRANT_MISSING, f"{who} holds no grant {what}")


def _covers(grant: Grant, reach: Reach) -> bool:
    """Whether one link of a chain covers a request, its time left out."""
    return (
        grant.domain in reach.path
        and _touches(grant.actions, reach.actions)
        and _touches(grant.resources, reach.resources)
    )


def _touches(uids: Iterable[str], found: Collection[str]) -> bool:
    return any(uid in found for uid in uids)
