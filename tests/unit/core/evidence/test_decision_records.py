import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from govraft.core.codec.canonical import pack, pack_json, unpack
from govraft.core.evidence.decisions import (
    NO_MASK,
    DecisionRecord,
    GapRecord,
    Mask,
    Noted,
    check_masks,
    decode_leaf,
    decode_line,
    encode_noted,
    gap_fields,
    request_of,
)
from govraft.core.evidence.statements import request_digest
from govraft.core.model.limits import RECORD_ERRORS, RECORD_TEXT_CHARS
from govraft.core.model.request import Request
from govraft.errors import DecodeError, InputError

SECRET = bytes(range(32))
REQUEST = {
    "principal": 'Agent::"a"',
    "action": 'Action::"run"',
    "resource": 'Tool::"t"',
    "context": {"email": "a@b.c", "user": {"ssn": 7_777_777, "name": "x"}, "n": 1},
}


def fields(**changes):
    return {
        "node": "n1",
        "time": 1_700_000_000_000,
        "decision": "n1-1-1",
        "source": "check",
        "seq": 5,
        "state_root": "ab" * 32,
        "verdict": "deny",
        "reason": "policy_denied",
        "message": "no policy permits it",
        "policies": [],
        "errors": ["an error"],
        "latency_us": 12,
        "trace": "",
        **changes,
    }


def leaf(request=REQUEST, mask=NO_MASK, index=3, **changes):
    encoded = None if request is None else msgspec.msgpack.encode(request)
    return encode_noted(Noted(fields(**changes), encoded), index, mask)


def test_a_record_is_what_was_noted():
    record = decode_leaf(leaf())
    assert isinstance(record, DecisionRecord)
    assert {name: getattr(record, name) for name in fields()} == fields()
    assert (record.v, record.index, record.masked) == (1, 3, [])
    assert request_of(record) == Request(**REQUEST)
    assert record.request_digest == request_digest(Request(**REQUEST))


def test_a_line_and_a_leaf_are_the_same_record():
    encoded = leaf()
    line = pack_json(unpack(encoded, max_bytes=10_000))
    assert decode_line(line) == (decode_leaf(encoded), encoded)


def test_a_gap_says_how_many_are_missing():
    record = decode_leaf(encode_noted(Noted(gap_fields("n1", 7, 41)), 9, NO_MASK))
    assert record == GapRecord(v=1, index=9, node="n1", time=7, dropped=41)


def test_the_bytes_of_a_record_are_fixed():
    assert leaf(index=0).hex() == GOLDEN


GOLDEN = (
    "de0013a86465636973696f6ea66e312d312d31a66572726f727391a8616e206572726f72a5696e64657800a46b696e64a86465636973696f"
    "6eaa6c6174656e63795f75730ca66d61736b656490a76d657373616765b46e6f20706f6c696379207065726d697473206974a46e6f6465a2"
    "6e31a8706f6c696369657390a6726561736f6ead706f6c6963795f64656e696564a77265717565737484a6616374696f6ead416374696f6e"
    "3a3a2272756e22a7636f6e7465787483a5656d61696ca56140622e63a16e01a47573657282a46e616d65a178a373736ece0076adf1a97072"
    "696e636970616caa4167656e743a3a226122a87265736f75726365a9546f6f6c3a3a227422ae726571756573745f646967657374d9406435"
    "3635353863633962313234333030323161366462663433393861373337623635636636373065643134656332363264316563313731393938"
    "393237313063a373657105a6736f75726365a5636865636baa73746174655f726f6f74d94061626162616261626162616261626162616261"
    "626162616261626162616261626162616261626162616261626162616261626162616261626162616261626162a474696d65cf0000018bcf"
    "e56800a57472616365a0a17601a776657264696374a464656e79"
)


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        ({**REQUEST, "context": {"x": 1.5}}, "a float"),
        ({**REQUEST, "context": {"x": b"bytes"}}, "bytes: JSON cannot carry them"),
        ({**REQUEST, "context": {"x": {1: 2}}}, "a key that is no text"),
        (None, "none"),
    ],
)
def test_a_request_without_a_canonical_form_is_a_decision_all_the_same(request_, why):
    record = decode_leaf(leaf(request_))
    assert (record.request, record.request_digest, record.verdict) == (None, "", "deny"), why


def test_what_is_said_for_people_has_an_end():
    record = decode_leaf(leaf(message="m" * 10_000, errors=["e" * 10_000] * 100))
    assert len(record.message) == RECORD_TEXT_CHARS
    assert [len(error) for error in record.errors] == [RECORD_TEXT_CHARS] * RECORD_ERRORS


def test_text_without_an_encoding_costs_the_text_and_not_the_record():
    record = decode_leaf(leaf(message="\ud800"))
    assert (record.message, record.errors, record.decision) == ("", [], "n1-1-1")


