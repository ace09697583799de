"""What a quorum certificate proves to somebody who holds nothing but the genesis, and the changes of the electorate."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from govraft.core.codec.note import Checkpoint, cosignature_key_id, parse_note
from govraft.core.convergence.certificate import key_name, verify_certificate
from govraft.core.crypto.keys import verify
from govraft.core.evidence.epochs import EpochHistory, EpochLink, verify_epochs
from govraft.core.evidence.trust_state import Shown, TrustState
from govraft.core.model.electorate import Member
from govraft.core.model.genesis import Genesis
from govraft.errors import CertificateError, DecodeError, LineageError, VerificationError

__all__ = ["ProvenCheckpoint", "prove_certificate", "prove_checkpoint", "prove_in_history"]


class ProvenCheckpoint(msgspec.Struct, frozen=True):
    """A quorum cosigned that the lineage of `seq` leaves has this root.

    Attributes:
        seq: How many leaves the checkpoint covers.
        root: 32 bytes.
        epoch: Of the electorate whose quorum it was; at the seq at which it began, one of the electorate before it too.
        cosigners: Ids of the voters whose cosignatures it carries, sorted.
    """

    seq: int
    root: bytes
    epoch: int
    cosigners: tuple[str, ...]


def prove_checkpoint(
    note: bytes, genesis: Genesis, links: Sequence[EpochLink] = (), epoch: int | None = None
) -> ProvenCheckpoint:
    """Verify a certificate against the genesis and the changes of the electorate that are shown with it.

    It is judged by the electorate in force at its seq, as far as the links tell. A change that they leave out is not
    missed here: whoever did not come by all links up to now must know the epoch from elsewhere, from a leaf under the
    certificate for instance, and give it. Else a quorum that left long ago could still certify for him.

    Args:
        note: The signed note.
        genesis: Trusted.
        links: Of the epochs from 2 on, without a gap.
        epoch: In which the certificate must be, if that is known.

    Raises:
        VerificationError: It proves nothing.
    """
    return prove_in_history(note, genesis, verify_epochs(genesis, links), epoch)


def prove_certificate(note: bytes, genesis: Genesis, trust: TrustState | None = None) -> tuple[ProvenCheckpoint, Shown]:
    """Verify a certificate that comes without links: by the trusted electorate, else by that of the genesis.

    Raises:
        VerificationError: It proves nothing.
    """
    histories = [EpochHistory(genesis)] if trust is None else [trust.history(genesis), EpochHistory(genesis)]
    failure: VerificationError | None = None
    for history in histories:
        try:
            proven = prove_in_history(note, genesis, history)
        except VerificationError as error:
            failure = error
            continue
        return proven, Shown(history, proven.epoch, proven.seq, {proven.seq: proven.root})
    raise failure or CertificateError("there is no electorate to judge by")


def prove_in_history(
    note: bytes, genesis: Genesis, history: EpochHistory, epoch: int | None = None
) -> ProvenCheckpoint:
    """As `prove_checkpoint`, by epochs that are verified already.

    Raises:
        VerificationError: It proves nothing.
    """
    try:
        parsed = parse_note(note)
        seq = Checkpoint.decode(parsed.body).seq
    except DecodeError as error:
        raise CertificateError(f"certificate cannot be read: {error}") from error
    judges = history.judges(seq)
    # SAFETY: an electorate that is no more certifies nothing
    # (test_epochs.py::test_a_certificate_of_a_former_electorate).
    if epoch is not None and judges[-1].epoch != epoch:
        raise LineageError(f"seq {seq} is of epoch {judges[-1].epoch} as far as is shown, not of epoch {epoch}")
    checkpoint = verify_certificate(note, judges, genesis.origin, is_valid=verify)
    # By name and key id: a known key with a bad signature has refused the whole note above, but anybody can add a line
    # of an unknown key under a voter's name.
    signed = {(item.name, item.key_id) for item in parsed.signatures}
    voters = (voter for electorate in judges for voter in electorate.voters)
    cosigners = sorted({voter.id for voter in voters if _line_of(genesis.origin, voter) in signed})
    return ProvenCheckpoint(checkpoint.seq, checkpoint.root, judges[-1].epoch, tuple(cosigners))


def _line_of(origin: str, voter: Member) -> tuple[str, bytes]:
    name = key_name(origin, voter.id)
    return name, cosignature_key_id(name, voter.public_key)
