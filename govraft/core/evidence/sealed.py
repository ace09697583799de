"""Envelopes that nodes seal: which members of an electorate signed one.

Stricter than an envelope of authorities: a signature that is not one of the wanted members, or that does not hold,
refuses the whole envelope, and signatures come sorted by key id. So no byte of it can be changed unnoticed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from govraft.core.codec.canonical import pack_json
from govraft.core.codec.envelope import Envelope, decode_envelope, seal
from govraft.core.convergence.certificate import IsValid
from govraft.core.crypto.keys import key_id
from govraft.core.evidence.files import malformed
from govraft.core.evidence.statements import Statement
from govraft.core.model.electorate import Member
from govraft.errors import InputError, SignatureError

__all__ = ["SealedFields", "fields_of", "open_sealed", "seal_statement", "signing_members"]


class _SignatureFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keyid: str
    sig: str


class SealedFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"payload_type": "payloadType"}):
    """A DSSE envelope as part of an evidence file."""

    payload: str
    payload_type: str
    signatures: tuple[_SignatureFields, ...]

    def encode(self) -> bytes:
        """The envelope's bytes."""
        return pack_json(msgspec.to_builtins(self))


def fields_of(envelope: bytes) -> dict[str, Any]:
    """An envelope, as part of an evidence file that is about to be written."""
    fields: dict[str, Any] = msgspec.json.decode(envelope)
    return fields


def seal_statement(payload_type: str, statement: Statement, signatures: Mapping[bytes, bytes]) -> bytes:
    """The envelope of a statement, from signatures of its `pae` by public key."""
    parts = sorted(signatures.items(), key=lambda part: key_id(part[0]))
    return seal(payload_type, statement.encode(), parts)


def open_sealed(data: bytes, payload_type: str, *, what: str) -> Envelope:
    """Decode an envelope that must be of one type, in canonical form.

    Raises:
        VerificationError: It is not; code `evidence_malformed`.
    """
    try:
        envelope = decode_envelope(data)
    except InputError as error:
        raise malformed(f"not a {what}: {error}") from error
    if envelope.payload_type != payload_type:
        raise malformed(f"not a {what}: its payload is of type `{envelope.payload_type[:100]}`")
    return envelope


def signing_members(envelope: Envelope, members: Iterable[Member], is_valid: IsValid) -> tuple[Member, ...]:
    """The members that signed, in the order of their key ids.

    Args:
        envelope: Unverified.
        members: Whose signatures may be in it.
        is_valid: Checks a signature.

    Raises:
        SignatureError: A signature of somebody else, one that does not hold, or out of order or twice.
    """
    known = {key_id(member.public_key): member for member in members}
    names = [part.key_id for part in envelope.signatures]
    # SAFETY: one key counts once, and no signature goes unverified
    # (test_permit_file.py::test_every_signature_must_be_a_voters).
    if names != sorted(set(names)):
        raise SignatureError("signatures must be sorted by key id, one for each key")
    signers = []
    for part in envelope.signatures:
        member = known.get(part.key_id)
        if member is None:
            raise SignatureError(f"key `{part.key_id[:64]}` is not of a node that may sign this")
        if not is_valid(member.public_key, part.signature, envelope.signed_bytes):
            raise SignatureError(f"the signature of `{member.id}` does not hold")
        signers.append(member)
    return tuple(signers)
