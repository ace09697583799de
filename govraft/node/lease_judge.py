"""By which electorates a node judges a lease, and whether the lease contradicts what the node holds.

| lease                                             | judged by                                                     |
|---------------------------------------------------|---------------------------------------------------------------|
| of another root than the node's own at its seq    | the certified electorate: if that certified it, the node errs |
| of the certified epoch, before any waiting change | the certified electorate                                      |
| of the first waiting change                       | the certified electorate and the one after the change         |
| any other                                         | nobody here: true or not, this node cannot tell               |
"""

from __future__ import annotations

from govraft.core.convergence.certificate import (
    WRONG_EPOCH,
    IsValid,
    OpenedLease,
    VerifiedLease,
    open_lease,
    verify_certificate,
    verify_opened,
)
from govraft.core.convergence.messages import Kind, ProvenChange, Signed
from govraft.core.convergence.timing import LeaseTiming
from govraft.core.machine.machine import Machine
from govraft.core.model.electorate import Electorate
from govraft.errors import CertificateError
from govraft.node.epochs import Epochs

__all__ = ["JudgedChange", "LeaseJudge"]

JudgedChange = tuple[int, Electorate, OpenedLease]
"""Seq of a change of the electorate, the electorate after it, and the lease that proves it."""


class LeaseJudge:
    """Verifies leases by what one node knows. Changes nothing.

    Args:
        machine: The node's.
        epochs: The node's.
        is_valid: Checks a signature.
    """

    def __init__(self, machine: Machine, epochs: Epochs, is_valid: IsValid) -> None:
        self._machine = machine
        self._epochs = epochs
        self._is_valid = is_valid
        self._origin = machine.genesis.origin
        self._cluster = bytes.fromhex(machine.genesis.cluster_id)
        self._timing = LeaseTiming.of(machine.genesis)

    def open(self, signed: Signed) -> OpenedLease:
        """Read a lease of somebody whom this node listens to.

        Raises:
            CertificateError: It is none.
        """
        return open_lease(signed, self._epochs.speakers, self._cluster, is_valid=self._is_valid)

    def contradicts(self, opened: OpenedLease) -> bool:
        """Whether those who certify for this node have certified another state than its own.

        Asked first: from another state another electorate may follow, by which the lease could not be judged.

        Raises:
            CertificateError: It says another state, and proves nothing.
        """
        checkpoint = opened.probe.checkpoint
        if checkpoint.seq > self._machine.seq or self._machine.lineage.root(checkpoint.seq) == checkpoint.root:
            return False
        certified = self._epochs.certified
        proven = verify_certificate(opened.lease.note, certified, self._origin, is_valid=self._is_valid)
        if proven != checkpoint:
            raise CertificateError("certificate and probe are of different checkpoints")
        return True

    def verify(self, opened: OpenedLease) -> VerifiedLease:
        """Judge a lease that does not contradict.

        Raises:
            CertificateError: It does not hold; with the code `WRONG_EPOCH` if only this node cannot tell.
        """
        epoch, seq = opened.probe.epoch, opened.probe.checkpoint.seq
        known = self._epochs.certified.epoch
        electorates = self._epochs.judges(epoch, seq)
        if not electorates:
            message = f"lease is of epoch {epoch} at seq {seq}, this node knows epoch {known}"
            raise CertificateError(message, code=WRONG_EPOCH)
        try:
            return self._verify(opened, electorates)
        except CertificateError as error:
            if len(electorates) == 1 and (seq != self._epochs.certified_seq or not self._epochs.rows):
                raise
            # At the change itself a leader can be right whom this node cannot follow: it may hold the certificate
            # already, and renew it with the new members alone, or not hold it yet.
            raise CertificateError(str(error), code=WRONG_EPOCH) from error

    def verify_change(self, epoch: int, change: ProvenChange) -> JudgedChange:
        """Judge the proof of the next epoch, whether or not this node has applied its entry.

        Raises:
            CertificateError, LineageError, InputError: It does not hold.
        """
        seq, electorate = self._epochs.prove(epoch, change)
        judges = (self._epochs.certified, electorate)
        signed = Signed.decode(change.lease, Kind.LEASE)
        # SAFETY: not the note alone: also that whoever may have served an older state has moved on
        # (test_electorate_changes.py::test_a_note_without_its_acks_begins_no_epoch).
        opened = open_lease(signed, judges, self._cluster, is_valid=self._is_valid)
        self._verify(opened, judges)
        if opened.probe.checkpoint.seq != seq:
            raise CertificateError(f"epoch {epoch} comes with a lease of another seq")
        return seq, electorate, opened

    def _verify(self, opened: OpenedLease, electorates: tuple[Electorate, ...]) -> VerifiedLease:
        return verify_opened(opened, electorates, self._origin, self._cluster, self._timing, is_valid=self._is_valid)
