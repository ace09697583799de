"""Equivocation: one node signed two roots for one seq. No honest node does, whatever happens to it.

    {"format": "govraft.equivocation.v1", "cluster", "first": base64, "second": base64, "epochs": [link, …]}

Each of the two is a signed ack, or a signed note with one cosignature: the exact bytes in which the node said it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from govraft.core.codec.base64_text import to_base64
from govraft.core.codec.note import Checkpoint, cosignature_key_id, cosigned_message, parse_note
from govraft.core.convergence.certificate import IsValid, key_name, open_ack
from govraft.core.convergence.messages import Kind, Signed
from govraft.core.crypto.keys import verify
from govraft.core.evidence.chain import open_chain
from govraft.core.evidence.files import decode_file, encode_file, to_bytes
from govraft.core.evidence.trust_state import Shown
from govraft.core.model.electorate import Electorate, Member
from govraft.core.model.genesis import Genesis
from govraft.errors import CertificateError, DecodeError, VerificationError

__all__ = [
    "EQUIVOCATION_FORMAT",
    "NO_EQUIVOCATION",
    "ProvenEquivocation",
    "encode_equivocation_file",
    "evidence_in",
    "prove_equivocation",
    "verify_equivocation",
]

EQUIVOCATION_FORMAT = "govraft.equivocation.v1"
NO_EQUIVOCATION = "no_equivocation"


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: Literal["govraft.equivocation.v1"]
    cluster: str
    first: str
    second: str
    epochs: list[dict[str, Any]]


class ProvenEquivocation(msgspec.Struct, frozen=True):
    """What equivocation evidence proves.

    Attributes:
        member: Who signed both, under the key that it had.
        epoch: In whose electorate it had that key.
        seq: For which it signed them.
        roots: The two roots, 32 bytes each.
        shown: Of the history, to be held against a trust state; its epoch is the last in which the node had that key.
    """

    member: Member
    epoch: int
    seq: int
    roots: tuple[bytes, bytes]
    shown: Shown


class _Said(NamedTuple):
    member: Member
    seq: int
    root: bytes


def verify_equivocation(
    first: bytes, second: bytes, electorate: Electorate, cluster: bytes, origin: str, is_valid: IsValid
) -> Member:
    """Verify that one member signed two roots for one seq.

    Args:
        first: A signed ack, or a note with one cosignature, exact bytes.
        second: Another one.
        electorate: Trusted; says whose key is whose.
        cluster: 32-byte cluster digest.
        origin: `govraft.dev/<cluster id>`.
        is_valid: Checks a signature.

    Returns:
        Who did it.

    Raises:
        CertificateError: One of them is nobody's, or an honest node may sign both (code `no_equivocation`).
    """
    return _contradiction(first, second, electorate, cluster, origin, is_valid)[0].member


def _contradiction(
    first: bytes, second: bytes, electorate: Electorate, cluster: bytes, origin: str, is_valid: IsValid
) -> tuple[_Said, _Said]:
    one, other = (_read(item, electorate, cluster, origin, is_valid) for item in (first, second))
    # SAFETY: nobody is convicted by what an honest node may sign
    # (test_equivocation_file.py::test_what_an_honest_node_may_sign_convicts_nobody).
    if one.member != other.member:
        message = f"`{one.member.id}` signed one of them, `{other.member.id}` the other"
        raise CertificateError(message, code=NO_EQUIVOCATION)
    if one.seq != other.seq or one.root == other.root:
        message = f"`{one.member.id}` signed no two roots for one seq"
        raise CertificateError(message, code=NO_EQUIVOCATION)
    return one, other


def _read(data: bytes, electorate: Electorate, cluster: bytes, origin: str, is_valid: IsValid) -> _Said:
    try:
        if data.startswith(origin.encode()):
            return _read_note(data, electorate, origin, is_valid)
        member, ack = open_ack(Signed.decode(data, Kind.ACK), electorate, cluster, is_valid)
    except DecodeError as error:
        raise CertificateError(f"neither an ack nor a cosigned note: {error}") from error
    return _Said(member, ack.seq, ack.root)


def _read_note(data: bytes, electorate: Electorate, origin: str, is_valid: IsValid) -> _Said:
    note = parse_note(data)
    checkpoint = Checkpoint.decode(note.body)
    if checkpoint.origin != origin or len(note.signatures) != 1 or note.others:
        raise CertificateError("a note that accuses is of this cluster and carries one cosignature")
    line = note.signatures[0]
    for member in electorate.members:
        name = key_name(origin, member.id)
        if (line.name, line.key_id) == (name, cosignature_key_id(name, member.public_key)):
            message = cosigned_message(note.body, line.time_s)
            if is_valid(member.public_key, line.signature, message):
                return _Said(member, checkpoint.seq, checkpoint.root)
    raise CertificateError(f"the cosignature of `{line.name[:200]}` is no member's")


def encode_equivocation_file(first: bytes, second: bytes, *, cluster: str, links: Sequence[dict[str, Any]]) -> bytes:
    """The bytes of an evidence file; `links` lead from the genesis to an epoch in which the node had that key."""
    return encode_file(
        {
            "format": EQUIVOCATION_FORMAT,
            "cluster": cluster,
            "first": to_base64(first),
            "second": to_base64(second),
            "epochs": list(links),
        }
    )


def evidence_in(data: bytes) -> tuple[bytes, bytes]:
    """The two messages in an evidence file, unverified. Raises `VerificationError` for anything else."""
    file = decode_file(data, _File, what="piece of equivocation evidence")
    return to_bytes(file.first, what="first"), to_bytes(file.second, what="second")


def prove_equivocation(data: bytes, genesis: Genesis) -> ProvenEquivocation:
    """Verify an evidence file against the genesis and nothing else.

    The keys of each epoch that the file leads to are tried: whose key it was then is who did it.

    Raises:
        VerificationError: It proves nothing.
    """
    file = decode_file(data, _File, what="piece of equivocation evidence")
    if file.cluster != genesis.cluster_id:
        raise VerificationError("the evidence is of another cluster", code="wrong_cluster")
    first, second = to_bytes(file.first, what="first"), to_bytes(file.second, what="second")
    cluster = bytes.fromhex(genesis.cluster_id)
    failure: CertificateError | None = None
    chain = open_chain(genesis, file.epochs)
    for electorate in chain.all:
        try:
            one, other = _contradiction(first, second, electorate, cluster, genesis.origin, verify)
        except CertificateError as error:
            failure = error
            continue
        last = max(later.epoch for later in chain.all if _has_key(later, one.member))
        roots = (one.root, other.root)
        return ProvenEquivocation(one.member, electorate.epoch, one.seq, roots, Shown(chain.history, last))
    raise failure or CertificateError("there is no electorate to judge by")


def _has_key(electorate: Electorate, member: Member) -> bool:
    found = electorate.find(member.id)
    return found is not None and found.public_key == member.public_key
