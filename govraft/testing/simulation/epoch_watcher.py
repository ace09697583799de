"""What must hold of electorates at every moment, watched while they change.

====================  =================================================================================================
`epoch_skipped`       a lease was put together beyond a change of the electorate that nobody has certified
`acked_beyond`        a node acked a seq beyond a change whose certificate its disk does not hold
`epoch_chain`         the certified epochs on a disk do not lead from the genesis to the electorates that were certified
`stranger_allows`     a node could allow that is, at the seq of its lease, no member under its own key
`voter_set`           an engine counts by another set of voters than that of its epoch, or nobody has certified that
====================  =================================================================================================

The chain of electorates that all of it is held against is made here, from the genesis and the leases that were put
together; no node is asked which electorate it believes in, except for the one that a change makes, which is judged by
the leaf.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from govraft.adapters.engine import PysyncobjSequencer
from govraft.core.codec.note import Checkpoint
from govraft.core.convergence.certificate import IsValid
from govraft.core.convergence.messages import Ack, Lease, Signed
from govraft.core.evidence.epochs import EpochHistory
from govraft.core.model.electorate import Electorate, Member
from govraft.core.model.genesis import FIRST_EPOCH, Genesis
from govraft.errors import GovraftError
from govraft.node.epochs import link_of
from govraft.ports.store import StoredEpoch

if TYPE_CHECKING:
    from govraft.testing.simulation.host import Host

__all__ = ["EpochWatcher"]


class EpochWatcher:
    """Of one run.

    Args:
        genesis: Of the cluster.
        is_valid: Checks a node's signature.
        find: Told of what is broken: rule, node, detail.
    """

    def __init__(self, genesis: Genesis, is_valid: IsValid, find: Callable[[str, str, str], None]) -> None:
        self._find, self._is_valid = find, is_valid
        self._cluster = bytes.fromhex(genesis.cluster_id)
        self._certified = EpochHistory(genesis, is_valid)
        self._proven = EpochHistory(genesis, is_valid)
        self._rows: list[StoredEpoch] = []
        self._looked: dict[tuple[str, int, int], int] = {}

    @property
    def newest(self) -> Electorate:
        """The newest electorate that was certified."""
        return self._certified.newest

    @property
    def changes(self) -> int:
        """How many changes were certified."""
        return self.newest.epoch - FIRST_EPOCH

    def in_force(self, seq: int) -> Electorate:
        """The electorate after the entry of a seq, as far as it was certified."""
        return self._certified.in_force(seq)

    # Leases.

    def judges(self, host: Host, seq: int) -> tuple[Electorate, ...]:
        """Who must have agreed to a lease for a seq that this host puts together; none if nobody can have."""
        if seq < self._certified.newest_seq:
            return self._certified.judges(seq)
        core = host.core
        leaf = None if core is None else core.machine.leaf(seq)
        if core is None or leaf is None or leaf.epoch == self.newest.epoch:
            return (self.newest,)
        before = core.machine.leaf(seq - 1)
        waiting = core.epochs.waiting
        is_next = before is not None and (before.epoch, leaf.epoch) == (self.newest.epoch, self.newest.epoch + 1)
        if not is_next or not waiting or waiting[0].seq != seq:
            detail = f"puts seq {seq} of epoch {leaf.epoch} together, certified is {self.newest.epoch}"
            self._find("epoch_skipped", host.name, detail)
            return ()
        return (self.newest, waiting[0].electorate)

    def lacking(self, lease: Lease, checkpoint: Checkpoint, judges: tuple[Electorate, ...]) -> str:
        """Which of these has no quorum of acks in a lease, counted without the code that nodes count with."""
        for electorate in judges:
            agreed = {
                voter.public_key
                for voter in electorate.voters
                if any(self._is_ack_of(signed, voter, checkpoint) for signed in lease.acks)
            }
            if len(agreed) < electorate.quorum_count:
                return f"{len(agreed)} of {electorate.quorum_count} voters of epoch {electorate.epoch} agreed"
        return ""

    def _is_ack_of(self, signed: Signed, voter: Member, checkpoint: Checkpoint) -> bool:
        if signed.signer != voter.id or not self._is_valid(
            voter.public_key, signed.signature, signed.message(self._cluster)
        ):
            return False
        ack = Ack.decode(signed.body)
        return (ack.seq, ack.root) == (checkpoint.seq, checkpoint.root)

    def put_together(self, seq: int, judges: tuple[Electorate, ...]) -> None:
        """A lease for a seq was verified by these."""
        if judges[-1].epoch == self.newest.epoch + 1:
            self._certified.learn(seq, judges[-1])

    # Nodes.

    def acking(self, host: Host, ack: Ack) -> None:
        """An ack is about to leave."""
        machine = None if host.core is None else host.core.machine
        leaf = None if machine is None else machine.leaf(ack.seq)
        if machine is None or leaf is None:
            return
        held = FIRST_EPOCH + len(host.disk.epochs)
        before = machine.leaf(ack.seq - 1)
        is_change = before is not None and before.epoch < leaf.epoch
        if leaf.epoch - is_change > held:
            self._find("acked_beyond", host.name, f"acks seq {ack.seq} of epoch {leaf.epoch}, the disk holds {held}")

    def look(self, host: Host) -> None:
        """A node that runs, after its turn."""
        if host.core is None:
            return
        self._look_at_chain(host)
        self._look_at_voters(host)
        lease = host.core.gate.standing().lease
        if lease is None:
            return
        member = self._certified.in_force(lease.seq).find(host.name)
        if member is None or member.public_key != host.public_key:
            self._find("stranger_allows", host.name, f"could allow at seq {lease.seq}, where it is no member")

    def _look_at_chain(self, host: Host) -> None:
        place = (host.name, host.installs, len(host.disk.epochs))
        if place in self._looked:
            return
        self._looked[place] = 1
        for row in host.disk.epochs:
            number = row.epoch - FIRST_EPOCH - 1
            if number < len(self._rows):
                known = self._rows[number]
                if (known.seq, known.leaf) != (row.seq, row.leaf):
                    self._find("epoch_chain", host.name, f"holds another epoch {row.epoch} than others do")
            else:
                self._prove(host, row)

    def _prove(self, host: Host, row: StoredEpoch) -> None:
        try:
            electorate = self._proven.verify(link_of(row))
        except GovraftError as error:
            self._find("epoch_chain", host.name, f"epoch {row.epoch} on the disk proves nothing: {error}")
            return
        self._rows.append(row)
        if self._certified.electorates.get(row.epoch) != electorate:
            self._find("epoch_chain", host.name, f"epoch {row.epoch} on the disk is not the one that was certified")

    def _look_at_voters(self, host: Host) -> None:
        sequencer = None if host.core is None else host.core.sequencer
        if not isinstance(sequencer, PysyncobjSequencer):
            return
        electorate = self._certified.electorates.get(sequencer.epoch)
        engine = sequencer._engine  # noqa: SLF001 - no node is asked whom it believes to vote, its engine counts them
        own = engine._SyncObj__selfNode  # noqa: SLF001 - as above
        voters = {node.id for node in engine._SyncObj__otherNodes} | ({own.id} if own is not None else set())  # noqa: SLF001
        if electorate is None:
            self._find("voter_set", host.name, f"counts by epoch {sequencer.epoch}, which nobody has certified")
        elif voters != {voter.id for voter in electorate.voters}:
            self._find(
                "voter_set", host.name, f"in epoch {sequencer.epoch} counts votes of {', '.join(sorted(voters))}"
            )
