"""Hostile JSON, by the classes of JSONTestSuite, given to every reader of JSON that meets outside bytes.

Canonical JSON must refuse every spelling but one, whatever JSON permits. The readers of files that people write may
take what RFC 8259 permits, and must refuse the rest as what it is, never by falling over. See vectors/README.md.
"""

from __future__ import annotations

import json

import pytest

from govraft.cli.input_files import json_value
from govraft.core.codec.canonical import pack_json, unpack_json
from govraft.core.codec.envelope import decode_envelope
from govraft.core.evidence.receipt import prove_receipt
from govraft.core.model.genesis import Genesis
from govraft.errors import DecodeError, InputError, VerificationError
from govraft.testing.sample import SampleCluster

DEPTH = 100_000

NOT_JSON = [
    # Structure.
    *[
        "",
        " ",
        "\n",
        "\0",
        ",",
        "[",
        "]",
        "{",
        "}",
        "[]]",
        "[][]",
        "{}{}",
        "[,]",
        "[,1]",
        "[1,]",
        "[1,,2]",
        "[1 2]",
        "[1:2]",
    ],
    *[
        "[1",
        "[1,",
        '["a',
        '["a"',
        "{,}",
        '{"a"}',
        '{"a":}',
        '{"a" 1}',
        '{"a":1,}',
        '{"a":1,,"b":2}',
        "{1:1}",
        "{a:1}",
        "{'a':1}",
    ],
    *[
        "{[]:1}",
        "{null:1}",
        '{"a":1 "b":2}',
        '{"a"::1}',
        '{"a":1',
        '"a',
        '"',
        "<.>",
        "[<null>]",
        "*",
        "\x0c[]",
        "[\x0b]",
        "[\u2060]",
        "[\u00a0]",
    ],
    # Literals.
    *["nul", "truE", "True", "TRUE", "None", "undefined", "[nul]", "[tru]", "true false", "nulll"],
    # Numbers.
    *[
        "-",
        "+1",
        "++1",
        ".5",
        "1.",
        "-.5",
        "01",
        "-01",
        "00",
        "1e",
        "1e+",
        "1E-",
        "1.5e",
        "0x10",
        "1_000",
        "1 000",
        "١",
        "１",
        "--1",
        "1-1",
    ],
    *["NaN", "-NaN", "Infinity", "-Infinity", "inf", "1.2.3", "0e", "1eE2", "[1+2]", "[-foo]", "[1ea]", "2.e3"],
    # Strings.
    *[
        '"\t"',
        '"\n"',
        '"\0"',
        '"\x1f"',
        '"\\x41"',
        '"\\a"',
        '"\\"',
        '"\\u"',
        '"\\u1"',
        '"\\u12"',
        '"\\u123"',
        '"\\u123g"',
        '"\\U00000041"',
    ],
    *['"\\0"', '"\\012"', "'a'", '"a', "\\u0022a\\u0022", '"\\ "', '"\\\u0001"', '"\\é"', "“a”"],
    # Comments and what other dialects permit.
    *["/**/1", "1/**/", "1//x", "#1", "[1,/*x*/2]", "1;", "@1", "[a]", '{"a":/*x*/1}'],
]
NOT_UTF_8 = [
    b'"\xff"',
    b'"\x80"',
    b'"\xc0\xaf"',
    b'"\xe0\x80\x80"',
    b'"\xed\xa0\x80"',
    b'"\xf4\x90\x80\x80"',
    b'"\xf8\x88\x80\x80\x80"',
    b'"\xe2\x82"',
    b'"\xc3"',
    b"\xff\xfe1\x00",
    '{"a":1}'.encode("utf-16"),
    '{"a":1}'.encode("utf-16-be"),
    '{"a":1}'.encode("utf-32"),
    b"\xef\xbb",
]
SECOND_SPELLINGS = [
    *[
        " 1",
        "1 ",
        "\t1",
        "1\r\n",
        "[1, 2]",
        "[ ]",
        "{ }",
        '{"a": 1}',
        "[1\n]",
        '{"b":1,"a":1}',
        '{"a":1,"a":1}',
        '{"a":1,"a":2}',
    ],
    *[
        "-0",
        "0.0",
        "1.0",
        "1e0",
        "1E0",
        "1E400",
        "-1e-400",
        "1e5",
        "-0.0",
        "123e65",
        "0.1",
        "1.5",
        "10000000000000000000000",
    ],
    *["18446744073709551616", "-9223372036854775809", "9" * 400, "1" + "0" * 5000, "1" * 20_000],
    *[
        '"\\u0041"',
        '"\\/"',
        '"\\u000a"',
        '"\\u0022"',
        '"\\u001F"',
        '"\\u007f"',
        '"\\u00e9"',
        '"\\ud83d\\ude00"',
        '"\\u2028"',
    ],
    *[
        '"\\ud800"',
        '"\\udc00"',
        '"\\ud800\\ud800"',
        '"\\udc00\\ud800"',
        '"\\ud800a"',
        '"\\uD800\\u0041"',
        '{"\\ud800":1}',
        '["\\udfff"]',
    ],
    *[
        "\ufeff1",
        "\ufeff{}",
        "[" * 65 + "]" * 65,
        '{"a":' * 65 + "1" + "}" * 65,
        "[" * 500 + "]" * 500,
        '{"\\u0061":1}',
    ],
]
DEEP = ["[" * DEPTH, "[" * DEPTH + "]" * DEPTH, '{"a":' * DEPTH, '[{"":' * (DEPTH // 5), '{"a":[' * (DEPTH // 6)]
ONE_SPELLING = [
    *[
        "null",
        "true",
        "false",
        "0",
        "-1",
        "18446744073709551615",
        "-9223372036854775808",
        "[]",
        "{}",
        '""',
        '"a"',
        "[[],{}]",
    ],
    *[
        '"\\u0000"',
        '"\\u001f"',
        '"\\n\\r\\t\\b\\f"',
        '"\\"\\\\"',
        '"/"',
        '"\x7f"',
        '"é"',
        '"\u2028\u2029"',
        '"\U0001f600"',
        '"\uffff"',
    ],
    *[
        '{"":1}',
        '{"A":1,"a":2,"é":3,"\uffff":4,"\U0001f600":5}',
        "[" * 64 + "]" * 64,
        '"\ufeff"',
        '"\U0010ffff"',
        '{"\\u0000":null}',
    ],
]


def as_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


HOSTILE = [*map(as_bytes, NOT_JSON), *NOT_UTF_8, *map(as_bytes, SECOND_SPELLINGS), *map(as_bytes, DEEP)]


def test_canonical_json_takes_one_spelling():
    for text in ONE_SPELLING:
        assert pack_json(unpack_json(text.encode(), max_bytes=10_000)) == text.encode(), text
    for data in HOSTILE:
        with pytest.raises(DecodeError):
            unpack_json(data, max_bytes=1_000_000)


def test_what_is_no_json_is_no_file_either():
    for text in NOT_JSON:
        with pytest.raises(InputError):
            json_value(text, "x")
    for text in DEEP:
        with pytest.raises(InputError):
            json_value(text, "x")
    for text in ('{"a":1,"a":1}', "1" * 20_000, "\ufeff1"):
        with pytest.raises(InputError):
            json_value(text, "x")


def test_no_other_reader_falls_over():
    genesis = SampleCluster().genesis
    good = json.loads(genesis.encode())
    for data in HOSTILE:
        with pytest.raises(DecodeError):
            Genesis.decode(data)
        with pytest.raises(VerificationError):
            prove_receipt(data, genesis)
        if len(data) <= 65_536:
            with pytest.raises(DecodeError):
                decode_envelope(data)
    assert Genesis.decode(json.dumps(good, separators=(",", ":"), sort_keys=True).encode()) == genesis


@pytest.mark.parametrize("place", ["payloadType", "keyid"])
@pytest.mark.parametrize("text", ["\\ud800", "\\udc00", "a\\ud800b", "\\ude00\\ud83d"])
def test_readers_of_an_envelope_cannot_see_two_texts(place, text):
    """Go reads a lone surrogate as U+FFFD, Rust refuses it, Python keeps it: so nobody may take it."""
    fields = {"payloadType": "t", "keyid": "k"}
    assert decode_envelope(envelope(**fields))
    with pytest.raises(DecodeError):
        decode_envelope(envelope(**{**fields, place: text}))
    assert decode_envelope(envelope(**{**fields, place: "\\ud83d\\ude00"}))


def envelope(payloadType: str, keyid: str) -> bytes:
    return (
        '{"payload":"YQ==","payloadType":"%s","signatures":[{"keyid":"%s","sig":"YQ=="}]}' % (payloadType, keyid)
    ).encode()
