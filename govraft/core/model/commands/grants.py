"""Grants: permission lent for a time, handed on only narrower."""

from __future__ import annotations

from typing import Annotated

import msgspec

from govraft.core.model.commands.header import AuthorityId, CommandHeader, DomainId, Name, ReasonText, Time
from govraft.core.model.ids import ROOT_DOMAIN
from govraft.core.model.limits import GRANT_DEPTH, GRANT_UIDS

__all__ = ["GrantDelegate", "GrantIssue", "GrantRenew", "GrantRevoke"]

_Uids = Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=GRANT_UIDS)]
_Depth = Annotated[int, msgspec.Meta(ge=0, le=GRANT_DEPTH)]


class GrantIssue(CommandHeader, frozen=True, kw_only=True):
    """Issue a grant.

    Attributes:
        id: Taken until `GRANT_KEPT_MS` after the grant's end: longer than any signed command lives.
        holder: Uid of the subject (or group of subjects) that holds it.
        actions: Uids of actions or groups of actions that it covers; at least one.
        resources: Uids of resources or groups of resources that it covers; at least one.
        not_before, not_after_grant: WallMs; it counts from the first until before the second.
        delegate: The authority that may hand it on, whatever its roles; None: only an operator of the domain.
        depth: How many times it may be handed on, 0 to 16.
        domain: Where it counts, with all below.
    """

    id: Name
    holder: str
    actions: _Uids
    resources: _Uids
    not_before: Time
    not_after_grant: Time
    delegate: AuthorityId | None
    depth: _Depth
    domain: DomainId = ROOT_DOMAIN


class GrantDelegate(CommandHeader, frozen=True, kw_only=True):
    """Hand a grant on: same or fewer actions and resources, same or shorter time, lesser depth, same or lower domain.

    Signed by the parent's `delegate` alone, or by the operators of its domain.
    """

    id: Name
    parent: Name
    holder: str
    actions: _Uids
    resources: _Uids
    not_before: Time
    not_after_grant: Time
    delegate: AuthorityId | None
    depth: _Depth
    domain: DomainId


class GrantRenew(CommandHeader, frozen=True, kw_only=True):
    """Let a grant end at another time, within that of its parent. One that is revoked or has ended stays so."""

    id: Name
    not_after_grant: Time


class GrantRevoke(CommandHeader, frozen=True, kw_only=True):
    """Revoke a grant and all that came of it, for ever."""

    id: Name
    reason: ReasonText
