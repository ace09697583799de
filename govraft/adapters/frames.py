"""Cutting a peer's byte stream into frames. Sans-I/O: bytes in, frames out.

A frame is ``u32be length ‖ u8 channel ‖ payload``; `length` counts channel and payload. Two rules:

1. After `receive`, call `next_frame` until it gives None. What is then buffered is less than one frame.
2. After a `DecodeError` the stream is lost: nothing marks where the next frame would begin.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from govraft.core.model.limits import FRAME_BYTES
from govraft.errors import DecodeError, LimitExceededError

__all__ = ["CONTROL_CHANNEL", "Frame", "FrameDecoder", "encode_frame"]

CONTROL_CHANNEL = 255
"""The channel of the hello frames; never handed to the node."""

_HEADER = struct.Struct(">IB")
_LENGTH_BYTES = 4


class Frame(NamedTuple):
    """One frame: its channel, 0 to 255, and its payload."""

    channel: int
    payload: bytes


def encode_frame(channel: int, payload: bytes) -> bytes:
    """The bytes of one frame.

    Raises:
        LimitExceededError: The channel is not a byte, or channel and payload are over `FRAME_BYTES`.
    """
    length = 1 + len(payload)
    if length > FRAME_BYTES or not 0 <= channel <= CONTROL_CHANNEL:
        raise LimitExceededError(f"a frame of {length} bytes on channel {channel} cannot be sent; split the payload")
    return _HEADER.pack(length, channel) + payload


class FrameDecoder:
    """Cuts one stream.

    Attributes:
        frame_bytes_max: Largest acceptable `length`. May be raised between two frames: small until the peer has said
            who it is, so that a stranger cannot make the node buffer much.
    """

    __slots__ = ("_buffer", "_failed", "_offset", "frame_bytes_max")

    def __init__(self, frame_bytes_max: int = FRAME_BYTES) -> None:
        self.frame_bytes_max = frame_bytes_max
        self._buffer = bytearray()
        self._offset = 0
        self._failed = False

    @property
    def buffered_bytes(self) -> int:
        """How many received bytes belong to no frame yet."""
        return len(self._buffer) - self._offset

    def receive(self, data: bytes) -> None:
        """Add bytes of the stream, in order."""
        if self._failed:
            return
        del self._buffer[: self._offset]
        self._offset = 0
        self._buffer += data

    def next_frame(self) -> Frame | None:
        """The next whole frame, None when more bytes are needed.

        Raises:
            DecodeError: The length is zero or over `frame_bytes_max`, now or earlier in this stream.
        """
        if self._failed:
            raise DecodeError("the stream was malformed before; close the connection")
        available = len(self._buffer) - self._offset
        if available < _LENGTH_BYTES:
            return None
        length = int.from_bytes(self._buffer[self._offset : self._offset + _LENGTH_BYTES], "big")
        # SAFETY: refused by the announced length, before anything of that size is buffered;
        # test_frames.py::test_a_length_over_the_limit_is_refused_at_once
        if not 0 < length <= self.frame_bytes_max:
            self._failed = True
            self._buffer, self._offset = bytearray(), 0
            raise DecodeError(f"a frame of {length} bytes is outside 1 to {self.frame_bytes_max}")
        if available < _LENGTH_BYTES + length:
            return None
        start = self._offset + _HEADER.size
        end = self._offset + _LENGTH_BYTES + length
        with memoryview(self._buffer) as view:
            frame = Frame(view[start - 1], view[start:end].tobytes())
        self._offset = end
        return frame
