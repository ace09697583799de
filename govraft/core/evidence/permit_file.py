"""Permit files: a permit with all that it takes to verify it, for whoever holds nothing but the genesis.

    {"format": "govraft.permit.v1", "envelope": {…}, "leaf": base64, "proof": [base64], "certificate": text,
     "epochs": [link, …]}

What makes it a proof, in this order:

1. The file is canonical, and its statement is one of this cluster.
2. The links lead from the genesis to the electorate of the statement's epoch.
3. Every signature is that of a voter of that electorate, and they are a quorum.
4. The certificate, cosigned by a quorum of the same electorate, covers exactly the statement's seq, and the leaf there
   has the statement's epoch and state root.
5. That certificate was made within a day of the permit: so an old note is not served again by whoever is lazy.
6. With a trust state: that electorate is the trusted one, or follows it.
7. It holds now, for this audience, and for this request.

Without 6 it is proven by the founders' keys alone: whoever holds the keys of a quorum that left the electorate, however
long ago, can make such a file. It proves that the state allowed the request when the quorum signed. What was revoked
since then is not in it: a permit lives for minutes, and whoever cannot wait that long asks a node.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from govraft.core.codec.base64_text import to_base64
from govraft.core.codec.note import parse_note
from govraft.core.crypto.keys import verify
from govraft.core.evidence.chain import Chain, open_chain, prove_exact
from govraft.core.evidence.files import decode_file, encode_file, malformed, to_bytes, to_nodes
from govraft.core.evidence.permit import permit_statement, verify_permit
from govraft.core.evidence.sealed import SealedFields, fields_of
from govraft.core.evidence.statements import PermitStatement, request_digest
from govraft.core.evidence.trust_state import SUPERSEDED, Shown, TrustState
from govraft.core.lineage.leaf import Leaf
from govraft.core.lineage.proofs import verify_inclusion
from govraft.core.model.electorate import Electorate
from govraft.core.model.genesis import Genesis
from govraft.core.model.limits import PERMIT_CERTIFICATE_AGE_MS
from govraft.core.model.request import Request
from govraft.errors import CertificateError, ExpiredError, InputError, LineageError, VerificationError

__all__ = [
    "AUDIENCE_MISMATCH",
    "NOT_YET_VALID",
    "PERMIT_FORMAT",
    "REQUEST_MISMATCH",
    "STALE_CERTIFICATE",
    "ProvenPermit",
    "encode_permit_file",
    "envelope_in",
    "prove_permit",
]

PERMIT_FORMAT = "govraft.permit.v1"
NOT_YET_VALID = "not_yet_valid"
REQUEST_MISMATCH = "request_mismatch"
AUDIENCE_MISMATCH = "audience_mismatch"
STALE_CERTIFICATE = "stale_certificate"


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
    trust: TrustState | None = None,
) -> ProvenPermit:
    """Verify a permit file against the genesis, and against what the verifier trusts beyond it.

    Args:
        data: The file.
        genesis: Trusted.
        at: WallMs now, by the clock of whoever verifies.
        request: What is about to be done; None if the caller compares the statement himself.
        audience: Who verifies. A permit that names an audience is void for everybody else.
        at_least: A seq that the caller knows to be effective: a permit on an older state is void.
        trust: Without it, keys that left the electorate long ago still make permits.

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
    leaf = _prove_state(file, statement, chain, genesis, trust)
    _check_use(statement, genesis, at=at, request=request, audience=audience, at_least=at_least)
    return ProvenPermit(statement, verified.voters, leaf)


def _prove_state(
    file: _File, statement: PermitStatement, chain: Chain, genesis: Genesis, trust: TrustState | None
) -> Leaf:
    """The certified leaf of the statement's seq."""
    chain.require_in_force(statement.epoch, statement.seq)
    note, electorate = file.certificate.encode(), chain.electorate(statement.epoch)
    checkpoint = prove_exact(note, electorate, genesis.origin)
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
    if not chain.is_change(statement.seq):
        _require_fresh(note, electorate, statement.issued)
    if trust is not None:
        trust.require_current(Shown(chain.history, statement.epoch, checkpoint.seq, {checkpoint.seq: checkpoint.root}))
    return leaf


def _require_fresh(note: bytes, electorate: Electorate, issued: int) -> None:
    """Refuse a certificate that no quorum made about when the permit was issued.

    Nodes certify their state anew all the time; only the certificate with which an electorate begins is made once.
    """
    times = [item.time_s * 1000 for item in parse_note(note).signatures]
    # SAFETY: one line a voter, as the note is exact (test_permit_file.py::test_a_stale_certificate_is_refused).
    if sum(abs(time - issued) <= PERMIT_CERTIFICATE_AGE_MS for time in times) < electorate.quorum_count:
        raise CertificateError("no quorum certified its state within a day of its issue", code=STALE_CERTIFICATE)


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
