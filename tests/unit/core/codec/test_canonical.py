"""Canonical MessagePack and JSON: one value, one encoding."""

from __future__ import annotations

import json

import msgpack  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from govraft.core.codec.canonical import NOT_CANONICAL, pack, pack_json, unpack, unpack_json
from govraft.core.model.limits import CANONICAL_DEPTH
from govraft.errors import DecodeError, InputError, LimitExceededError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
INTS = st.integers(-(2**63), 2**64 - 1)


def values(*, with_bytes: bool) -> st.SearchStrategy[object]:
    scalars: st.SearchStrategy[object] = st.none() | st.booleans() | INTS | TEXT
    if with_bytes:
        scalars |= st.binary(max_size=300)
    return st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=20) | st.dictionaries(TEXT, inner, max_size=20), max_leaves=40
    )


def sort_keys(value: object) -> object:
    if isinstance(value, dict):
        return {key: sort_keys(value[key]) for key in sorted(value, key=lambda key: key.encode())}
    return [sort_keys(item) for item in value] if isinstance(value, list) else value


@given(values(with_bytes=True))
@settings(max_examples=150)
def test_msgpack_agrees_with_another_implementation(value: object) -> None:
    data = pack(value)
    assert data == msgpack.packb(sort_keys(value), use_bin_type=True)
    assert unpack(data, max_bytes=len(data)) == value


@given(values(with_bytes=False))
@settings(max_examples=150)
def test_json_agrees_with_another_implementation(value: object) -> None:
    data = pack_json(value)
    assert data == json.dumps(sort_keys(value), ensure_ascii=False, separators=(",", ":")).encode()
    assert unpack_json(data, max_bytes=len(data)) == value


def test_keys_are_sorted_by_their_utf8_bytes() -> None:
    # UTF-16 would sort the last two the other way round.
    value = {"\U0001f600": 1, "\uffee": 2, "b": 3, "a": 4, "aa": 5, "": 6}
    assert list(json.loads(pack_json(value))) == ["", "a", "aa", "b", "\uffee", "\U0001f600"]
    assert list(msgpack.unpackb(pack(value))) == ["", "a", "aa", "b", "\uffee", "\U0001f600"]


@pytest.mark.parametrize(
    "data",
    [
        b"\x82\xa1b\x01\xa1a\x01",  # unsorted
        b"\x82\xa1a\x01\xa1a\x01",  # duplicate key
        b"\xcc\x01",  # long integer
        b"\xd0\xff",
        b"\xd9\x01a",  # long text
        b"\xdc\x00\x00",  # long list
        b"\xc5\x00\x01a",  # long bytes
        b"\x81\x01\x01",  # key is not text
        b"\x81\xc4\x01a\x01",
        b"\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00",  # float
        b"\xd4\x01\x00",  # extension
        b"\xd6\xff\x00\x00\x00\x00",  # timestamp
    ],
)
def test_second_spellings_are_refused(data: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        unpack(data, max_bytes=100)
    assert caught.value.code == NOT_CANONICAL


@pytest.mark.parametrize(
    "data", [b"", b"\xc1", b"\x01\x01", b"\xa1\xff", b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\x91"]
)
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        unpack(data, max_bytes=100)


@pytest.mark.parametrize(
    "data",
    [
        b'{"b":1,"a":1}',
        b'{"a":1,"a":1}',
        b'{"a":1,"a":2}',
        b"[1, 2]",
        b"1.0",
        b"1e3",
        b"-0",
        b'"\\u0041"',
        b'"\\/"',
        b"1 ",
    ],
)
def test_second_spellings_of_json_are_refused(data: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        unpack_json(data, max_bytes=100)
    assert caught.value.code == NOT_CANONICAL


@pytest.mark.parametrize(
    "data", [b"", b"{", b"NaN", b'"\xff"', b'"\\ud800"', b"01", b"\xef\xbb\xbf1", b"1" * 99, b"[1]]"]
)
def test_garbage_json_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        unpack_json(data, max_bytes=100)


@pytest.mark.parametrize(
    "value", [1.5, 2**64, -(2**63) - 1, {1: 2}, {b"a": 1}, object(), {1, 2}, "\ud800", {"\ud800": 1}]
)
def test_values_outside_the_model_are_refused(value: object) -> None:
    for encode in (pack, pack_json):
        with pytest.raises(InputError):
            encode(value)


def test_json_carries_no_bytes() -> None:
    with pytest.raises(InputError):
        pack_json([b"a"])
    assert pack((b"a",)) == pack([b"a"])


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


def test_depth_is_limited() -> None:
    assert unpack(pack(nested(CANONICAL_DEPTH)), max_bytes=1000) == nested(CANONICAL_DEPTH)
    assert unpack_json(pack_json(nested(CANONICAL_DEPTH)), max_bytes=1000) == nested(CANONICAL_DEPTH)
    with pytest.raises(LimitExceededError):
        pack(nested(CANONICAL_DEPTH + 1))
    for depth in (CANONICAL_DEPTH + 1, 900, 60_000):
        with pytest.raises(DecodeError):
            unpack(b"\x91" * depth + b"\x01", max_bytes=70_000)
        with pytest.raises(DecodeError):
            unpack_json(b"[" * depth + b"]" * depth, max_bytes=130_000)


def test_size_is_limited() -> None:
    assert unpack(b"\xa3abc", max_bytes=4) == "abc"
    with pytest.raises(LimitExceededError):
        unpack(b"\xa3abc", max_bytes=3)
    with pytest.raises(LimitExceededError):
        unpack_json(b"123", max_bytes=2)


@given(st.binary(max_size=60))
@settings(max_examples=200)
def test_any_bytes_decode_to_their_own_encoding_or_not_at_all(data: bytes) -> None:
    for decode, encode in ((unpack, pack), (unpack_json, pack_json)):
        try:
            value = decode(data, max_bytes=60)
        except InputError:
            continue
        assert encode(value) == data
