"""Remembers which signatures held.

A heartbeat repeats the same probe in a lease and the same cosignature in a certificate; verifying each once a second
instead of thirty times keeps an idle node idle. Only successes are remembered, by the exact key, signature and message.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

__all__ = ["VerificationCache"]

REMEMBERED_MAX = 4_096


class VerificationCache:
    """`(public_key, signature, message) -> bool`, around another one. Not thread-safe."""

    def __init__(self, is_valid: Callable[[bytes, bytes, bytes], bool]) -> None:
        self._is_valid = is_valid
        self._held: dict[bytes, None] = {}

    def __call__(self, public_key: bytes, signature: bytes, message: bytes) -> bool:
        """Whether the signature holds."""
        # Key and signature have fixed lengths whenever they can hold, so no two triples share these bytes.
        if len(public_key) != 32 or len(signature) != 64:
            return False
        name = hashlib.sha256(public_key + signature + message).digest()
        if name in self._held:
            return True
        if not self._is_valid(public_key, signature, message):
            return False
        self._hold(name)
        return True

    def remember(self, public_key: bytes, signature: bytes, message: bytes) -> None:
        """Note a signature that this process has just made: its own messages come back to it in leases."""
        self._hold(hashlib.sha256(public_key + signature + message).digest())

    def _hold(self, name: bytes) -> None:
        if len(self._held) >= REMEMBERED_MAX:
            del self._held[next(iter(self._held))]
        self._held[name] = None
