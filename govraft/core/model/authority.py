"""Who may command the cluster: authorities, their roles, and how many of them it takes."""

from __future__ import annotations

from enum import StrEnum

import msgspec

__all__ = ["Authority", "Role"]


class Role(StrEnum):
    """What an authority may sign. Append-only."""

    ROOT = "root"
    POLICY = "policy"
    OPERATOR = "operator"
    ATTESTOR = "attestor"
    AUDITOR = "auditor"


class Authority(msgspec.Struct, frozen=True):
    """A key holder outside the cluster's nodes.

    Attributes:
        id: Name, unique in the cluster.
        public_key: Ed25519, 32 bytes.
        roles: Sorted, distinct, at least one.
    """

    id: str
    public_key: bytes
    roles: tuple[Role, ...]
