"""Histories of a sample cluster in which the electorate changes."""

from __future__ import annotations

from govraft.testing.evidence_sample import EvidenceSample

__all__ = ["new_members"]


def new_members() -> EvidenceSample:
    """A cluster whose founders n1 and n2 have left: since seq 12, in epoch 7, n3, n4 and n5 are its voters."""
    world = EvidenceSample()
    for node in ("n4", "n5"):
        world.add_observer(node)
        world.promote(node)
    world.remove("n1", nodes=("n2", "n3", "n4"))
    world.remove("n2", nodes=("n3", "n4", "n5"))
    world.quarantine(9)
    return world
