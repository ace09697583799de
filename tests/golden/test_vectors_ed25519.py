"""Which Ed25519 verification govraft has, held by the signatures on which verifiers disagree.

The twelve cases are those of Chalkias, Garillot and Nikolaenko, "Taming the many EdDSAs" (SSR 2020, eprint 2020/1244),
table 6, built here from the curve's equation; the further ones are the classes of Wycheproof's `ed25519_test`. See
vectors/README.md.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from typing import Any, NamedTuple

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from golden.vectors import edwards
from golden.vectors.edwards import BASE, IDENTITY, SIGN, L, P, add, challenge, encode, negative, times, verifies

from govraft.core.crypto.keys import is_sound_key, key_id, verify
from govraft.core.model.genesis import Genesis
from govraft.errors import DecodeError
from govraft.testing.sample import SampleCluster, seeded_key

SECRET = int.from_bytes(hashlib.sha256(b"secret").digest(), "little") % L
NONCE = int.from_bytes(hashlib.sha256(b"nonce").digest(), "little") % L
TORSION = edwards.torsion()
FAR = (P + 1).to_bytes(32, "little")
"""The neutral element, spelled with a y that is not reduced."""
SIGNED_ZERO = (1 | SIGN).to_bytes(32, "little")
"""The neutral element, spelled with the sign bit of x = 0."""


class Case(NamedTuple):
    """A signature, and what the bare equation says about it, with and without the cofactor."""

    public_key: bytes
    signature: bytes
    message: bytes
    cofactored: bool
    cofactorless: bool


def find(public_key: bytes, r: bytes, s_of: Any, *, holds: bool = True) -> Case:
    """Try messages until the equation without cofactor comes out as wanted: the torsion of k·A is chance, 1 in 8."""
    for number in range(400):
        message = hashlib.sha256(b"message %d" % number).digest()
        s = s_of(challenge(r, public_key, message))
        signature = r + s.to_bytes(32, "little")
        if verifies(public_key, signature, message, cofactor=1) == holds and verifies(
            public_key, signature, message, cofactor=8
        ):
            return Case(public_key, signature, message, True, holds)
    raise AssertionError("no message gives the case")


@functools.cache
def cases() -> dict[str, Case]:
    pure, mixed = times(SECRET, BASE), add(times(SECRET, BASE), TORSION[1])
    small, r_pure = encode(TORSION[1]), times(NONCE, BASE)
    r_mixed = encode(add(r_pure, TORSION[3]))

    def honest(k):
        return (NONCE + k * SECRET) % L

    good = find(encode(pure), encode(r_pure), honest)
    s = int.from_bytes(good.signature[32:], "little")

    def beyond(s):
        return good._replace(signature=good.signature[:32] + s.to_bytes(32, "little"))

    return {
        "valid": good,
        "small A, small R": find(small, encode(negative(TORSION[1])), lambda _k: 0),
        "small A, mixed R": find(small, r_mixed, lambda _k: NONCE),
        "mixed A, small R": find(encode(mixed), encode(TORSION[2]), lambda k: k * SECRET % L),
        "mixed A, mixed R": find(encode(mixed), r_mixed, honest),
        "mixed A, mixed R, only with cofactor": find(encode(mixed), r_mixed, honest, holds=False),
        "mixed A, only with cofactor": find(encode(mixed), encode(r_pure), honest, holds=False),
        "S + L": beyond(s + L),
        "S + 8L": beyond(s + 8 * L),
        "R not reduced": find(encode(mixed), FAR, lambda k: k * SECRET % L),
        "R with the sign of zero": find(encode(mixed), SIGNED_ZERO, lambda k: k * SECRET % L),
        "A not reduced": find(FAR, r_pure_of(NONCE), lambda _k: NONCE),
        "A with the sign of zero": find(SIGNED_ZERO, r_pure_of(NONCE), lambda _k: NONCE),
    }


def r_pure_of(nonce: int) -> bytes:
    return encode(times(nonce, BASE))


VERDICTS = {
    "valid": True,
    "small A, small R": False,
    "small A, mixed R": False,
    "mixed A, small R": True,
    "mixed A, mixed R": True,
    "mixed A, mixed R, only with cofactor": False,
    "mixed A, only with cofactor": False,
    "S + L": False,
    "S + 8L": False,
    "R not reduced": False,
    "R with the sign of zero": False,
    "A not reduced": False,
    "A with the sign of zero": False,
}


def test_every_case_has_a_verdict():
    assert cases().keys() == VERDICTS.keys()


@pytest.mark.parametrize("name", VERDICTS)
def test_the_variant_is_strict_and_without_cofactor(name):
    case = cases()[name]
    assert verifies(case.public_key, case.signature, case.message, cofactor=8) == case.cofactored
    assert verifies(case.public_key, case.signature, case.message, cofactor=1) == case.cofactorless
    assert verify(case.public_key, case.signature, case.message) is VERDICTS[name]


def test_the_library_alone_would_accept_small_keys():
    """So the refusal is govraft's own: a changed library cannot be blamed, nor relied upon."""
    for name in ("small A, small R", "small A, mixed R"):
        case = cases()[name]
        Ed25519PublicKey.from_public_bytes(case.public_key).verify(case.signature, case.message)
    for name in ("S + L", "S + 8L", "R not reduced", "mixed A, only with cofactor"):
        case = cases()[name]
        with pytest.raises(InvalidSignature):
            Ed25519PublicKey.from_public_bytes(case.public_key).verify(case.signature, case.message)


