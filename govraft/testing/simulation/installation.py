"""What a machine is to the cluster: whether it was set up, under which key, and whom it takes for members."""

from __future__ import annotations

from collections.abc import Sequence

from govraft.core.model.electorate import Member
from govraft.testing.simulation.cast import Cast

__all__ = ["Installation"]


class Installation:
    """Of one host.

    Attributes:
        name: Its node id.
        generation: Of its key.
        installs: How often it was set up anew.
        is_enlisted: Whether anybody has set it up as a node of this cluster. Until then it never starts.
        has_lost: Whether its store was lost and made again under the same key.
        is_dead: Whether the machine is gone, with all that was on it, and never starts again.
    """

    def __init__(self, cast: Cast, name: str) -> None:
        self._cast, self.name = cast, name
        self.generation = self.installs = 0
        self.is_enlisted = name in cast.sample.node_keys
        self.is_dead = self.has_lost = False
        self._pins: frozenset[tuple[str, bytes]] = frozenset()

    @property
    def public_key(self) -> bytes:
        """Its present key."""
        return self._cast.public_key(self.name, self.generation)

    @property
    def label(self) -> str:
        """How a history calls it: whoever is set up anew is another node."""
        return f"{self.name}#{self.installs}" if self.installs else self.name

    def knows(self, other: str, shown: bytes) -> bool:
        """Whether the node speaks with another one that shows this certificate."""
        return (other, shown) in self._pins

    def pin(self, members: Sequence[Member]) -> None:
        """Speak with these members, and no others, from now on."""
        self._pins = frozenset((member.id, member.certificate) for member in members)
