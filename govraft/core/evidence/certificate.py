"""What a quorum certificate proves to somebody who holds nothing but the genesis."""

from __future__ import annotations

import msgspec

from govraft.core.codec.note import parse_note
from govraft.core.convergence.certificate import key_name, verify_certificate
from govraft.core.crypto.keys import verify
from govraft.core.model.genesis import Genesis

__all__ = ["ProvenCheckpoint", "prove_checkpoint"]


class ProvenCheckpoint(msgspec.Struct, frozen=True):
    """A quorum of the genesis electorate cosigned that the lineage of `seq` leaves has this root.

    Attributes:
        seq: How many leaves the checkpoint covers.
        root: 32 bytes.
        cosigners: Ids of the voters whose cosignatures it carries, sorted.
    """

    seq: int
    root: bytes
    cosigners: tuple[str, ...]


def prove_checkpoint(note: bytes, genesis: Genesis) -> ProvenCheckpoint:
    """Verify a certificate against the genesis and nothing else.

    The electorate is that of the genesis: this version has no command that changes it.

    Raises:
        CertificateError: It proves nothing.
    """
    electorate = genesis.electorate()
    checkpoint = verify_certificate(note, electorate, genesis.origin, is_valid=verify)
    names = {item.name for item in parse_note(note).signatures}
    # Names alone tell little, but a known key with a bad signature has refused the whole note above.
    cosigners = sorted(voter.id for voter in electorate.voters if key_name(genesis.origin, voter.id) in names)
    return ProvenCheckpoint(checkpoint.seq, checkpoint.root, tuple(cosigners))
