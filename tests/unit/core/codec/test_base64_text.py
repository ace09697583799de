"""Base64 has one spelling here."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from govraft.core.codec.base64_text import from_base64, to_base64


@given(st.binary(max_size=70))
def test_what_is_written_is_read_back(data: bytes) -> None:
    assert from_base64(to_base64(data)) == data


@pytest.mark.parametrize(
    "text", ["AB==", "AAB=", "AA", "AA=", "AA===", "A A=", "AA==\n", "-_8=", "=", "é", "AA==AA==", "\ud800", "\x00"]
)
def test_one_spelling_only(text: str) -> None:
    assert from_base64(text) is None
