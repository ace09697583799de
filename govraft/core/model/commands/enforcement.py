"""Enforcement: quarantine, release, isolate, revoke, invalidate."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from govraft.core.model.commands.header import CommandHeader, ReasonText
from govraft.core.model.limits import TARGETS

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
    """What the enforcement commands share: one target or a list of them, and why, for people.

    Attributes:
        kind: Of the target or targets.
        id: Of the one target.
        targets: In its place, from rules 2 on: 1 to `TARGETS` ids, sorted, each once. All or none of it is done; a
            target that is stopped already, or is not stopped when it is released, is left as it is.
        reason: For people.
    """

    kind: TargetKind
    id: str | msgspec.UnsetType = msgspec.UNSET
    targets: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    reason: ReasonText

    def __post_init__(self) -> None:
        """Raises: ValueError: None or both of `id` and `targets`, or no such list."""
        if (self.id is msgspec.UNSET) is (self.targets is msgspec.UNSET):
            raise ValueError("name one target as `id`, or 1 or more as `targets`")
        if not 1 <= len(self.ids) <= TARGETS:
            raise ValueError(f"`targets` has {len(self.ids)} ids, one command takes 1 to {TARGETS}")
        if list(self.ids) != sorted(set(self.ids)):
            raise ValueError("the ids of `targets` must be sorted, each once")

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all targets, at least one."""
        if self.id is not msgspec.UNSET:
            return (self.id,)
        return () if self.targets is msgspec.UNSET else self.targets


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
