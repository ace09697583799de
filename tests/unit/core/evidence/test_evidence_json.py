"""JSON in any layout: one value, whoever reads it."""

from __future__ import annotations

import pytest

from govraft.core.evidence.files import parse_json
from govraft.errors import InputError


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'\t{ "b" : [1, -2, null, true],\r\n "a" : "\\u00e9\\/" }\n', {"a": "é/", "b": [1, -2, None, True]}),
        (b'"\\ud83d\\ude00"', "😀"),
        (b"18446744073709551615", 2**64 - 1),
        (b"-9223372036854775808", -(2**63)),
        (b"[" * 64 + b"]" * 64, None),
    ],
)
def test_any_layout_is_read(data: bytes, value: object) -> None:
    assert value is None or parse_json(data) == value
    parse_json(data)


@pytest.mark.parametrize(
    "data",
    [
        b'{"a": 1, "a": 1}',
        b'[{"a": {"b": 1, "b": 2}}]',
        b"-0",
        b"1.0",
        b"1e3",
        b"01",
        b"NaN",
        b"-Infinity",
        b"18446744073709551616",
        b"-9223372036854775809",
        b"1" * 5_000,
        b'"\\ud800"',
        b'{"\\udc00": 1}',
        b'"\xed\xa0\x80"',
        b'"\x01"',
        b"\xef\xbb\xbf{}",
        b"\x0b{}",
        b"{},",
        b"[1,]",
        b"",
        b"[" * 65 + b"]" * 65,
        b"[" * 200_000,
    ],
)
def test_what_readers_take_for_two_things_is_refused(data: bytes) -> None:
    with pytest.raises((ValueError, InputError)):
        parse_json(data)
