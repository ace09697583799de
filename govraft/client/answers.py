"""What came back from a node, and whether it may be believed. No I/O but the clock of `valid_until`.

An allow is believed only if all of this holds; in every other case the result is a `Deny`, or an exception where no
verdict was asked for:

1. the answer carries the id of the question, and the digest of exactly the bytes that were asked;
2. it has every field, each of its type, and no field unknown here;
3. its seq is at least the one that was asked for;
4. it holds at the moment of its arrival, and does not claim to hold longer than any lease can.
"""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

from govraft.api.wire import MALFORMED_ERRORS, WireError, one_line, restore_error
from govraft.client.verdicts import Allow, Deny, Verdict, deny_for
from govraft.core.model.limits import ALLOW_VALIDITY_MS
from govraft.core.model.reasons import Reason
from govraft.core.model.units import NS_PER_MS
from govraft.errors import GovraftError

__all__ = [
    "Answer",
    "BatchAnswer",
    "CheckAnswer",
    "answer_decoder",
    "batch_decoder",
    "check_decoder",
    "convert",
    "decode_answer",
    "deny_reported",
    "event_in",
    "id_in",
    "match",
    "mistrust",
    "vet",
]

_REASONS = frozenset(reason.value for reason in Reason)
_STATE_ROOT = re.compile(r"[0-9a-f]{64}")

T = TypeVar("T")


class _Answered(msgspec.Struct, frozen=True):
    id: int


class CheckAnswer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The answer to `check`."""

    id: int
    ok: bool
    request: bytes = b""
    result: Allow | Deny | None = None
    error: WireError | None = None


class BatchAnswer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The answer to `check_many`."""

    id: int
    ok: bool
    request: bytes = b""
    result: list[Allow | Deny] | None = None
    error: WireError | None = None


class Answer(msgspec.Struct, frozen=True):
    """The answer to anything else."""

    id: int
    ok: bool
    request: bytes = b""
    result: Any = None
    error: WireError | None = None


class _EventAnswer(msgspec.Struct, frozen=True):
    id: int
    ok: bool
    event: dict[str, Any] | None = None
    error: WireError | None = None


check_decoder = msgspec.msgpack.Decoder(CheckAnswer)
batch_decoder = msgspec.msgpack.Decoder(BatchAnswer)
answer_decoder = msgspec.msgpack.Decoder(Answer)
_event_decoder = msgspec.msgpack.Decoder(_EventAnswer)
_id_decoder = msgspec.msgpack.Decoder(_Answered)


def mistrust(what: str) -> GovraftError:
    """The error for an answer that no honest node of this protocol gives."""
    return GovraftError(f"the node's answer is not usable: {what}", code="answer_invalid", definite=False)


def decode_answer(decoder: msgspec.msgpack.Decoder[T], payload: bytes) -> T:
    """Decode `payload`.

    Raises:
        GovraftError: It is something else.
    """
    try:
        return decoder.decode(payload)
    except MALFORMED_ERRORS as error:
        raise mistrust(one_line(str(error))) from error


def id_in(payload: bytes) -> int:
    """The id that an answer carries; 0 speaks of the connection as a whole.

    Raises:
        GovraftError: Not an answer.
    """
    return decode_answer(_id_decoder, payload).id


def match(answer: CheckAnswer | BatchAnswer | Answer, call_id: int, digest: bytes) -> None:
    """Refuse an answer to anything but this call, with a `GovraftError`; raise the node's own error.

    SAFETY: without it an allow for another request would be taken for this one's
    (test_hostile_node.py::test_swapped_answers_deny).
    """
    if answer.id == 0 and answer.error is not None:
        raise restore_error(answer.error)
    if answer.id != call_id:
        raise mistrust("wrong id")
    if not answer.ok:
        raise restore_error(answer.error) if answer.error is not None else mistrust("neither result nor error")
    if answer.error is not None:
        raise mistrust("both result and error")
    if answer.request != digest:
        raise mistrust("it answers another question")


def vet(verdict: Allow | Deny, at_least: int, now: int) -> Verdict:
    """Turn an allow that must not be believed into a deny.

    SAFETY: an allow that arrives late would outlive its lease (test_hostile_node.py::test_unbelievable_allows_deny).
    """
    if isinstance(verdict, Deny):
        return verdict
    if not verdict.is_valid_at(now):
        return Deny(Reason.LEASE_EXPIRED, "the allow arrived after it had run out", seq=verdict.seq)
    if verdict.valid_until > now + ALLOW_VALIDITY_MS * NS_PER_MS:
        return Deny(Reason.INTERNAL_ERROR, "the node's allow claims to hold longer than any lease")
    if verdict.seq < max(1, at_least):
        return Deny(Reason.INTERNAL_ERROR, "the node's allow rests on an older state than asked for")
    if not _STATE_ROOT.fullmatch(verdict.state_root) or not verdict.decision or not verdict.node:
        return Deny(Reason.INTERNAL_ERROR, "the node's allow does not say what it rests on")
    return verdict


def deny_reported(error: GovraftError) -> Deny:
    """The denial for an error that the node reported in place of a verdict."""
    if error.code in _REASONS:
        return Deny(Reason(error.code), one_line(str(error)))
    return deny_for(error)


def event_in(payload: bytes, call_id: int) -> dict[str, Any]:
    """The event that a frame of a watch carries.

    Raises:
        GovraftError: The node ended the watch, or the frame is no event of it.
    """
    answer = decode_answer(_event_decoder, payload)
    if answer.error is not None and answer.id in {0, call_id}:
        raise restore_error(answer.error)
    if answer.id != call_id or not answer.ok or answer.event is None:
        raise mistrust("not an event of this watch")
    return answer.event


def convert(value: object, kind: type[T]) -> T:
    """`value` as a `kind`.

    Raises:
        GovraftError: A field is missing or wrongly typed.
    """
    try:
        return msgspec.convert(value, kind)
    except MALFORMED_ERRORS as error:
        raise mistrust(one_line(str(error))) from error
