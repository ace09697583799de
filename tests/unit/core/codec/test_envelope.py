"""DSSE envelopes."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from securesystemslib.dsse import Envelope as OtherEnvelope
from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]

from govraft.core.codec.envelope import Envelope, EnvelopeSignature, decode_envelope, encode_envelope, pae, seal
from govraft.core.crypto.keys import key_id
from govraft.core.model.limits import ENVELOPE_BYTES, SIGNATURES_PER_ENVELOPE
from govraft.errors import DecodeError, LimitExceededError
from govraft.testing.sample import seeded_key

GOOD: dict[str, Any] = {"payload": "YQ==", "payloadType": "t", "signatures": [{"keyid": "k", "sig": "YWI="}]}


def test_pae_is_that_of_the_published_example() -> None:
    # https://github.com/secure-systems-lab/dsse/blob/v1.0.0/protocol.md#test-vectors
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert pae("é", b"\xff\x00") == b"DSSEv1 2 \xc3\xa9 2 \xff\x00"


@pytest.mark.clause("6 signed governance synchronization envelopes")
def test_another_implementation_verifies_what_is_sealed() -> None:
    key = seeded_key("a")
    public = key.public_key().public_bytes_raw()
    data = seal("text/x", b"payload", [(public, key.sign(pae("text/x", b"payload")))])
    other = OtherEnvelope.from_dict(json.loads(data))
    assert other.pae() == decode_envelope(data).signed_bytes
    stock = SSlibKey(key_id(public), "ed25519", "ed25519", {"public": public.hex()})
    assert list(other.verify([stock], 1)) == [key_id(public)]


def test_what_is_encoded_decodes() -> None:
    envelope = Envelope("a/b", b"\x00\xff", (EnvelopeSignature("k", b"s"), EnvelopeSignature("", b"")))
    assert decode_envelope(encode_envelope(envelope)) == envelope
    spaced = json.dumps(GOOD, indent=2).encode()
    assert decode_envelope(spaced) == Envelope("t", b"a", (EnvelopeSignature("k", b"ab"),))


def test_the_payload_digest_ignores_who_signed_but_not_the_type() -> None:
    one, two = Envelope("a", b"p", ()), Envelope("a", b"p", (EnvelopeSignature("k", b"s"),))
    assert one.payload_digest == two.payload_digest != Envelope("b", b"p", ()).payload_digest


def changed(**fields: object) -> bytes:
    return json.dumps({**GOOD, **fields}).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"1",
        b"null",
        b'"x"',
        b"\xff",
        b"{" * 60_000,
        b"[" * 60_000,
        b'{"payload":' * 5_000,
        json.dumps({key: GOOD[key] for key in ("payload", "payloadType")}).encode(),
        changed(extra=""),
        changed(extra=1),
        changed(payload=1),
        changed(payload=None),
        changed(payload="YQ"),
        changed(payload="YR=="),
        changed(payload="Y Q=="),
        changed(payload="-_8="),
        changed(payload="é"),
        changed(payloadType=["t"]),
        changed(payloadType="\ud800"),
        changed(signatures={}),
        changed(signatures=["x"]),
        changed(signatures=[{"keyid": "k"}]),
        changed(signatures=[{"keyid": None, "sig": ""}]),
        changed(signatures=[{"keyid": "k", "sig": "", "cert": ""}]),
        json.dumps(GOOD).encode()[:-1] + b',"payload":"YQ=="}',
        json.dumps(GOOD).encode() + b"{}",
        json.dumps(GOOD).encode("utf-16"),
        b"\xef\xbb\xbf" + json.dumps(GOOD).encode(),
    ],
)
def test_malformed_envelopes_are_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_envelope(data)


def test_limits() -> None:
    most = [{"keyid": str(number), "sig": ""} for number in range(SIGNATURES_PER_ENVELOPE)]
    assert len(decode_envelope(changed(signatures=most)).signatures) == SIGNATURES_PER_ENVELOPE
    with pytest.raises(LimitExceededError):
        decode_envelope(changed(signatures=[*most, {"keyid": "x", "sig": ""}]))
    room = ENVELOPE_BYTES - len(changed(payload=""))
    payload = base64.b64encode(bytes(room // 4 * 3)).decode()
    padded = changed(payload=payload) + b" " * (room - len(payload))
    assert len(padded) == ENVELOPE_BYTES
    decode_envelope(padded)
    with pytest.raises(LimitExceededError):
        decode_envelope(padded + b" ")
