"""Frames, calls and errors on the socket."""

from __future__ import annotations

import hashlib
import struct

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from govraft.api import wire
from govraft.core.model.limits import ENVELOPE_BYTES
from govraft.errors import (
    AvailabilityError,
    DecodeError,
    Denied,
    GovraftError,
    InputError,
    LimitExceededError,
    RejectedError,
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=60), max_size=8), st.integers(1, 9))
def test_frames_survive_any_cut(payloads: list[bytes], step: int) -> None:
    stream = b"".join(wire.frame(payload) for payload in payloads)
    reader, found = wire.FrameReader(60), []
    for start in range(0, len(stream), step):
        reader.feed(stream[start : start + step])
        while (payload := reader.next_frame()) is not None:
            found.append(payload)
    assert found == payloads
    assert reader.buffered_bytes == 0


def test_frame_limit_is_exact() -> None:
    reader = wire.FrameReader(8)
    reader.feed(wire.frame(b"x" * 8))
    assert reader.next_frame() == b"x" * 8
    reader.feed(struct.pack(">I", 9))
    with pytest.raises(LimitExceededError, match="frame of 9 bytes"):
        reader.next_frame()


def test_empty_frame_is_refused() -> None:
    reader = wire.FrameReader(8)
    reader.feed(b"\0\0\0\0")
    with pytest.raises(DecodeError, match="empty frame"):
        reader.next_frame()


def test_check_call_golden_bytes() -> None:
    """The bytes another implementation must send, and the digest it must expect. Written by hand."""
    body = b"\x84\xa9principal\xa1p\xa6action\xa1a\xa8resource\xa1r\xa7context\x80"
    call = b"\x85\xa2op\xa5check\xa2id\x07\xa7request" + body + b"\xa8at_least\x00\xa7explain\xc2"
    decoded = wire.decode_call(call)
    assert isinstance(decoded, wire.CheckCall)
    assert wire.encode(wire.CheckCall(7, msgspec.Raw(body))) == call
    assert wire.request_digest(decoded.request) == hashlib.sha256(b"govraft/request/v1\0" + body).digest()
    assert wire.decode_request(decoded.request) == wire.RequestBody("p", "a", "r", {})


@pytest.mark.parametrize(
    "call",
    [
        {"op": "check", "id": 1},
        {"op": "check", "id": 0, "request": {}},
        {"op": "check", "id": True, "request": {}},
        {"op": "check", "id": 1 << 53, "request": {}},
        {"op": "check", "id": 1, "request": {}, "at_least": -1},
        {"op": "check", "id": 1, "request": {}, "explain": 1},
        {"op": "check", "id": 1, "request": {}, "atleast": 3},
        {"op": "execute", "id": 1},
        {"op": "submit", "id": 1, "envelope": b"", "timeout_ms": 0},
        {"op": "submit", "id": 1, "envelope": b"", "timeout_ms": 1, "wait": "soon"},
        {"op": "submit", "id": 1, "envelope": b"x" * (ENVELOPE_BYTES + 1), "timeout_ms": 1},
        {"op": "read", "id": 1, "what": "x" * 257},
        {"op": "watch"},
        [],
        "check",
    ],
)
def test_wrong_calls_are_refused(call: object) -> None:
    with pytest.raises(DecodeError, match="malformed call"):
        wire.decode_call(msgspec.msgpack.encode(call))


@pytest.mark.parametrize(
    "body",
    [
        {"principal": "p", "action": "a"},
        {"principal": "p", "action": "a", "resource": 1},
        {"principal": "p", "action": "a", "resource": "r", "contxt": {}},
        {"principal": "p", "action": "a", "resource": "r", "context": []},
        {"principal": "p", "action": "a", "resource": "r", "context": {1: 2}},
    ],
)
def test_wrong_requests_are_refused(body: object) -> None:
    with pytest.raises(DecodeError, match="malformed request"):
        wire.decode_request(msgspec.msgpack.encode(body))


@pytest.mark.parametrize("value", [object(), 1 << 64, {"x": "\ud800"}, [float, 1]])
def test_what_cannot_be_sent_is_an_input_error(value: object) -> None:
    with pytest.raises(InputError, match="cannot be sent"):
        wire.encode(value)


@pytest.mark.parametrize(
    ("error", "family"),
    [
        (RejectedError("no", code="expired"), RejectedError),
        (AvailabilityError("later", code="timed_out", definite=False), AvailabilityError),
        (DecodeError("bad"), InputError),
        (GovraftError("odd", code="odd"), GovraftError),
        (Denied(None), GovraftError),
    ],
)
def test_errors_survive_the_wire(error: GovraftError, family: type[GovraftError]) -> None:
    restored = wire.restore_error(wire.describe_error(error))
    assert type(restored) is family
    assert (restored.code, str(restored), restored.definite) == (error.code, str(error), error.definite)


def test_every_error_family_has_a_kind() -> None:
    families = {
        family for family in GovraftError.__subclasses__() if not family.__module__.startswith("govraft.testing")
    }
    leaves = families - set(wire.ERROR_KINDS.values())
    assert {family.__name__ for family in leaves} <= {"ConfigError", "Denied", "HazardError"}


def test_an_unknown_kind_is_indefinite() -> None:
    restored = wire.restore_error(wire.WireError("x", "a\nb", definite=True, kind="newer"))
    assert type(restored) is GovraftError
    assert not restored.definite
    assert str(restored) == "a b"


def test_receipt_reads_like_a_dict() -> None:
    receipt = wire.Receipt(command_id="c", outcome="applied", seq=3)
    assert dict(receipt)["seq"] == receipt["seq"] == 3
    with pytest.raises(KeyError):
        receipt["keys"]
