"""Authorities: who may command, and how many of them it takes."""

from __future__ import annotations

from typing import Annotated

import msgspec

from govraft.core.model.authority import Assignment, Role
from govraft.core.model.commands.header import AuthorityId, Base64, CommandHeader, DomainId, ReasonText, Some
from govraft.core.model.ids import ROOT_DOMAIN

__all__ = [
    "AuthorityAdd",
    "AuthorityAssign",
    "AuthorityEmergencyRevoke",
    "AuthorityResume",
    "AuthorityRevoke",
    "AuthorityRotate",
    "AuthoritySuspend",
    "NewKey",
    "ThresholdSet",
]


class AuthorityAdd(CommandHeader, frozen=True, kw_only=True):
    """Add an authority. The envelope also carries a signature of the new key.

    Attributes:
        public_key: Ed25519, 32 bytes.
        assignments: Sorted by role and domain, distinct, at least one.
    """

    id: AuthorityId
    public_key: Base64
    assignments: Annotated[tuple[Assignment, ...], Some]


class AuthorityAssign(CommandHeader, frozen=True, kw_only=True):
    """Give an authority other roles; `assignments` replaces all it had."""

    id: AuthorityId
    assignments: Annotated[tuple[Assignment, ...], Some]


class NewKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The key that an authority has from now on: Ed25519, 32 bytes."""

    id: AuthorityId
    public_key: Base64


class AuthorityRotate(CommandHeader, frozen=True, kw_only=True):
    """Replace keys. Signed by a threshold of `root` with the old keys and with the new ones, and by each new key."""

    keys: Annotated[tuple[NewKey, ...], Some]


class AuthoritySuspend(CommandHeader, frozen=True, kw_only=True):
    """Let signatures of an authority count for nothing until it is resumed."""

    id: AuthorityId
    reason: ReasonText


class AuthorityResume(CommandHeader, frozen=True, kw_only=True):
    """End a suspension."""

    id: AuthorityId
    reason: ReasonText


class AuthorityRevoke(CommandHeader, frozen=True, kw_only=True):
    """Let signatures of an authority count for nothing for ever; its key never comes back."""

    id: AuthorityId
    reason: ReasonText


class AuthorityEmergencyRevoke(CommandHeader, frozen=True, kw_only=True):
    """As `AuthorityRevoke`, signed by the threshold of the role `emergency`."""

    id: AuthorityId
    reason: ReasonText


class ThresholdSet(CommandHeader, frozen=True, kw_only=True):
    """Say how many distinct keys a command of a role needs in a domain and below it.

    Attributes:
        count: 0 removes the domain's own threshold, so that its parent's counts; never for the root domain.
    """

    role: Role
    domain: DomainId = ROOT_DOMAIN
    count: Annotated[int, msgspec.Meta(ge=0, le=64)]
