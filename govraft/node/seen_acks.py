"""The newest ack of each member that this node has seen: what it shows to a member whose store may have forgotten.

The leader of a round sees acks as they come; everybody sees those that a lease carries. Kept in memory only: the
certificates of epochs, which are kept for ever, carry some acks across restarts, and no rule rests on the others.
"""

from __future__ import annotations

from collections.abc import Sequence

from govraft.core.convergence.messages import Kind, Lease, Signed
from govraft.core.model.limits import OBSERVERS, VOTERS
from govraft.ports.store import StoredEpoch

__all__ = ["SeenAcks"]

_SIGNERS_MAX = 2 * (VOTERS + OBSERVERS)
_ROWS_LOOKED_THROUGH = 16


class SeenAcks:
    """By signer, one ack each."""

    def __init__(self) -> None:
        self._newest: dict[str, tuple[int, Signed]] = {}

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._newest)

    def keep(self, acks: Sequence[Signed], seq: int) -> None:
        """Keep verified acks, each for `seq` or, in a lease for it, for a higher one."""
        for signed in acks:
            before = self._newest.get(signed.signer)
            if before is None or seq >= before[0]:
                self._newest[signed.signer] = (seq, signed)
        while len(self._newest) > _SIGNERS_MAX:
            del self._newest[next(iter(self._newest))]

    def of(self, signer: str, rows: Sequence[StoredEpoch] = ()) -> bytes:
        """The newest ack of a member, or one in the newest of these certificates that has one; empty for none."""
        kept = self._newest.get(signer)
        if kept is not None:
            return kept[1].encode()
        for row in reversed(rows[-_ROWS_LOOKED_THROUGH:]):
            for signed in Lease.decode(Signed.decode(row.lease, Kind.LEASE).body).acks:
                if signed.signer == signer:
                    return signed.encode()
        return b""
