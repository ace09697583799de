"""Domains: a tree of parts of the governed world, each narrower than the one above it."""

from __future__ import annotations

from govraft.core.model.commands.header import CommandHeader, DomainId

__all__ = ["DomainCreate", "DomainMove", "DomainRemove"]


class DomainCreate(CommandHeader, frozen=True, kw_only=True):
    """Create a domain below `parent`."""

    id: DomainId
    parent: DomainId


class DomainMove(CommandHeader, frozen=True, kw_only=True):
    """Put a domain, with all below it, below another parent."""

    id: DomainId
    parent: DomainId


class DomainRemove(CommandHeader, frozen=True, kw_only=True):
    """Remove a domain in which nothing is left: no child, entity, policy, grant, boundary or role."""

    id: DomainId
