"""What one turn of the node core wants done, and in which order.

The rule that keeps every promise durable: `batch` is written and synced first; only then are `sends` handed to the
network and `after` called. A caller that has several turns' effects keeps their order.

A snapshot speaks of entries and leaves that are in `batch` or in an earlier one, so it too comes after the batch. It is
a matter of its own then: nothing waits for it, it may take long, and a newer one may replace one that still waits. If
it cannot be written the node halts, as with any write.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from govraft.core.machine.snapshot import Snapshot
from govraft.core.model.electorate import Member
from govraft.ports.store import WriteBatch

__all__ = ["Effects", "Send"]


@dataclass(frozen=True, slots=True)
class Send:
    """One frame for one member; for this node itself, it is handed back to `NodeCore.on_frame`.

    `told`, if given, is called with whether the network took the frame (`Peers.send`).
    """

    peer: str
    channel: int
    payload: bytes
    told: Callable[[bool], None] | None = None


@dataclass(slots=True)
class Effects:
    """The effects of one or more turns.

    Attributes:
        batch: Must be durable before anything else of this object happens.
        members: Whom to be connected to from then on, None for no change; before `sends`, some of which are for them.
        sends: Frames to send then, in order.
        after: To call then, in order: answers to clients that speak of what has become durable.
        snapshot: To encode and save then, off the loop, or None: `store.save_snapshot(snapshot.encode())`.
    """

    batch: WriteBatch = field(default_factory=WriteBatch)
    members: tuple[Member, ...] | None = None
    sends: list[Send] = field(default_factory=list)
    after: list[Callable[[], None]] = field(default_factory=list)
    snapshot: Snapshot | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        idle = self.batch.is_empty and not self.sends and not self.after
        return idle and self.members is None and self.snapshot is None
