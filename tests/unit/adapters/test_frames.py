"""The frame decoder: whole, byte by byte, cut anywhere, and fed with rubbish."""

from __future__ import annotations

import random
import struct
import tracemalloc

import pytest

from govraft.adapters.frames import CONTROL_CHANNEL, Frame, FrameDecoder, encode_frame
from govraft.core.model.limits import FRAME_BYTES
from govraft.errors import DecodeError, LimitExceededError


def decode(pieces: list[bytes], frame_bytes_max: int = FRAME_BYTES) -> tuple[list[Frame], bool]:
    """The frames of a stream, and whether it was refused in the end."""
    decoder = FrameDecoder(frame_bytes_max)
    frames: list[Frame] = []
    for piece in pieces:
        decoder.receive(piece)
        try:
            while (frame := decoder.next_frame()) is not None:
                frames.append(frame)
        except DecodeError:
            return frames, True
        assert decoder.buffered_bytes < 4 + frame_bytes_max
    return frames, False


def naive(stream: bytes, frame_bytes_max: int) -> tuple[list[Frame], bool]:
    """The same, written as dumb as the format allows."""
    frames: list[Frame] = []
    while len(stream) >= 4:
        (length,) = struct.unpack(">I", stream[:4])
        if length == 0 or length > frame_bytes_max:
            return frames, True
        if len(stream) < 4 + length:
            break
        frames.append(Frame(stream[4], stream[5 : 4 + length]))
        stream = stream[4 + length :]
    return frames, False


def test_the_bytes_of_a_frame() -> None:
    assert encode_frame(7, b"abc") == b"\x00\x00\x00\x04\x07abc"
    assert encode_frame(CONTROL_CHANNEL, b"") == b"\x00\x00\x00\x01\xff"


@pytest.mark.parametrize(("channel", "size"), [(-1, 0), (256, 0), (0, FRAME_BYTES)])
def test_what_cannot_be_framed_is_refused(channel: int, size: int) -> None:
    with pytest.raises(LimitExceededError):
        encode_frame(channel, bytes(size))


def test_the_largest_frame_passes() -> None:
    payload = random.Random(1).randbytes(FRAME_BYTES - 1)
    stream = encode_frame(3, payload) + encode_frame(4, b"next")
    assert decode([stream]) == ([Frame(3, payload), Frame(4, b"next")], False)
    assert decode([stream[n : n + 1000] for n in range(0, len(stream), 1000)])[0][0] == Frame(3, payload)


@pytest.mark.parametrize("length", [0, 1025, FRAME_BYTES + 1, 2**31, 2**32 - 1])
def test_a_length_over_the_limit_is_refused_at_once(length: int) -> None:
    decoder = FrameDecoder(1024)
    decoder.receive(struct.pack(">I", length))
    with pytest.raises(DecodeError, match=f"a frame of {length} bytes"):
        decoder.next_frame()
    decoder.receive(encode_frame(1, b"well formed"))
    assert decoder.buffered_bytes == 0
    with pytest.raises(DecodeError, match="malformed before"):
        decoder.next_frame()


def test_the_limit_can_be_raised_between_two_frames() -> None:
    decoder = FrameDecoder(8)
    decoder.receive(encode_frame(1, b"1234567") + encode_frame(2, b"12345678"))
    assert decoder.next_frame() == Frame(1, b"1234567")
    decoder.frame_bytes_max = 9
    assert decoder.next_frame() == Frame(2, b"12345678")
    assert decoder.next_frame() is None


def mutated_stream(rng: random.Random) -> bytes:
    """Frames, some of them damaged, or plain rubbish."""
    kind = rng.randrange(4)
    if kind == 0:
        return rng.randbytes(rng.randrange(40))
    stream = bytearray(b"".join(encode_frame(rng.randrange(256), rng.randbytes(rng.randrange(12))) for _ in range(4)))
    if kind == 1:
        stream[rng.randrange(len(stream))] = rng.randrange(256)
    elif kind == 2:
        del stream[rng.randrange(len(stream)) :]
    return bytes(stream)


def test_any_stream_decodes_alike_whole_and_byte_by_byte() -> None:
    rng = random.Random(11)
    refused = 0
    for _ in range(20_000):
        stream = mutated_stream(rng)
        limit = rng.choice([8, 64, FRAME_BYTES])
        expected = naive(stream, limit)
        assert decode([stream], limit) == expected
        assert decode([stream[n : n + 1] for n in range(len(stream))], limit) == expected
        cut = rng.randrange(len(stream) + 1)
        assert decode([stream[:cut], stream[cut:]], limit) == expected
        refused += expected[1]
    assert 2_000 < refused < 18_000


def test_announcing_much_and_sending_little_costs_little() -> None:
    tracemalloc.start()
    try:
        decoders = []
        for _ in range(1_000):
            decoder = FrameDecoder()
            decoder.receive(struct.pack(">IB", FRAME_BYTES, 0) + bytes(10))
            assert decoder.next_frame() is None
            decoders.append(decoder)
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
    finally:
        tracemalloc.stop()