def test_one_signature_of_a_small_key_fits_many_messages():
    """Why they are refused: nobody could be held to what such a key signed."""
    key, signature = encode(IDENTITY), encode(IDENTITY) + bytes(32)
    assert all(verifies(key, signature, b"message %d" % number, cofactor=1) for number in range(20))
    assert not any(verify(key, signature, b"message %d" % number) for number in range(20))


def unsound() -> list[bytes]:
    """Every spelling of the small points, values that are not reduced, and some that are no point."""
    spellings = {y + add_p | sign for _, y in TORSION for add_p in (0, P) if y + add_p < 2**255 for sign in (0, SIGN)}
    off = [y for y in range(2, 60) if edwards.recover_x(y, 0) is None]
    return [value.to_bytes(32, "little") for value in [*sorted(spellings), *range(P, 2**255), *off]]


def test_a_key_off_the_curve_is_no_key():
    assert len(unsound()) > 14 + 19
    assert not [key.hex() for key in unsound() if is_sound_key(key)]
    on = [y for y in range(2, 60) if edwards.recover_x(y, 0) is not None]
    assert len(on) > 20
    assert all(is_sound_key((y | sign).to_bytes(32, "little")) for y in on for sign in (0, SIGN))


def test_no_unsound_key_gets_into_a_genesis():
    fields = json.loads(SampleCluster().genesis.encode())
    assert Genesis.decode(spell(fields))
    for key in unsound():
        for part, place in (("authorities", 0), ("members", 1)):
            changed = json.loads(json.dumps(fields))
            changed[part][place]["public_key"] = base64.b64encode(key).decode()
            with pytest.raises(DecodeError, match=f"{part}.{place}..public_key` is not a usable Ed25519 key"):
                Genesis.decode(spell(changed))


def spell(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    "change",
    [
        lambda r, s: r + s[:31],
        lambda r, s: r + s + b"\0",
        lambda r, s: b"\0" + r + s,
        lambda r, s: r,
        lambda r, s: b"",
        lambda r, s: bytes(64),
        lambda r, s: b"\xff" * 64,
        lambda r, s: r + bytes(32),
        lambda r, s: bytes(32) + s,
        lambda r, s: r + (1).to_bytes(32, "little"),
        lambda r, s: r + L.to_bytes(32, "little"),
        lambda r, s: r + P.to_bytes(32, "little"),
        lambda r, s: P.to_bytes(32, "little") + s,
        lambda r, s: s + r,
        lambda r, s: bytes(reversed(r)) + s,
        lambda r, s: r + bytes(reversed(s)),
        lambda r, s: r[:31] + bytes([r[31] ^ 0x80]) + s,
        *[
            lambda r, s, n=n: r + ((int.from_bytes(s, "little") + n * L) % 2**256).to_bytes(32, "little")
            for n in range(1, 16)
        ],
        *[
            lambda r, s, bit=bit: r + (int.from_bytes(s, "little") ^ 1 << bit).to_bytes(32, "little")
            for bit in (0, 251, 252, 253, 254, 255)
        ],
        lambda r, s: r + (-int.from_bytes(s, "little") % L).to_bytes(32, "little"),
    ],
)
def test_what_is_not_quite_a_signature_is_none(change):
    key = seeded_key("wycheproof")
    public, signature = key.public_key().public_bytes_raw(), key.sign(b"m")
    assert verify(public, signature, b"m")
    assert change(signature[:32], signature[32:]) != signature
    assert not verify(public, change(signature[:32], signature[32:]), b"m")


def test_a_key_id_names_the_bytes():
    assert len({key_id(key) for key in (FAR, SIGNED_ZERO, encode(IDENTITY))}) == 3
