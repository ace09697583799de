"""The protocol of the Unix socket: frames, calls and answers. No I/O; shared by server and client.

A frame is a big-endian u32 length and that many bytes: one msgpack map. The client sends calls, `{"id", "op", ...}`,
as many as it likes before the first answer; the server answers each id once, in any order, with `{"id", "ok": true,
"result"}` or `{"id", "ok": false, "error"}`. A `watch` is answered and then followed by `{"id", "ok": true, "event"}`
until the client closes. An answer of id 0 speaks of the connection as a whole, and the server closes after it.

Answers to `check`, `check_many` and `submit` repeat the digest of exactly the bytes that were asked, so that an answer
mixed up on its way can never pass for the answer to another question.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Annotated, Any, Literal, get_args

import msgspec

from govraft.api.greeting import Hello, HelloCall
from govraft.api.signed_calls import AuthorizeCall, RedeemCall, SignedCheckCall
from govraft.api.wire_types import CallId, Name, Seq, TimeoutMs
from govraft.core.model.limits import ENVELOPE_BYTES
from govraft.core.model.request import Request
from govraft.errors import (
    AvailabilityError,
    DecodeError,
    GovraftError,
    InputError,
    LimitExceededError,
    RejectedError,
    StorageError,
    VerificationError,
)

__all__ = [
    "ERROR_KINDS",
    "MALFORMED_ERRORS",
    "WAITS",
    "BatchCall",
    "Call",
    "CheckCall",
    "EventFrame",
    "Failure",
    "FrameReader",
    "Hello",
    "HelloCall",
    "ReadCall",
    "Receipt",
    "RequestBody",
    "SubmitCall",
    "Success",
    "Wait",
    "WatchCall",
    "WireError",
    "call_id_of",
    "decode_call",
    "decode_request",
    "describe_error",
    "encode",
    "frame",
    "one_line",
    "request_digest",
    "restore_error",
]

Wait = Literal["effective", "committed", "none"]
WAITS: tuple[Wait, ...] = get_args(Wait)

_HEADER = struct.Struct(">I")
_MESSAGE_CHARS = 512
_REQUEST_DOMAIN = b"govraft/request/v1\0"

MALFORMED_ERRORS = (msgspec.MsgspecError, RecursionError, TypeError, ValueError)
"""What msgspec raises for bytes that are not msgpack, too deep, not UTF-8 or not of the wanted type."""


class RequestBody(Request, frozen=True, forbid_unknown_fields=True):
    """A `Request` off the wire. A misspelt field is refused: ignored, it could turn a deny into an allow."""


class CheckCall(msgspec.Struct, frozen=True, tag="check", tag_field="op", forbid_unknown_fields=True):
    """Asks for one verdict. `request` is kept as bytes: the answer repeats their digest."""

    id: CallId
    request: msgspec.Raw
    at_least: Seq = 0
    explain: bool = False


class BatchCall(msgspec.Struct, frozen=True, tag="check_many", tag_field="op", forbid_unknown_fields=True):
    """Asks for many verdicts; `requests` is an array. Answered by an array of the same length and order."""

    id: CallId
    requests: msgspec.Raw
    at_least: Seq = 0
    explain: bool = False


class SubmitCall(msgspec.Struct, frozen=True, tag="submit", tag_field="op", forbid_unknown_fields=True):
    """Hands in a signed envelope. Answered by a `Receipt`.

    A command that took its place before is refused as a replay, unless `retry` says that its outcome is asked for.
    `at_least` is the lowest seq at which the caller takes a refusal that rests on the state.
    """

    id: CallId
    envelope: Annotated[bytes, msgspec.Meta(max_length=ENVELOPE_BYTES)]
    timeout_ms: TimeoutMs
    wait: Literal["effective", "committed", "none"] = "effective"
    retry: bool = False
    at_least: Seq = 0


class ReadCall(msgspec.Struct, frozen=True, tag="read", tag_field="op", forbid_unknown_fields=True):
    """Reads governance state."""

    id: CallId
    what: Name
    params: dict[str, Any] = {}


class WatchCall(msgspec.Struct, frozen=True, tag="watch", tag_field="op", forbid_unknown_fields=True):
    """Subscribes this connection to the node's events."""

    id: CallId


