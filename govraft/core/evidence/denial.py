"""Signed denials: one node's word that it denied a request, and why.

    {"format": "govraft.denial.v1", "envelope": {…}, "epochs": [link, …]}

It proves what that node said, and when by its own clock; not that others would have said the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from govraft.core.convergence.certificate import IsValid
from govraft.core.crypto.keys import verify
from govraft.core.evidence.chain import open_chain
from govraft.core.evidence.files import decode_file, encode_file, malformed
from govraft.core.evidence.sealed import SealedFields, fields_of, open_sealed, signing_members
from govraft.core.evidence.statements import DENIAL_TYPE, DenialStatement, request_digest
from govraft.core.evidence.trust_state import Shown
from govraft.core.model.electorate import Electorate
from govraft.core.model.genesis import Genesis
from govraft.core.model.request import Request
from govraft.errors import CertificateError, InputError, SignatureError, VerificationError

__all__ = [
    "DENIAL_FORMAT",
    "contradicted_by",
    "denial_statement",
    "encode_denial_file",
    "prove_denial",
    "show_denial",
    "verify_denial",
]

DENIAL_FORMAT = "govraft.denial.v1"


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: Literal["govraft.denial.v1"]
    envelope: SealedFields
    epochs: list[dict[str, Any]]


def contradicted_by(node: str) -> str:
    """What a node says that got no permit because another one, on the same state, decided otherwise."""
    return f"`{node}` holds the same state and denies it"


def denial_statement(envelope: bytes) -> DenialStatement:
    """What a denial says, with nothing of it verified.

    Raises:
        VerificationError: It is no denial; code `evidence_malformed`.
    """
    try:
        return DenialStatement.decode(open_sealed(envelope, DENIAL_TYPE, what="denial").payload)
    except InputError as error:
        raise malformed(f"not a denial: {error}") from error


def verify_denial(envelope: bytes, electorate: Electorate, cluster: str, *, is_valid: IsValid) -> DenialStatement:
    """Verify that the node which a denial names signed it.

    Args:
        envelope: Unverified, exact bytes.
        electorate: Trusted, of the epoch that the denial must be of.
        cluster: Cluster id.
        is_valid: Checks a signature.

    Raises:
        VerificationError: Malformed, of another cluster or epoch, or not signed by exactly that node.
    """
    statement = denial_statement(envelope)
    if statement.cluster != cluster:
        raise VerificationError("the denial is of another cluster", code="wrong_cluster")
    if statement.epoch != electorate.epoch:
        message = f"the denial is of epoch {statement.epoch}, not of {electorate.epoch}"
        raise CertificateError(message, code="wrong_epoch")
    member = electorate.find(statement.node)
    if member is None:
        raise SignatureError(f"`{statement.node}` was no member in epoch {statement.epoch}")
    # SAFETY: nobody speaks for another node (test_denial.py::test_another_nodes_signature_is_refused).
    opened = open_sealed(envelope, DENIAL_TYPE, what="denial")
    if len(signing_members(opened, [member], is_valid)) != 1:
        raise SignatureError(f"the denial is not signed by `{member.id}`")
    return statement


def encode_denial_file(envelope: bytes, *, links: Sequence[dict[str, Any]]) -> bytes:
    """The bytes of a denial file; `links` lead from the genesis to the statement's epoch."""
    return encode_file({"format": DENIAL_FORMAT, "envelope": fields_of(envelope), "epochs": list(links)})


def prove_denial(data: bytes, genesis: Genesis, *, request: Request | None = None) -> DenialStatement:
    """Verify a denial file against the genesis and nothing else.

    Args:
        data: The file.
        genesis: Trusted.
        request: What it must be about; None if the caller compares the statement himself.

    Raises:
        VerificationError: It proves nothing, or something else.
    """
    return show_denial(data, genesis, request=request)[0]


def show_denial(data: bytes, genesis: Genesis, *, request: Request | None = None) -> tuple[DenialStatement, Shown]:
    """As `prove_denial`, with what is to be held against a trust state."""
    file = decode_file(data, _File, what="denial")
    envelope = file.envelope.encode()
    statement = denial_statement(envelope)
    if statement.cluster != genesis.cluster_id:
        raise VerificationError("the denial is of another cluster", code="wrong_cluster")
    chain = open_chain(genesis, file.epochs)
    verify_denial(envelope, chain.electorate(statement.epoch), genesis.cluster_id, is_valid=verify)
    if request is not None and _digest(request) != statement.request_digest:
        raise VerificationError("the denial is for another request", code="request_mismatch")
    return statement, Shown(chain.history, statement.epoch)


def _digest(request: Request) -> str:
    try:
        return request_digest(request)
    except InputError as error:
        raise VerificationError(f"no denial is for such a request: {error}", code="request_mismatch") from error
