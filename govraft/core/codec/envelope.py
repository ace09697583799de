"""DSSE envelopes: a payload, its type, and signatures over both.

What is signed is the pre-authentication encoding (PAE) of type and payload, so neither can be exchanged. The envelope
itself is transport: it may be spelled in any JSON, and nothing in it is believed before the signatures are verified.

Stricter than DSSE v1.0, so that two readers cannot see two envelopes in the same bytes: standard base64 with padding
only, no unknown fields, no duplicate keys, `keyid` required.

Source: https://github.com/secure-systems-lab/dsse, protocol.md and envelope.md, v1.0.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from typing import Any, NoReturn

import msgspec

from govraft.core.codec.base64_text import from_base64
from govraft.core.codec.canonical import pack_json
from govraft.core.crypto.digests import digest
from govraft.core.crypto.keys import key_id
from govraft.core.model.limits import ENVELOPE_BYTES, SIGNATURES_PER_ENVELOPE
from govraft.errors import DecodeError, LimitExceededError

__all__ = ["Envelope", "EnvelopeSignature", "decode_envelope", "encode_envelope", "envelope_digest", "pae", "seal"]


class EnvelopeSignature(msgspec.Struct, frozen=True):
    """One signature.

    Attributes:
        key_id: Names the key that should verify it; a hint, believed only once it does.
        signature: Raw bytes, 64 for Ed25519.
    """

    key_id: str
    signature: bytes


class Envelope(msgspec.Struct, frozen=True):
    """A decoded, unverified envelope."""

    payload_type: str
    payload: bytes
    signatures: tuple[EnvelopeSignature, ...]

    @property
    def signed_bytes(self) -> bytes:
        """What the signatures sign."""
        return pae(self.payload_type, self.payload)

    @property
    def payload_digest(self) -> bytes:
        """Names type and payload whoever signed them: equal for a command sealed again with further signatures."""
        return digest("payload", self.signed_bytes)


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: `DSSEv1 <len> <type> <len> <payload>`, lengths in ASCII decimals."""
    name = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(payload), payload)


def envelope_digest(data: bytes) -> bytes:
    """The digest of an envelope's exact bytes: 32 bytes."""
    return digest("envelope", data)


def seal(payload_type: str, payload: bytes, signatures: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The bytes of an envelope, from (public key, signature of `pae(payload_type, payload)`) pairs."""
    parts = tuple(EnvelopeSignature(key_id(public_key), signature) for public_key, signature in signatures)
    return encode_envelope(Envelope(payload_type, payload, parts))


def encode_envelope(envelope: Envelope) -> bytes:
    """Encode an envelope as canonical JSON."""
    return pack_json(
        {
            "payload": base64.b64encode(envelope.payload).decode("ascii"),
            "payloadType": envelope.payload_type,
            "signatures": [
                {"keyid": part.key_id, "sig": base64.b64encode(part.signature).decode("ascii")}
                for part in envelope.signatures
            ],
        }
    )


def decode_envelope(data: bytes) -> Envelope:
    """Decode an envelope. Nothing is verified; there may be no signature at all.

    Raises:
        LimitExceededError: Over `ENVELOPE_BYTES` or `SIGNATURES_PER_ENVELOPE`.
        DecodeError: Not an envelope.
    """
    if len(data) > ENVELOPE_BYTES:
        raise LimitExceededError(f"envelope has {len(data)} bytes, the limit is {ENVELOPE_BYTES}")
    try:
        fields = _DECODER.decode(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        # Nesting that exhausts the reader is no envelope at any stack depth: an envelope has three levels.
        raise DecodeError(f"envelope is not json: {error}") from error
    payload_type, payload, signatures = _fields(fields, "envelope", ("payloadType", "payload", "signatures"))
    if not isinstance(payload_type, str) or not isinstance(signatures, list):
        raise DecodeError("envelope: `payloadType` must be text and `signatures` a list")
    if len(signatures) > SIGNATURES_PER_ENVELOPE:
        raise LimitExceededError(f"envelope has {len(signatures)} signatures, the limit is {SIGNATURES_PER_ENVELOPE}")
    if not _is_unicode(payload_type):
        raise DecodeError("envelope: `payloadType` holds a lone surrogate")
    return Envelope(payload_type, _base64(payload, "payload"), tuple(_signature(item) for item in signatures))


def _signature(item: object) -> EnvelopeSignature:
    name, signature = _fields(item, "signature", ("keyid", "sig"))
    # Readers of JSON differ on lone surrogates: what one takes for another character, the next refuses.
    if not isinstance(name, str) or not _is_unicode(name):
        raise DecodeError("envelope: `keyid` must be text without lone surrogates")
    return EnvelopeSignature(name, _base64(signature, "sig"))


def _fields(value: object, what: str, names: tuple[str, ...]) -> tuple[Any, ...]:
    if not isinstance(value, dict) or value.keys() != set(names):
        raise DecodeError(f"{what} must be a json object of exactly {', '.join(f'`{name}`' for name in names)}")
    return tuple(value[name] for name in names)


def _base64(text: object, field: str) -> bytes:
    data = from_base64(text) if isinstance(text, str) else None
    if data is None:
        raise DecodeError(f"envelope: `{field}` is not standard base64 with padding")
    return data


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in text)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("one key appears twice")
    return fields


def _refuse_number(text: str) -> NoReturn:
    raise ValueError(f"an envelope holds no numbers, found `{text[:20]}`")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_distinct,
    parse_int=_refuse_number,
    parse_float=_refuse_number,
    parse_constant=_refuse_number,
)
