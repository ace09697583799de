"""Domain-separated SHA-256: bytes hashed for one purpose never pass for another."""

from __future__ import annotations

import hashlib

__all__ = ["DIGEST_BYTES", "digest"]

DIGEST_BYTES = 32


def digest(domain: str, data: bytes) -> bytes:
    """SHA-256 of `govraft/<domain>/v1`, a zero byte, and `data`: 32 bytes.

    The zero byte ends the prefix, so no domain is a prefix of another one's input.

    Args:
        domain: A constant of the code, such as `entry`; never input.
        data: What is digested, of any length.
    """
    return hashlib.sha256(b"govraft/" + domain.encode("ascii") + b"/v1\0" + data).digest()
