"""Ed25519 public keys: verify, name, and refuse those that prove nothing."""

from __future__ import annotations

import hashlib
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

__all__ = ["PUBLIC_KEY_BYTES", "SIGNATURE_BYTES", "certificate_key", "is_sound_key", "key_id", "verify"]

PUBLIC_KEY_BYTES = 32
SIGNATURE_BYTES = 64

_FIELD = 2**255 - 19
_SIGN_BIT = 2**255
_CURVE_D = 0x52036CEE2B6FFE738CC740797779E89800700A4D4141D8AB75EB4DCA135978A3

# The y coordinates of the eight points whose order divides 8. With such a key one signature verifies for many
# messages, so it proves nothing about who signed. test_keys.py derives them from the curve's equation.
_SMALL_ORDER_Y = frozenset(
    {
        0,
        1,
        0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
        0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
        _FIELD - 1,
    }
)


def key_id(public_key: bytes) -> str:
    """The id of a key: SHA-256 of its 32 raw bytes, in hexadecimal."""
    return hashlib.sha256(public_key).hexdigest()


def is_sound_key(public_key: bytes) -> bool:
    """Whether these are 32 bytes that encode, in the one canonical way, a point that is not of small order."""
    if len(public_key) != PUBLIC_KEY_BYTES:
        return False
    y = int.from_bytes(public_key, "little") & (_SIGN_BIT - 1)
    # SAFETY: one key, one encoding: else a key could count twice. test_keys.test_unsound_keys_verify_nothing
    return y < _FIELD and y not in _SMALL_ORDER_Y and _is_on_curve(y)


def _is_on_curve(y: int) -> bool:
    """Whether some point of the curve -x² + y² = 1 + d·x²·y² has this y: whether x² = (y²-1) / (d·y²+1) is a square."""
    square = y * y % _FIELD
    # SAFETY: the library takes any 32 bytes for a key; one that is no point could never sign, and a genesis that names
    # it would have an authority that cannot act. test_vectors_ed25519.test_a_key_off_the_curve_is_no_key
    return pow((square - 1) * (_CURVE_D * square + 1), (_FIELD - 1) // 2, _FIELD) == 1


def verify(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether `signature` is the Ed25519 signature of `message` under `public_key`. Never raises.

    Wrong lengths and unsound keys give False.
    """
    if len(signature) != SIGNATURE_BYTES:
        return False
    key = _load(bytes(public_key))
    if key is None:
        return False
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def certificate_key(certificate: bytes) -> bytes | None:
    """The raw Ed25519 key of a DER X.509 certificate, or None when it is not one or holds another kind of key."""
    try:
        key = x509.load_der_x509_certificate(certificate).public_key()
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion):
        return None
    return key.public_bytes_raw() if isinstance(key, Ed25519PublicKey) else None


@lru_cache(maxsize=2048)
def _load(public_key: bytes) -> Ed25519PublicKey | None:
    if not is_sound_key(public_key):
        return None
    try:
        return Ed25519PublicKey.from_public_bytes(public_key)
    except (ValueError, UnsupportedAlgorithm):
        return None
