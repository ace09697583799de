"""What a quorum certificate proves to somebody who holds nothing but the genesis."""

from __future__ import annotations

import msgspec

from govraft.core.codec.note import cosignature_key_id, parse_note
from govraft.core.convergence.certificate import key_name, verify_certificate
from govraft.core.crypto.keys import verify
from govraft.core.model.electorate import Member
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
    # By name and key id: a known key with a bad signature has refused the whole note above, but anybody can add a line
    # of an unknown key under a voter's name.
    signed = {(item.name, item.key_id) for item in parse_note(note).signatures}
    cosigners = sorted(voter.id for voter in electorate.voters if _line_of(genesis.origin, voter) in signed)
    return ProvenCheckpoint(checkpoint.seq, checkpoint.root, tuple(cosigners))


def _line_of(origin: str, voter: Member) -> tuple[str, bytes]:
    name = key_name(origin, voter.id)
    return name, cosignature_key_id(name, voter.public_key)
