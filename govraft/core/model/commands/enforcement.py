"""Enforcement: quarantine, release, isolate, revoke, invalidate."""

from __future__ import annotations

from enum import StrEnum

from govraft.core.model.commands.header import CommandHeader, ReasonText

__all__ = ["EnforcementCommand", "Invalidate", "Isolate", "Quarantine", "Release", "Revoke", "TargetKind"]


class TargetKind(StrEnum):
    """What enforcement acts on.

    `node` takes a node id, `policy` the id of a policy (SHA-256 of its text), `attestation` the digest of its envelope,
    `domain` a domain id, the others an entity uid.
    """

    SUBJECT = "subject"
    RESOURCE = "resource"
    ACTION = "action"
    NODE = "node"
    POLICY = "policy"
    ATTESTATION = "attestation"
    DOMAIN = "domain"


class EnforcementCommand(CommandHeader, frozen=True, kw_only=True):
    """What the enforcement commands share: a target, and why, for people."""

    kind: TargetKind
    id: str
    reason: ReasonText


class Quarantine(EnforcementCommand, frozen=True, kw_only=True):
    """Deny every request in which the target is the kind, or belongs to it, until it is released."""


class Release(EnforcementCommand, frozen=True, kw_only=True):
    """End a quarantine or an isolation."""


class Isolate(EnforcementCommand, frozen=True, kw_only=True):
    """Quarantine, and let nobody but `root` release it."""


class Revoke(EnforcementCommand, frozen=True, kw_only=True):
    """Deny every request in which the target is the kind, or belongs to it, for ever."""


class Invalidate(EnforcementCommand, frozen=True, kw_only=True):
    """Declare that what rests on the target does not count as it is now.

    Unlike a revocation it ends when the target is replaced: a subject or resource that is put anew, an attestation that
    is superseded, a policy whose domain activates a later version.
    """
