"""All families of commands, and whoever draws them."""

from __future__ import annotations

from collections.abc import Mapping

from govraft.testing.simulation.workload import Draw
from govraft.testing.simulation.workload_authorities import draw_authorities
from govraft.testing.simulation.workload_domains import draw_domains
from govraft.testing.simulation.workload_enforcement import draw_attestations, draw_enforcement
from govraft.testing.simulation.workload_grants import draw_boundaries, draw_grants
from govraft.testing.simulation.workload_members import draw_members
from govraft.testing.simulation.workload_proposals import draw_proposals
from govraft.testing.simulation.workload_records import draw_anchors, draw_permits
from govraft.testing.simulation.workload_root import draw_root

__all__ = ["ALL_FAMILIES", "FAMILIES"]

FAMILIES: Mapping[str, Draw] = {
    "anchors": draw_anchors,
    "attestations": draw_attestations,
    "authorities": draw_authorities,
    "boundaries": draw_boundaries,
    "domains": draw_domains,
    "enforcement": draw_enforcement,
    "grants": draw_grants,
    "permits": draw_permits,
    "proposals": draw_proposals,
}
"""What clients of a simulated cluster command by the way: nothing of it changes what they are answered."""

ALL_FAMILIES: Mapping[str, Draw] = {**FAMILIES, "members": draw_members, "root": draw_root}
"""For machines alone, where no node has to run."""
