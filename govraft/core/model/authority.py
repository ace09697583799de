"""Who may command the cluster: authorities, their roles, and how many of them it takes."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import Annotated

import msgspec

from govraft.core.model.ids import DOMAIN_ID_PATTERN, ROOT_DOMAIN

__all__ = ["Assignment", "Authority", "AuthorityStatus", "Role"]


class Role(StrEnum):
    """What an authority may sign. Append-only."""

    ROOT = "root"
    POLICY = "policy"
    OPERATOR = "operator"
    ATTESTOR = "attestor"
    AUDITOR = "auditor"
    EMERGENCY = "emergency"


class AuthorityStatus(StrEnum):
    """Whether an authority's signatures count. Nothing ends a revocation."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    REVOKED = "revoked"


class Assignment(msgspec.Struct, frozen=True, order=True, forbid_unknown_fields=True):
    """A role in one domain and in all below it."""

    role: Role
    domain: Annotated[str, msgspec.Meta(pattern=DOMAIN_ID_PATTERN)]


class Authority(msgspec.Struct, frozen=True, omit_defaults=True):
    """A key holder outside the cluster's nodes.

    Attributes:
        id: Name, unique in the cluster.
        public_key: Ed25519, 32 bytes.
        roles: In the root domain, so in all: sorted, distinct.
        scoped: In other domains: sorted, distinct.
        status: Whether its signatures count.
        reason: Why it is suspended or revoked, for people.
    """

    id: str
    public_key: bytes
    roles: tuple[Role, ...]
    scoped: tuple[Assignment, ...] = ()
    status: AuthorityStatus = AuthorityStatus.ACTIVE
    reason: str = ""

    @property
    def is_active(self) -> bool:
        """Whether its signatures count."""
        return self.status is AuthorityStatus.ACTIVE

    @property
    def assignments(self) -> tuple[Assignment, ...]:
        """All its roles with their domains: those in the root domain, then the others."""
        return (*(Assignment(role, ROOT_DOMAIN) for role in self.roles), *self.scoped)

    def holds(self, role: Role, domains: Collection[str]) -> bool:
        """Whether it is active and holds the role in one of these domains.

        Args:
            role: Asked for.
            domains: The domain of a command and all above it.
        """
        if not self.is_active:
            return False
        return role in self.roles or any(item.role is role and item.domain in domains for item in self.scoped)
