"""The cluster as a whole: the number of the rules."""

from __future__ import annotations

from govraft.core.model.commands.header import CommandHeader, Positive

__all__ = ["ClusterRules"]


class ClusterRules(CommandHeader, frozen=True, kw_only=True):
    """Apply all later entries by the next number of the rules. Nothing lowers it again."""

    to: Positive
