"""The hello: accepted when everything fits, refused otherwise."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from govraft.adapters.frames import CONTROL_CHANNEL, Frame, FrameDecoder
from govraft.adapters.peer_hello import HELLO_BYTES_MAX, Hello, accept_hello, encode_hello
from govraft.core.model.rules import RULES_NEWEST
from govraft.errors import DecodeError, InputError, VerificationError

SESSION = bytes(range(16))
GOOD: dict[str, Any] = {"v": 2, "cluster_id": "c1", "node_id": "n1", "session": SESSION, "rules": 2}
FIRST: dict[str, Any] = {"v": 1, "cluster_id": "c1", "node_id": "n1", "session": SESSION}


def accept(payload: bytes, channel: int = CONTROL_CHANNEL) -> Hello:
    return accept_hello(Frame(channel, payload), cluster_id="c1", node_id="n1")


def test_a_hello_survives_the_wire() -> None:
    decoder = FrameDecoder(HELLO_BYTES_MAX)
    decoder.receive(encode_hello("c" * 64, "n" * 64, SESSION))
    frame = decoder.next_frame()
    assert frame is not None
    assert accept_hello(frame, cluster_id="c" * 64, node_id="n" * 64) == Hello(
        2, "c" * 64, "n" * 64, SESSION, RULES_NEWEST
    )


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"v": 3, "more": 1}, VerificationError, "speaks version 3"),
        ({"v": 1}, VerificationError, "speaks version 1"),
        ({"v": 0}, VerificationError, "speaks version 0"),
        ({"cluster_id": "c2"}, VerificationError, "of cluster `c2`"),
        ({"node_id": "n2"}, VerificationError, "certificate of `n1` came with the name `n2`"),
        ({"session": b"short"}, DecodeError, "wrong length"),
        ({"session": "text"}, DecodeError, "cannot be read"),
        ({"v": "1"}, DecodeError, "cannot be read"),
        ({"v": 1.0}, DecodeError, "cannot be read"),
        ({"rules": 0}, DecodeError, "no number of rules"),
        ({"rules": "2"}, DecodeError, "cannot be read"),
        ({"extra": 1}, DecodeError, "cannot be read"),
    ],
)
def test_a_hello_that_does_not_fit_is_refused(change: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        accept(msgspec.msgpack.encode(GOOD | change))


def test_a_hello_of_the_first_version_is_named_as_such() -> None:
    with pytest.raises(VerificationError, match="version 1, this node 2; upgrade the older one"):
        accept(msgspec.msgpack.encode(FIRST))


def test_a_member_may_know_newer_rules() -> None:
    assert accept(msgspec.msgpack.encode(GOOD | {"rules": 99})).rules == 99


@pytest.mark.parametrize("field", sorted(GOOD))
def test_every_field_is_needed(field: str) -> None:
    with pytest.raises(DecodeError, match=field):
        accept(msgspec.msgpack.encode({key: value for key, value in GOOD.items() if key != field}))


def test_a_hello_comes_on_the_control_channel() -> None:
    with pytest.raises(DecodeError, match="channel 0"):
        accept(msgspec.msgpack.encode(GOOD), channel=0)


def test_rubbish_is_refused_and_nothing_else_is_raised() -> None:
    rng = random.Random(3)
    good = msgspec.msgpack.encode(GOOD)
    for _ in range(5_000):
        payload = bytearray(good)
        for _ in range(rng.randrange(1, 4)):
            payload[rng.randrange(len(payload))] = rng.randrange(256)
        try:
            hello = accept(bytes(payload[: rng.choice([len(payload), rng.randrange(len(payload))])]))
        except (InputError, VerificationError):
            continue
        assert (hello.v, hello.cluster_id, hello.node_id, len(hello.session)) == (2, "c1", "n1", 16)
