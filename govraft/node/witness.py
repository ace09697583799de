"""What one node has seen others sign: two roots for one seq convict the signer. Kept for good, across restarts.

A convicted key makes no certificate here any more. It isolates nobody: if one lying voter could isolate everybody, it
could stop every cluster at will.
"""

from __future__ import annotations

from collections.abc import Sequence

from govraft.core.convergence.messages import Ack, Signed
from govraft.core.model.electorate import Member
from govraft.core.model.limits import EVIDENCE_KEPT
from govraft.node.effects import Effects
from govraft.ports.store import StoredEquivocation

__all__ = ["Witness"]

_SEEN_MAX = 1_024


class Witness:
    """Remembers the latest roots that members signed, and each contradiction."""

    def __init__(self, stored: Sequence[StoredEquivocation] = ()) -> None:
        self.found: list[StoredEquivocation] = list(stored)
        """The contradictions, one for each key."""
        self._liars = {item.public_key for item in self.found}
        self._seen: dict[tuple[bytes, int], tuple[bytes, bytes]] = {}

    def __len__(self) -> int:
        """How many roots are remembered."""
        return len(self._seen)

    @property
    def equivocators(self) -> dict[str, bytes]:
        """By node id, the first two acks with which it contradicted itself."""
        return {item.node: item.first + item.second for item in reversed(self.found)}

    def is_consistent(self, member: Member, ack: Ack, signed: Signed, effects: Effects) -> bool:
        """Whether this voter has always signed one root a seq, as far as this node has seen.

        Args:
            member: Who signed the ack, with which key.
            ack: Its content.
            signed: As it was signed.
            effects: Take what is to be kept.
        """
        key, encoded = (member.public_key, ack.seq), signed.encode()
        seen = self._seen.setdefault(key, (ack.root, encoded))
        if len(self._seen) > _SEEN_MAX:
            del self._seen[next(iter(self._seen))]
        if seen[0] != ack.root and member.public_key not in self._liars:
            self._liars.add(member.public_key)
            if len(self.found) < EVIDENCE_KEPT:
                evidence = StoredEquivocation(member.id, member.public_key, seen[1], encoded)
                self.found.append(evidence)
                effects.batch.add_equivocation(evidence)
        return member.public_key not in self._liars
