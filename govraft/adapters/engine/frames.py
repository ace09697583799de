"""The engine's messages and their frames.

A frame is one msgpack map with a `type`. Decoding is typed per message and strict: an unknown type or field, a missing
or wrongly typed one, a value out of range, or bytes that are not the message's only encoding, all raise `DecodeError`.
Nothing is ever pickled (H9), a command of the engine's own kinds (membership, version) has no encoding (H8), and
sequences decode to tuples (H17). Everything that can be judged without the state of the log is judged here.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from govraft.core.codec.complaints import in_words
from govraft.core.model.genesis import FIRST_EPOCH
from govraft.core.model.limits import ENTRY_BYTES, FRAME_BYTES, PROPOSAL_BATCH_ENTRIES
from govraft.errors import DecodeError

__all__ = [
    "NO_OP",
    "REGULAR",
    "TERM_MAX",
    "AppendEntries",
    "Committed",
    "LogEntry",
    "Message",
    "NextNodeIndex",
    "PreVote",
    "PreVoteResponse",
    "RequestVote",
    "ResponseVote",
    "decode_frame",
    "encode_frame",
    "is_payload",
    "read_payload",
]

LogEntry = tuple[bytes, int, int]
"""(payload, index, term): the engine's own order."""

REGULAR = b"\0"
"""First byte of a payload that carries an entry. The numbers are the engine's."""

NO_OP = b"\1"
"""The whole payload of the entry with which a leader opens its term."""

TERM_MAX = 2**62
INDEX_MAX = 2**62
EPOCH_MAX = 2**62

Term = Annotated[int, msgspec.Meta(ge=1, le=TERM_MAX)]
LogTerm = Annotated[int, msgspec.Meta(ge=0, le=TERM_MAX)]
Index = Annotated[int, msgspec.Meta(ge=0, le=INDEX_MAX)]
NextIndex = Annotated[int, msgspec.Meta(ge=1, le=INDEX_MAX)]
Epoch = Annotated[int, msgspec.Meta(ge=FIRST_EPOCH, le=EPOCH_MAX)]
"""The epoch of the electorate by which the sender counts, so that whoever knows a later one can tell."""
Payload = Annotated[bytes, msgspec.Meta(min_length=1, max_length=ENTRY_BYTES + 1)]
Entries = Annotated[tuple[tuple[Term, Payload], ...], msgspec.Meta(max_length=PROPOSAL_BATCH_ENTRIES)]


class _Frame(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type"):
    """Base of the messages."""


class PreVote(_Frame, frozen=True, tag="pre_vote"):
    """Would you vote for me in `term`? Changes nothing at either end (H13)."""

    term: Term
    last_log_index: Index
    last_log_term: LogTerm
    epoch: Epoch = FIRST_EPOCH


class PreVoteResponse(_Frame, frozen=True, tag="pre_vote_response"):
    """`granted`: yes, in `term`. Not granted: no, and `term` is my current term."""

    term: LogTerm
    granted: bool


class RequestVote(_Frame, frozen=True, tag="request_vote"):
    """Vote for me in `term`."""

    term: Term
    last_log_index: Index
    last_log_term: LogTerm
    epoch: Epoch = FIRST_EPOCH


class ResponseVote(_Frame, frozen=True, tag="response_vote"):
    """You have my vote in `term`."""

    term: Term


class AppendEntries(_Frame, frozen=True, tag="append_entries"):
    """The leader of `term` puts `entries` after the entry (`prev_index`, `prev_term`); their indices follow on."""

    term: Term
    commit_index: Index
    prev_index: Index
    prev_term: LogTerm
    entries: Entries
    epoch: Epoch = FIRST_EPOCH


class NextNodeIndex(_Frame, frozen=True, tag="next_node_idx"):
    """Answer to append entries, bound to the sender's `term` (H2).

    Attributes:
        term: The term in which the sender speaks; a higher one deposes the leader.
        prev_index: Echo of the answered message.
        next_index: With `success`: my log equals yours below it. With `reset`: try from here, at the latest.
        reset: The entry at `prev_index` is missing or differs.
        success: All entries of the message are in my log.
    """

    term: Term
    prev_index: Index
    next_index: NextIndex
    reset: bool
    success: bool


class Committed(_Frame, frozen=True, tag="committed"):
    """No vote for a candidate of an earlier electorate; but the entry (`index`, `term`) is committed."""

    index: NextIndex
    term: Term


Message = Committed | PreVote | PreVoteResponse | RequestVote | ResponseVote | AppendEntries | NextNodeIndex

_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)
_encoder = msgspec.msgpack.Encoder()


def is_payload(payload: bytes) -> bool:
    """Whether `payload` is a NO_OP, or a REGULAR with a non-empty entry within the limit."""
    return payload == NO_OP or (payload[:1] == REGULAR and 1 < len(payload) <= ENTRY_BYTES + 1)


def read_payload(payload: bytes) -> bytes | None:
    """The entry in a payload, None in that of a NO_OP. Raises `DecodeError` for anything else."""
    if not is_payload(payload):
        raise DecodeError("it is of no known kind")
    return None if payload == NO_OP else payload[1:]


def encode_frame(message: Message) -> bytes:
    """Encode `message` as the payload of one peer frame."""
    return _encoder.encode(message)


def decode_frame(frame: bytes) -> Message:
    """Decode one frame.

    Raises:
        DecodeError: The frame is not exactly one valid message.
    """
    if len(frame) > FRAME_BYTES:
        raise DecodeError(f"engine frame of `{len(frame)}` bytes is above {FRAME_BYTES}, send smaller batches")
    try:
        message = _decoder.decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DecodeError(f"engine frame is malformed: {in_words(error)}") from error
    # One encoding per message: duplicate keys and padded integers have no second meaning to disagree about.
    if _encoder.encode(message) != frame:
        raise DecodeError("engine frame is not in its canonical encoding, encode it with msgspec")
    if not _is_consistent(message):
        raise DecodeError(f"engine frame `{type(message).__name__}` contradicts itself, drop it")
    return message


def _is_consistent(message: Message) -> bool:
    """Whether a correct member can have sent `message`, whatever the logs hold."""
    if isinstance(message, AppendEntries):
        return _is_consistent_append(message)
    if isinstance(message, PreVote | RequestVote):
        # A candidate's term is above all terms in its log.
        return (message.last_log_index == 0) == (message.last_log_term == 0) and message.last_log_term < message.term
    if isinstance(message, NextNodeIndex):
        return not (message.reset and message.success)
    return True


def _is_consistent_append(message: AppendEntries) -> bool:
    if (message.prev_index == 0) != (message.prev_term == 0):
        return False
    term = message.prev_term
    for entry_term, payload in message.entries:
        if entry_term < term or not is_payload(payload):
            return False
        term = entry_term
    return term <= message.term