Call = (
    HelloCall | CheckCall | BatchCall | SubmitCall | SignedCheckCall | AuthorizeCall | RedeemCall | ReadCall | WatchCall
)


class WireError(msgspec.Struct, frozen=True):
    """A `GovraftError` on its way to the caller. `kind` is a key of `ERROR_KINDS`, or newer than this program.

    `seq` stands only in a rejection by the log: a node's own word has none.
    """

    code: str
    message: str
    definite: bool
    kind: str = "error"
    seq: int | msgspec.UnsetType = msgspec.UNSET


class Success(msgspec.Struct, frozen=True):
    """`request` is the digest of what was asked, empty where there is none."""

    id: int
    result: Any
    request: bytes = b""
    ok: bool = True


class Failure(msgspec.Struct, frozen=True):
    """The call of that id failed; 0: the connection did."""

    id: int
    error: WireError
    ok: bool = False


class EventFrame(msgspec.Struct, frozen=True):
    """One event of the watch of that id."""

    id: int
    event: dict[str, Any]
    ok: bool = True


class Receipt(msgspec.Struct, frozen=True):
    """What became of a submitted command. Read its fields by name or, like a dict, by key.

    Attributes:
        command_id: The id its author chose.
        outcome: `applied` or a rejection code; `pending` when nobody waited for more.
        seq: Its place in the lineage; 0 while unknown.
        certified_seq: The certificate's seq; it is effective from `certified_seq >= seq` on. 0: no certificate yet.
        leaf: The leaf at `seq`.
        proof: RFC 6962 inclusion proof of `leaf` in the certificate's root, 32 bytes each.
        certificate: The quorum certificate, a C2SP signed note.
        lease: The lease message that made it so: it also proves that nobody serves an older state any more.
        unchanged: Targets that the command listed and left as they were; unset if there are none.
    """

    command_id: str
    outcome: str
    seq: int = 0
    certified_seq: int = 0
    leaf: bytes = b""
    proof: list[bytes] = []
    certificate: bytes = b""
    lease: bytes = b""
    unchanged: list[str] | msgspec.UnsetType = msgspec.UNSET

    def __repr__(self) -> str:
        seqs = f"seq={self.seq} certified_seq={self.certified_seq}"
        return f"<Receipt {self.outcome} {seqs} command_id={self.command_id}>"

    def keys(self) -> tuple[str, ...]:
        """The names of the fields that are set, so that `dict(receipt)` works."""
        return tuple(name for name in self.__struct_fields__ if getattr(self, name) is not msgspec.UNSET)

    def __getitem__(self, name: str) -> Any:
        """The field of that name.

        Raises:
            KeyError: There is none.
        """
        if name not in self.keys():
            raise KeyError(name)
        return getattr(self, name)


ERROR_KINDS: dict[str, type[GovraftError]] = {
    "rejected": RejectedError,
    "input": InputError,
    "verification": VerificationError,
    "unavailable": AvailabilityError,
    "storage": StorageError,
    "error": GovraftError,
}
"""From the most telling to the least: the first class that an error belongs to is its kind."""

_encoder = msgspec.msgpack.Encoder()
_call_decoder: msgspec.msgpack.Decoder[Call] = msgspec.msgpack.Decoder(Call)
_request_decoder = msgspec.msgpack.Decoder(RequestBody)


class _AnyCall(msgspec.Struct, frozen=True):
    id: CallId


_any_call_decoder = msgspec.msgpack.Decoder(_AnyCall)


def encode(value: object) -> bytes:
    """Encode `value` as msgpack.

    Raises:
        InputError: It holds what msgpack cannot carry, nests too deep, or has an integer over 64 bits.
    """
    try:
        return _encoder.encode(value)
    except (*MALFORMED_ERRORS, OverflowError) as error:
        raise InputError(f"cannot be sent: {one_line(str(error))}", code="not_encodable") from error


