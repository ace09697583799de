"""The codec: exact round trips, strict refusals, no exception but DecodeError."""

from __future__ import annotations

import random

import msgpack
import pytest

from govraft.adapters.engine.frames import (
    AppendEntries,
    Message,
    NextNodeIndex,
    PreVote,
    PreVoteResponse,
    RequestVote,
    ResponseVote,
    decode_frame,
    encode_frame,
)
from govraft.core.model.limits import ENTRY_BYTES, FRAME_BYTES, PROPOSAL_BATCH_BYTES, PROPOSAL_BATCH_ENTRIES
from govraft.errors import DecodeError

MESSAGES: list[Message] = [
    PreVote(4, 9, 3),
    PreVoteResponse(0, False),
    RequestVote(1, 0, 0),
    ResponseVote(7),
    AppendEntries(3, 5, 2, 1, ((1, b"\0abc"), (3, b"\1"), (3, bytes(300)))),
    AppendEntries(3, 0, 0, 0, ()),
    NextNodeIndex(3, 4, 5, False, True),
]


@pytest.mark.parametrize("message", MESSAGES)
def test_round_trip(message: Message) -> None:
    frame = encode_frame(message)
    assert decode_frame(frame) == message
    assert frame == encode_frame(decode_frame(frame))
    assert isinstance(msgpack.unpackb(frame), dict)


def body(**changes: object) -> bytes:
    fields: dict[str, object] = {
        "type": "append_entries",
        "term": 3,
        "commit_index": 5,
        "prev_index": 2,
        "prev_term": 1,
        "entries": [[1, b"\0a"]],
        "epoch": 4,
    }
    fields.update(changes)
    return bytes(msgpack.packb({key: value for key, value in fields.items() if value is not ...}))


def test_the_unchanged_body_is_accepted() -> None:
    assert decode_frame(body()) == AppendEntries(3, 5, 2, 1, ((1, b"\0a"),), 4)


@pytest.mark.parametrize(
    "frame",
    [
        body(type="apply_command"),
        body(type=1),
        body(type=...),
        body(serialized=None),
        body(term=...),
        body(term="3"),
        body(term=True),
        body(term=3.0),
        body(term=0),
        body(term=-1),
        body(term=2**62 + 1),
        body(epoch=...),
        body(epoch=0),
        body(epoch=2**62 + 1),
        body(prev_index=2**63),
        body(prev_index=0),
        body(prev_term=0),
        body(prev_term=2),
        body(prev_term=4, entries=[]),
        body(entries=None),
        body(entries=[[1]]),
        body(entries=[[1, "\0a"]]),
        body(entries=[[1, b"\0a", 1]]),
        body(entries=[[0, b"\0a"]]),
        body(entries=[[4, b"\0a"]]),
        body(entries=[[3, b"\0a"], [2, b"\0a"]]),
        body(entries=[[1, b""]]),
        body(entries=[[1, b"\0"]]),
        body(entries=[[1, b"\1a"]]),
        body(entries=[[1, b"\2a"]]),
        body(entries=[[1, b"\3a"]]),
        body(entries=[[1, bytes(ENTRY_BYTES + 2)]]),
        body(entries=[[1, b"\1"]] * (PROPOSAL_BATCH_ENTRIES + 1)),
        body() + b"\0",
        body()[:-1],
        b"",
        b"\xc0",
        b"\x91" * 5000,
        b"\x81\xa4type" + b"\x81\xa1a" * 5000,
        msgpack.packb({"type": "response_vote", "term": 7}, use_bin_type=True).replace(b"\x07", b"\xcc\x07"),
        b"\x83\xa4type\xadresponse_vote\xa4term\x07\xa4term\x08",
        msgpack.packb({"type": "request_vote", "term": 3, "last_log_index": 1, "last_log_term": 3}),
        msgpack.packb({"type": "request_vote", "term": 3, "last_log_index": 1, "last_log_term": 0}),
        encode_frame(NextNodeIndex(3, 4, 5, True, True)),
        body(entries=[[1, bytes(ENTRY_BYTES)]] * (FRAME_BYTES // ENTRY_BYTES + 1)),
    ],
)
def test_everything_else_is_refused(frame: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_frame(frame)


def test_the_fullest_batch_fits_into_a_frame() -> None:
    size = PROPOSAL_BATCH_BYTES // PROPOSAL_BATCH_ENTRIES
    entries = tuple((2**62, bytes(size)) for _ in range(PROPOSAL_BATCH_ENTRIES))
    assert len(encode_frame(AppendEntries(2**62, 2**62, 2**62, 2**62, entries))) < FRAME_BYTES


def test_fuzzed_frames_decode_or_are_refused() -> None:
    rng = random.Random(5)
    frames = [encode_frame(message) for message in MESSAGES]
    refused = 0
    for _ in range(30_000):
        frame = bytearray(rng.choice(frames))
        for _ in range(rng.randint(1, 4)):
            kind, at = rng.randrange(3), rng.randrange(len(frame) or 1)
            if kind == 0 and frame:
                frame[at % len(frame)] = rng.randrange(256)
            elif kind == 1:
                frame.insert(at, rng.randrange(256))
            else:
                del frame[at : at + rng.randint(1, 3)]
        try:
            message = decode_frame(bytes(frame))
        except DecodeError:
            refused += 1
        else:
            assert encode_frame(message) == bytes(frame)
    assert refused > 20_000
