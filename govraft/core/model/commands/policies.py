"""Policies: publish a version, activate it."""

from __future__ import annotations

from typing import Annotated

import msgspec

from govraft.core.model.commands.header import CommandHeader, DomainId, HexDigest, Positive
from govraft.core.model.ids import ROOT_DOMAIN

__all__ = ["PolicyActivate", "PolicyPublish"]


class PolicyPublish(CommandHeader, frozen=True, kw_only=True):
    """Publish a version of the policies, as a change of the version before it. It takes effect when activated.

    Attributes:
        version: The latest version published in the domain + 1.
        expected: Digest of the latest published version, empty for the first.
        schema: Text of the Cedar schema; None keeps that of the version before. Only the root domain has one.
        policies: Texts of policies to add, each one policy.
        removed: Ids (SHA-256 of the text) of policies of the version before to leave out.
        domain: Whose policies.
    """

    version: Positive
    expected: Annotated[str, msgspec.Meta(pattern=r"^(?:[0-9a-f]{64})?\Z")]
    schema: str | None
    policies: tuple[str, ...]
    removed: tuple[HexDigest, ...]
    domain: DomainId = ROOT_DOMAIN


class PolicyActivate(CommandHeader, frozen=True, kw_only=True):
    """Let a published version decide, from this entry on.

    Attributes:
        version: A published version, later than the active one.
        digest: Its digest.
        domain: Whose policies.
    """

    version: Positive
    digest: HexDigest
    domain: DomainId = ROOT_DOMAIN