def frame(payload: bytes) -> bytes:
    """Put `payload` into a frame."""
    return _HEADER.pack(len(payload)) + payload


def decode_call(payload: bytes) -> Call:
    """Decode what a client sent.

    Raises:
        DecodeError: Not msgpack, or not a call.
    """
    try:
        return _call_decoder.decode(payload)
    except MALFORMED_ERRORS as error:
        raise DecodeError(f"malformed call: {one_line(str(error))}") from error


def call_id_of(payload: bytes) -> int | None:
    """The id of a call that `decode_call` refused, if it has a readable one: then only that call fails."""
    try:
        return _any_call_decoder.decode(payload).id
    except MALFORMED_ERRORS:
        return None


def decode_request(payload: msgspec.Raw | bytes) -> Request:
    """Decode one request.

    Raises:
        DecodeError: A missing, unknown or wrongly typed field.
    """
    try:
        return _request_decoder.decode(payload)
    except MALFORMED_ERRORS as error:
        raise DecodeError(f"malformed request: {one_line(str(error))}") from error


def request_digest(payload: msgspec.Raw | bytes) -> bytes:
    """SHA-256 over the domain `govraft/request/v1` and the exact bytes that were asked; 32 bytes."""
    return hashlib.sha256(_REQUEST_DOMAIN + bytes(payload)).digest()


def describe_error(error: GovraftError) -> WireError:
    """Put `error` into words for the wire."""
    kind = next(name for name, family in ERROR_KINDS.items() if isinstance(error, family) or name == "error")
    seq = error.diagnostics().get("seq") if isinstance(error, RejectedError) else None
    place = seq if isinstance(seq, int) and seq > 0 else msgspec.UNSET
    return WireError(code=error.code, message=one_line(str(error)), definite=error.definite, kind=kind, seq=place)


def restore_error(error: WireError) -> GovraftError:
    """Make an exception of what came off the wire. An unknown kind becomes a plain, indefinite `GovraftError`."""
    family = ERROR_KINDS.get(error.kind)
    message = one_line(error.message) or error.code
    if family is None:
        return GovraftError(message, code=error.code, definite=False)
    details = {"seq": error.seq} if isinstance(error.seq, int) and error.seq > 0 else {}
    return family(message, code=error.code, definite=error.definite, **details)


def one_line(text: str) -> str:
    """`text` without line breaks and control characters, cut to a length that fits into a message."""
    return "".join(char if char.isprintable() else " " for char in text[:_MESSAGE_CHARS])


class FrameReader:
    """Cuts a stream of bytes into frames, however the bytes arrive.

    Holds at most one frame's limit beyond what was fed last. After an error it is of no more use: where the next
    frame would begin is unknown.
    """

    __slots__ = ("_buffer", "_limit_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._buffer = bytearray()

    @property
    def buffered_bytes(self) -> int:
        """How many bytes wait for the rest of their frame, or to be taken."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Add bytes as they came."""
        self._buffer += data

    def drop(self) -> None:
        """Forget what was fed."""
        self._buffer = bytearray()

    def next_frame(self) -> bytes | None:
        """Take the next payload; None while it is incomplete.

        Raises:
            DecodeError: An empty frame.
            LimitExceededError: The header announces more than the limit. Nothing was allocated for it.
        """
        buffer = self._buffer
        if len(buffer) < _HEADER.size:
            return None
        (length,) = _HEADER.unpack_from(buffer)
        if length > self._limit_bytes:
            message = f"frame of {length} bytes: send at most {self._limit_bytes}"
            raise LimitExceededError(message, code="frame_too_large")
        if length == 0:
            raise DecodeError("empty frame: each frame holds one msgpack map", code="frame_empty")
        end = _HEADER.size + length
        if len(buffer) < end:
            return None
        payload = bytes(memoryview(buffer)[_HEADER.size : end])
        del buffer[:end]
        return payload
