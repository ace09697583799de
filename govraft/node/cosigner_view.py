"""What the cosigner sees of its node, at one moment."""

from __future__ import annotations

from govraft.core.convergence.cosigner import Held
from govraft.core.convergence.holder import Holder
from govraft.core.convergence.messages import Probe
from govraft.core.machine.machine import Machine
from govraft.core.model.electorate import Electorate
from govraft.core.model.units import BoottimeNs, WallMs
from govraft.node.epochs import Epochs
from govraft.ports.clock import Clock
from govraft.ports.sequencer import Sequencer

__all__ = ["CosignerView"]


class CosignerView:
    """As `core.convergence.cosigner.View`; both clocks are read once, when the view is made."""

    def __init__(
        self,
        machine: Machine,
        epochs: Epochs,
        holder: Holder,
        clock: Clock,
        sequencer: Sequencer,
        *,
        isolated: bool,
    ) -> None:
        self._machine = machine
        self._epochs = epochs
        self._holder = holder
        self.boottime: BoottimeNs = clock.boottime()
        self.wall: WallMs = clock.wall()
        self.leader_hint = sequencer.leader_hint
        self.term = sequencer.term
        self.applied = machine.seq
        self.uncertified = epochs.uncertified
        self.newest_time = machine.time
        self.isolated = isolated

    def electorates(self, seq: int) -> tuple[Electorate, ...]:
        """Whose quorums certify that seq."""
        return self._epochs.electorates(seq)

    def held(self, seq: int) -> Held | None:
        """Root and sections at an applied seq, or None if its leaf is no longer remembered."""
        if seq == self.uncertified:
            # However long it waits for its certificate: its leaf may have left the machine's memory.
            change = self._epochs.waiting[0]
            return Held(change.root, change.sections)
        leaf = self._machine.leaf(seq)
        return None if leaf is None else Held(self._machine.lineage.root(seq), leaf.sections)

    def root(self, seq: int) -> bytes:
        """The lineage root at an applied seq."""
        return self._machine.lineage.root(seq)

    def apart_ms(self, probe: Probe) -> int:
        """By how much the own wall clock differs from that of the probe's leader."""
        return self._holder.apart_ms(probe, self.boottime, self.wall)[0]