# Masks.


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("principal", lambda request: request["principal"]),
        ("resource", lambda request: request["resource"]),
        ("context", lambda request: request["context"]),
        ("context.email", lambda request: request["context"]["email"]),
        ("context.user.ssn", lambda request: request["context"]["user"]["ssn"]),
    ],
)
def test_a_masked_field_is_not_shown(path, shown):
    mask = Mask([path], SECRET)
    record = decode_leaf(leaf(mask=mask))
    assert record.masked == [path]
    assert shown(record.request) == mask.value(shown(REQUEST))
    assert str(shown(REQUEST)) not in str(msgspec.to_builtins(record.request))


def test_other_fields_stay_and_the_request_is_not_changed():
    before = msgspec.msgpack.encode(REQUEST)
    record = decode_leaf(leaf(mask=Mask(["context.user.ssn"], SECRET)))
    assert record.request["context"]["user"]["name"] == "x"
    assert (record.request["principal"], record.request["context"]["n"]) == ('Agent::"a"', 1)
    assert msgspec.msgpack.encode(REQUEST) == before


def test_paths_that_are_not_there_mask_nothing():
    record = decode_leaf(leaf(mask=Mask(["context.other", "context.email.deeper"], SECRET)))
    assert record.masked == []
    assert record.request == REQUEST


def test_a_masked_value_cannot_be_guessed():
    mask = Mask(["context.user.ssn"], SECRET)
    record = decode_leaf(leaf(mask=mask, message="ssn 7 is odd", errors=["at 7"]))
    plain = Mask(["context.user.ssn"], bytes(32))
    shown = record.request["context"]["user"]["ssn"]
    assert shown != plain.value(7_777_777)
    assert record.request_digest not in ("", request_digest(Request(**REQUEST)), plain.keyed(pack_json(REQUEST)))
    assert "7 is odd" not in record.message and record.message
    assert record.errors and "at 7" not in record.errors[0]


def test_equal_values_can_be_told_and_others_told_apart():
    mask = Mask(["principal"], SECRET)
    assert mask.value("a") == mask.value("a") != mask.value("b")


def test_what_looks_masked_is_not_taken_for_it():
    request = {**REQUEST, "context": {"email": {"masked": "00" * 32}}}
    record = decode_leaf(leaf(request))
    assert record.masked == []
    assert request_of(record) == Request(**request)


@pytest.mark.parametrize("path", ["", "action", "context.", "contextual", "context..a", "principal.id", "context.a\nb"])
def test_what_cannot_be_masked_is_refused(path):
    with pytest.raises(InputError, match="cannot be masked"):
        check_masks([path])


def test_masks_have_a_limit_and_take_a_secret():
    with pytest.raises(InputError, match="at most"):
        check_masks([f"context.a{number}" for number in range(65)])
    with pytest.raises(InputError, match="secret"):
        Mask(["principal"], b"short")


# Reading.


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"kind": "other"},
        {"index": -1},
        {"verdict": "perhaps"},
        {"state_root": "AB" * 32},
        {"request_digest": "ab"},
        {"extra": 1},
        {"policies": None},
        {"request": []},
    ],
)
def test_what_is_no_record_is_refused(change):
    spoiled = {**unpack(leaf(), max_bytes=10_000), **change}
    with pytest.raises(DecodeError):
        decode_leaf(pack(spoiled))
    with pytest.raises(DecodeError):
        decode_line(pack_json(spoiled))


@pytest.mark.parametrize("line", [b"", b"{}", b"[]", b"null", b'{"a":1}', b"\xff", b'{"kind": "gap"}', b"{" * 1000])
def test_junk_is_no_line(line):
    with pytest.raises(DecodeError):
        decode_line(line)


def test_a_second_spelling_of_a_line_is_refused():
    line = pack_json(unpack(leaf(), max_bytes=10_000))
    with pytest.raises(DecodeError):
        decode_line(line.replace(b'"index":3', b'"index": 3'))


def test_a_record_whose_request_is_none_of_ours_is_told():
    record = msgspec.structs.replace(decode_leaf(leaf()), request={**REQUEST, "more": 1})
    with pytest.raises(DecodeError, match="holds no request"):
        request_of(record)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(context=st.dictionaries(st.text(), values, max_size=4), message=st.text(), masked=st.booleans())
def test_nothing_that_is_asked_keeps_a_decision_from_the_log(context, message, masked):
    mask = Mask(["context", "principal"], SECRET) if masked else NO_MASK
    try:
        encoded = msgspec.msgpack.encode({**REQUEST, "context": context})
    except (OverflowError, UnicodeEncodeError):
        return
    record = decode_leaf(encode_noted(Noted(fields(message=message), encoded), 0, mask))
    assert record.verdict == "deny"


@pytest.mark.parametrize("principal", ['Agent::"a"', 'Agent::"\\u{61}"', 'Agent::"é\\n"', "no uid", ""])
def test_a_request_has_the_digest_that_permits_and_denials_name(principal):
    request = {**REQUEST, "principal": principal}
    try:
        expected = request_digest(Request(**request))
    except InputError:
        expected = ""
    assert decode_leaf(leaf(request)).request_digest == expected
