"""Permit files: a permit with all that it takes to verify it, for whoever holds nothing but the genesis.

    {"format": "govraft.permit.v1", "envelope": {…}, "leaf": base64, "proof": [base64], "certificate": text,
     "epochs": [link, …]}

What makes it a proof, in this order:

1. The file is canonical, and its statement is one of this cluster.
2. The links lead from the genesis to the electorate of the statement's epoch.
3. Every signature is that of a voter of that electorate, and they are a quorum.
4. The certificate, cosigned by a quorum of the same electorate, covers exactly the statement's seq, and the leaf there
   has the statement's epoch and state root.
5. It holds now, for this audience, and for this request.

It proves that the state allowed the request when the quorum signed. What was revoked since then is not in it: a permit
lives for minutes, and whoever cannot wait that long asks a node.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from govraft.core.codec.base64_text import to_base64
from govraft.core.crypto.keys import verify
from govraft.core.evidence.chain import Chain, open_chain, prove_exact
from govraft.core.evidence.files import decode_file, encode_file, malformed, to_bytes, to_nodes
from govraft.core.evidence.permit import permit_statement, verify_permit
from govraft.core.evidence.sealed import SealedFields, fields_of
from govraft.core.evidence.statements import PermitStatement, request_digest
from govraft.core.lineage.leaf import Leaf
from govraft.core.lineage.proofs import verify_inclusion
from govraft.core.model.genesis import Genesis
from govraft.core.model.request import Request
from govraft.errors import (
    ExpiredError,
    InputError,
    LineageError,
    VerificationError,
)

__all__ = [
    "AUDIENCE_MISMATCH",
    "NOT_YET_VALID",
    "PERMIT_FORMAT",
    "REQUEST_MISMATCH",
    "SUPERSEDED",
    "ProvenPermit",
    "encode_permit_file",
    "envelope_in",
    "prove_permit",
]

PERMIT_FORMAT = "govraft.permit.v1"
NOT_YET_VALID = "not_yet_valid"
REQUEST_MISMATCH = "request_mismatch"
AUDIENCE_MISMATCH = "audience_mismatch"
SUPERSEDED = "superseded"


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: Literal["govraft.permit.v1"]
    envelope: SealedFields
    leaf: str
    proof: list[str]
    certificate: str
    epochs: list[dict[str, Any]]


class ProvenPermit(msgspec.Struct, frozen=True):
    """What a permit file proves.

    Attributes:
        statement: Signed by the quorum. A `single_use` permit must still be redeemed.
        voters: Ids of the voters that signed it, sorted.
        leaf: Of the certified state that it was decided on.
    """

    statement: PermitStatement
    voters: tuple[str, ...]
    leaf: Leaf


def encode_permit_file(
    envelope: bytes, *, leaf: bytes, proof: Sequence[bytes], certificate: bytes, links: Sequence[dict[str, Any]]
) -> bytes:
    """The bytes of a permit file.

    Args:
        envelope: Signed by a quorum.
        leaf: Of the statement's seq.
        proof: Of the leaf in the tree of that size.
        certificate: For exactly that seq; see `chain.exact_note`.
        links: From the genesis to the statement's epoch.
    """
    return encode_file(
        {
            "format": PERMIT_FORMAT,
            "envelope": fields_of(envelope),
            "leaf": to_base64(leaf),
            "proof": [to_base64(node) for node in proof],
            "certificate": certificate.decode("utf-8"),
            "epochs": list(links),
        }
    )


def envelope_in(data: bytes) -> bytes:
    """The envelope in a permit file, unverified. Raises `VerificationError` for anything else."""
    return decode_file(data, _File, what="permit").envelope.encode()


def prove_permit(
    data: bytes,
    genesis: Genesis,
    *,
    at: int,
    request: Request | None = None,
    audience: str | None = None,
    at_least: int = 0,
) -> ProvenPermit:
    """Verify a permit file against the genesis and nothing else.

    Args:
        data: The file.
        genesis: Trusted.
        at: WallMs now, by the clock of whoever verifies.
        request: What is about to be done; None if the caller compares the statement himself.
        audience: Who verifies. A permit that names an audience is void for everybody else.
        at_least: A seq that the caller knows to be effective: a permit on an older state is void.

    Returns:
        Only what is proven.

    Raises:
        ExpiredError: It held once, or will hold (code `not_yet_valid`).
        VerificationError: It proves nothing, or something else.
    """
    file = decode_file(data, _File, what="permit")
    envelope = file.envelope.encode()
    statement = permit_statement(envelope)
    if statement.cluster != genesis.cluster_id:
        raise VerificationError("the permit is of another cluster", code="wrong_cluster")
    chain = open_chain(genesis, file.epochs)
    electorate = chain.electorate(statement.epoch)
    verified = verify_permit(envelope, electorate, genesis.cluster_id, is_valid=verify)
    leaf = _prove_state(file, statement, chain, genesis)
    _check_use(statement, genesis, at=at, request=request, audience=audience, at_least=at_least)
    return ProvenPermit(statement, verified.voters, leaf)


def _prove_state(file: _File, statement: PermitStatement, chain: Chain, genesis: Genesis) -> Leaf:
    """The certified leaf of the statement's seq."""
    chain.require_in_force(statement.epoch, statement.seq)
    checkpoint = prove_exact(file.certificate.encode(), chain.electorate(statement.epoch), genesis.origin)
    leaf_bytes = to_bytes(file.leaf, what="leaf")
    try:
        leaf = Leaf.decode(leaf_bytes)
    except InputError as error:
        raise malformed(f"not a permit: {error}") from error
    # SAFETY: the state that the quorum names is the one that it certified
    # (test_permit_file.py::test_a_leaf_of_another_state_is_refused).
    verify_inclusion(leaf_bytes, leaf.seq - 1, checkpoint.seq, to_nodes(file.proof, what="proof"), checkpoint.root)
    said = (statement.seq, statement.seq, statement.epoch, statement.state_root)
    if said != (checkpoint.seq, leaf.seq, leaf.epoch, leaf.state_root.hex()):
        raise LineageError("the permit speaks of another state than its leaf and certificate")
    return leaf


def _check_use(
    statement: PermitStatement,
    genesis: Genesis,
    *,
    at: int,
    request: Request | None,
    audience: str | None,
    at_least: int,
) -> None:
    # SAFETY: test_permit_file.py::test_a_permit_holds_from_issued_until_not_after
    if statement.issued > at + genesis.clock_skew_max_ms:
        raise ExpiredError("the permit is not valid yet: is this clock right?", code=NOT_YET_VALID)
    if at >= statement.not_after:
        raise ExpiredError("the permit has run out, ask for another one")
    if statement.seq < at_least:
        raise VerificationError(f"the permit rests on seq {statement.seq}, older than {at_least}", code=SUPERSEDED)
    if statement.audience is not None and statement.audience != audience:
        raise VerificationError(f"the permit is for `{statement.audience}` only", code=AUDIENCE_MISMATCH)
    if request is not None and _digest(request) != statement.request_digest:
        raise VerificationError("the permit is for another request", code=REQUEST_MISMATCH)


def _digest(request: Request) -> str:
    try:
        return request_digest(request)
    except InputError as error:
        raise VerificationError(f"no permit is for such a request: {error}", code=REQUEST_MISMATCH) from error
