"""Faults of somebody who has one member's key: true to form, in its name, at any time. That member itself is honest."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from govraft.adapters.engine.frames import TERM_MAX, AppendEntries, encode_frame
from govraft.adapters.engine.terms import TERM_JUMP, TERM_STEP
from govraft.core.model.units import NS_PER_MS
from govraft.node.core import RAFT_CHANNEL
from govraft.testing.simulation.link_faults import End
from govraft.testing.simulation.plan import Fault, stream

if TYPE_CHECKING:
    from govraft.testing.simulation.world import World

__all__ = ["ForgedFrames"]


def _nothing() -> None:
    """A fault that ends by itself."""


class ForgedFrames:
    """Starts them; each start gives what ends it, or None if it cannot happen here.

    Args:
        is_on: Whether a fault goes on.

    Attributes:
        starts: By kind.
    """

    def __init__(self, world: World, is_on: Callable[[Fault], bool]) -> None:
        self._world, self._is_on = world, is_on
        self.starts: dict[str, Callable[[Fault], End | None]] = {"term_lifts": self._term_lifts}

    def _term_lifts(self, fault: Fault) -> End | None:
        """A burst that tells one victim of ever higher terms, and another one after each lease."""
        if self._world.adversary is not None or len(fault.nodes) < 2:
            return None
        bearer, victim = fault.nodes
        rng = stream(fault.salt, "terms")
        lease_ns = self._world.plan.configuration.lease_ms * NS_PER_MS

        def lift(left: int) -> None:
            for rise in (TERM_STEP, TERM_STEP, rng.choice((TERM_JUMP, TERM_JUMP + 1, 2 * TERM_STEP, TERM_MAX))):
                self._tell(bearer, victim, rise)
            if left > 1 and self._is_on(fault):
                self._world.agenda.after(lease_ns, lift, left - 1)

        self._world.agenda.after(0, lift, fault.amount)
        return _nothing

    def _tell(self, bearer: str, victim: str, rise: int) -> None:
        """That `bearer` leads a term so far above the victim's own; links do not matter."""
        host = self._world.hosts[victim]
        if host.core is None or bearer not in {member.id for member in host.core.pinned_members}:
            return
        term = min(host.core.sequencer.term + rise, TERM_MAX)
        frame = AppendEntries(term, 0, 0, 0, (), epoch=host.core.epochs.certified.epoch)
        host.on_frame(bearer, RAFT_CHANNEL, encode_frame(frame))
