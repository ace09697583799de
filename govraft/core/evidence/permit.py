"""Permits: that a quorum of voters, each for itself, allowed one request on one certified state.

All voters sign the same statement. Each has evaluated the request under its own lease on the statement's seq, so a
quorum's signatures say what a lease says: nothing that became effective before was missed.
"""

from __future__ import annotations

import msgspec

from govraft.core.convergence.certificate import IsValid
from govraft.core.evidence.files import malformed
from govraft.core.evidence.sealed import open_sealed, signing_members
from govraft.core.evidence.statements import PERMIT_TYPE, PermitStatement
from govraft.core.model.electorate import Electorate
from govraft.errors import CertificateError, InputError, ThresholdError, VerificationError

__all__ = ["VerifiedPermit", "permit_statement", "verify_permit"]


class VerifiedPermit(msgspec.Struct, frozen=True):
    """A statement that a quorum of its epoch's electorate signed.

    Attributes:
        statement: What they signed.
        voters: Their ids, sorted.
    """

    statement: PermitStatement
    voters: tuple[str, ...]


def permit_statement(envelope: bytes) -> PermitStatement:
    """What a permit says, with nothing of it verified.

    Raises:
        VerificationError: It is no permit; code `evidence_malformed`.
    """
    try:
        return PermitStatement.decode(open_sealed(envelope, PERMIT_TYPE, what="permit").payload)
    except InputError as error:
        raise malformed(f"not a permit: {error}") from error


def verify_permit(envelope: bytes, electorate: Electorate, cluster: str, *, is_valid: IsValid) -> VerifiedPermit:
    """Verify that a quorum of `electorate` signed a permit. Time is for the caller to judge.

    Args:
        envelope: Unverified, exact bytes.
        electorate: Trusted, of the epoch that the permit must be of.
        cluster: Cluster id.
        is_valid: Checks a signature.

    Raises:
        VerificationError: Malformed, of another cluster or epoch, a signature of anybody but a voter, or too few.
    """
    statement = permit_statement(envelope)
    if statement.cluster != cluster:
        raise VerificationError("the permit is of another cluster", code="wrong_cluster")
    if statement.epoch != electorate.epoch:
        message = f"the permit is of epoch {statement.epoch}, not of {electorate.epoch}"
        raise CertificateError(message, code="wrong_epoch")
    opened = open_sealed(envelope, PERMIT_TYPE, what="permit")
    signers = signing_members(opened, electorate.voters, is_valid)
    # SAFETY: distinct keys of voters, at least a quorum
    # (test_permit_file.py::test_less_than_a_quorum_is_no_permit).
    if len(signers) < electorate.quorum_count:
        raise ThresholdError(f"the permit has {len(signers)} of {electorate.quorum_count} signatures")
    return VerifiedPermit(statement, tuple(sorted(member.id for member in signers)))
