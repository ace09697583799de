"""The curve edwards25519 in plain numbers: to make signatures that no signer would make.

Source: RFC 8032, section 5.1. Complete addition law, no tricks, no secrets.
"""

from __future__ import annotations

import hashlib

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
SIGN = 2**255
IDENTITY = (0, 1)

Point = tuple[int, int]
Extended = tuple[int, int, int, int]
"""Homogeneous: x = X/Z, y = Y/Z, x·y = T/Z."""


def recover_x(y: int, sign: int) -> int | None:
    """The x of that parity, None if no point has this y."""
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if (x * x - square) % P:
        return None
    return P - x if x % 2 != sign and x else x


BASE: Point = (recover_x(4 * pow(5, P - 2, P) % P, 0) or 0, 4 * pow(5, P - 2, P) % P)


def add(one: Point, two: Point) -> Point:
    return _affine(_add(_extended(one), _extended(two)))


def times(count: int, point: Point) -> Point:
    result, power = _extended(IDENTITY), _extended(point)
    while count:
        if count & 1:
            result = _add(result, power)
        power, count = _add(power, power), count >> 1
    return _affine(result)


def _extended(point: Point) -> Extended:
    return (*point, 1, point[0] * point[1] % P)


def _affine(point: Extended) -> Point:
    inverse = pow(point[2], P - 2, P)
    return point[0] * inverse % P, point[1] * inverse % P


def _add(one: Extended, two: Extended) -> Extended:
    """Section 5.1.4."""
    (x1, y1, z1, t1), (x2, y2, z2, t2) = one, two
    a, b = (y1 - x1) * (y2 - x2) % P, (y1 + x1) * (y2 + x2) % P
    c, d = 2 * D * t1 * t2 % P, 2 * z1 * z2 % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def negative(point: Point) -> Point:
    return (-point[0] % P, point[1])


def encode(point: Point) -> bytes:
    return (point[1] | (SIGN if point[0] & 1 else 0)).to_bytes(32, "little")


def decode(data: bytes) -> Point | None:
    """As lenient as a decoder can be: y is reduced, and the sign of x = 0 is ignored."""
    number = int.from_bytes(data, "little")
    y = (number & (SIGN - 1)) % P
    x = recover_x(y, number >> 255)
    return None if x is None else (x, y)


def challenge(r: bytes, public_key: bytes, message: bytes) -> int:
    return int.from_bytes(hashlib.sha512(r + public_key + message).digest(), "little") % L


def torsion() -> list[Point]:
    """The eight points whose order divides 8; the place in the list is the multiple of the generator."""
    y = 2
    while True:
        x = recover_x(y, 0)
        generator = IDENTITY if x is None else times(L, (x, y))
        if times(4, generator) != IDENTITY:
            return [times(count, generator) for count in range(8)]
        y += 1


def verifies(public_key: bytes, signature: bytes, message: bytes, *, cofactor: int) -> bool:
    """The bare equation `c·S·B = c·R + c·k·A`, with nothing else checked."""
    a, r = decode(public_key), decode(signature[:32])
    if a is None or r is None:
        return False
    s, k = int.from_bytes(signature[32:], "little"), challenge(signature[:32], public_key, message)
    left = times(cofactor, times(s, BASE))
    return left == times(cofactor, add(r, times(k, a)))
