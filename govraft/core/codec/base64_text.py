"""Standard base64 with padding, in its one spelling."""

from __future__ import annotations

import base64
import binascii

__all__ = ["from_base64", "to_base64"]


def to_base64(data: bytes) -> str:
    """The text of these bytes."""
    return base64.b64encode(data).decode("ascii")


def from_base64(text: str) -> bytes | None:
    """The bytes behind a text, or None if it is not the one that `to_base64` gives."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    # SAFETY: decoders forgive stray bits behind the last byte: a changed byte would go unnoticed
    # (test_base64_text.py::test_one_spelling_only).
    return data if to_base64(data) == text else None
