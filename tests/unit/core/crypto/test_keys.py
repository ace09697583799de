"""Ed25519 keys: what verifies, what never does."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from govraft.core.crypto.keys import certificate_key, is_sound_key, key_id, verify
from govraft.testing.sample import SampleCluster, seeded_key

P = 2**255 - 19
D = -121665 * pow(121666, P - 2, P) % P
ORDER = 2**252 + 27742317777372353535851937790883648493
Point = tuple[int, int]


def x_of(y: int) -> int | None:
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    return x if (x * x - square) % P == 0 else None


def add(one: Point, two: Point) -> Point:
    (x1, y1), (x2, y2) = one, two
    k = D * x1 * x2 * y1 * y2
    return (
        (x1 * y2 + x2 * y1) * pow(1 + k, P - 2, P) % P,
        (y1 * y2 + x1 * x2) * pow(1 - k, P - 2, P) % P,
    )


def times(count: int, point: Point) -> Point:
    result = (0, 1)
    while count:
        if count & 1:
            result = add(result, point)
        point, count = add(point, point), count >> 1
    return result


def small_order_points() -> set[Point]:
    """The eight points of the torsion group, from the curve's equation alone."""
    found: set[Point] = set()
    y = 2
    while len(found) < 8:
        x = x_of(y)
        if x is not None:
            torsion = times(ORDER, (x, y))
            found |= {times(count, torsion) for count in range(8)}
        y += 1
    return found


def encodings(y: int) -> list[bytes]:
    """Every 32-byte string that decoders may read as a point with this y: both signs, reduced or not."""
    return [(value | sign).to_bytes(32, "little") for value in (y, y + P) if value < 2**255 for sign in (0, 2**255)]


def test_rfc_8032_vector() -> None:
    public = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
    signature = bytes.fromhex(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    assert verify(public, signature, b"\x72")
    assert not verify(public, signature, b"\x73")


def test_nothing_else_verifies() -> None:
    key = seeded_key("k")
    public, signature = key.public_key().public_bytes_raw(), key.sign(b"m")
    assert verify(public, signature, b"m")
    for place in range(64):
        broken = bytearray(signature)
        broken[place] ^= 1
        assert not verify(public, bytes(broken), b"m")
    # The same signature with S + L: malleable, so it must not pass.
    s = int.from_bytes(signature[32:], "little") + ORDER
    assert not verify(public, signature[:32] + s.to_bytes(32, "little"), b"m")
    for odd_key, odd_signature in [
        (public[:31], signature),
        (public + b"\0", signature),
        (b"", signature),
        (public, signature[:63]),
        (public, signature + b"\0"),
        (public, b""),
        (seeded_key("other").public_key().public_bytes_raw(), signature),
        ((2).to_bytes(32, "little"), signature),
    ]:
        assert not verify(odd_key, odd_signature, b"m")


def test_unsound_keys_verify_nothing() -> None:
    points = small_order_points()
    assert len(points) == 8
    # With a key of order 1, R = base·S verifies for every message: the danger is real in the underlying library.
    identity = (1).to_bytes(32, "little")
    forged = identity + bytes(32)
    Ed25519PublicKey.from_public_bytes(identity).verify(forged, b"anything")
    assert not verify(identity, forged, b"anything")
    for y in sorted({y for _, y in points}):
        for encoded in encodings(y):
            assert not is_sound_key(encoded)
            assert not verify(encoded, forged, b"anything")
    for y in range(2**255 - P):
        assert not is_sound_key((P + y).to_bytes(32, "little"))
    assert is_sound_key(seeded_key("k").public_key().public_bytes_raw())


def test_key_id_is_the_digest_of_the_raw_key() -> None:
    assert key_id(b"\x01" * 32) == hashlib.sha256(b"\x01" * 32).hexdigest()


def test_certificate_key() -> None:
    member = SampleCluster().genesis.members[0]
    assert certificate_key(member.certificate) == member.public_key
    assert certificate_key(member.certificate[:-1]) is None


@pytest.mark.parametrize("data", [b"", b"\x30\x00", b"not der"])
def test_certificate_key_of_garbage(data: bytes) -> None:
    assert certificate_key(data) is None
