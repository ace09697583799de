"""What a client asks. No I/O; shared by `Client` and `AsyncClient`."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from govraft.api.wire import (
    WAITS,
    BatchCall,
    CheckCall,
    ReadCall,
    Receipt,
    WatchCall,
    encode,
    one_line,
    request_digest,
)
from govraft.client.answers import (
    answer_decoder,
    batch_decoder,
    check_decoder,
    convert,
    decode_answer,
    deny_reported,
    match,
    mistrust,
    vet,
)
from govraft.client.verdicts import Allow, Deny, Verdict, deny_for, now_ns
from govraft.core.model.limits import ENVELOPE_BYTES, FRAME_BYTES, NAME_CHARS, REQUEST_BYTES
from govraft.core.model.reasons import Reason
from govraft.core.model.request import Request
from govraft.errors import GovraftError, InputError, LimitExceededError, RejectedError

__all__ = [
    "Asked",
    "Question",
    "ask_check",
    "ask_many",
    "ask_read",
    "ask_submit",
    "ask_watch",
    "check_at_least",
    "count_tries",
    "encode_request",
    "timeout_of",
]

Asked = Request | Mapping[str, Any] | Sequence[Any]
"""One item of `check_many`: a `Request`, a mapping of its fields, or (principal, action, resource[, context])."""

_BATCH_BYTES = FRAME_BYTES // 2
_PIECE = 100
"""Requests of one call: decided well inside a lease, even where the host is busy."""
_REPEATS = 3
"""How often an allow that has run out is asked for again."""
_TIMEOUT_S_MAX = 600.0

T = TypeVar("T")


def timeout_of(timeout_s: object) -> float:
    """Check a time-out in seconds.

    Raises:
        InputError: Not a number above 0, or longer than the protocol can say.
    """
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float) or not 0 < timeout_s <= _TIMEOUT_S_MAX:
        raise InputError(f"timeout `{timeout_s!r:.32}` is not usable: give seconds, up to {_TIMEOUT_S_MAX:.0f}")
    return float(timeout_s)


def encode_request(principal: object, action: object, resource: object, context: object) -> bytes:
    """The bytes of one request, as they are asked and named. Raises `InputError` for what cannot be asked."""
    for name, value in (("principal", principal), ("action", action), ("resource", resource)):
        if not isinstance(value, str):
            raise InputError(f'`{name}` must be text such as `Agent::"ci-bot"`, not {type(value).__name__}')
    if context is not None and not isinstance(context, Mapping):
        raise InputError(f"`context` must be a mapping, not {type(context).__name__}")
    fields = dict(context or {})
    if not all(isinstance(key, str) for key in fields):
        raise InputError("each key of `context` must be text")
    body = encode({"principal": principal, "action": action, "resource": resource, "context": fields})
    if len(body) > REQUEST_BYTES:
        raise LimitExceededError(f"request of {len(body)} bytes: ask with at most {REQUEST_BYTES}")
    return body


def check_at_least(at_least: object) -> int:
    """`at_least` as a seq. Raises `InputError` for anything else."""
    if isinstance(at_least, bool) or not isinstance(at_least, int) or not 0 <= at_least < 1 << 63:
        raise InputError("`at_least` must be a seq: 0 or more")
    return at_least


@dataclass(frozen=True, slots=True)
class Question(Generic[T]):
    """One call, to be sent under an id that the connection chooses.

    Attributes:
        call: id -> the payload to send.
        judge: (the payload that came back, id) -> what the caller gets. Raises `GovraftError`.
        repeatable: Whether it may be asked twice: only what changes nothing may.
        timed: Whether the answer holds until a time of the node's clock, or stands for a verdict.
        requires: The feature that the node must have named; empty if each node knows what is asked.
    """

    call: Callable[[int], bytes]
    judge: Callable[[bytes, int], T]
    repeatable: bool = True
    timed: bool = False
    requires: str = ""


def ask_check(
    principal: object, action: object, resource: object, context: object, *, at_least: int, explain: bool
) -> Question[Verdict]:
    """Ask for one verdict.

    Raises:
        InputError: Not askable.
    """
    body = encode_request(principal, action, resource, context)
    seq, digest = check_at_least(at_least), request_digest(body)

    def judge(payload: bytes, call_id: int) -> Verdict:
        answer = decode_answer(check_decoder, payload)
        try:
            match(answer, call_id, digest)
        except GovraftError as error:
            if answer.id == call_id and not answer.ok and answer.error is not None:
                return deny_reported(error)
            raise
        if answer.result is None:
            raise mistrust("no verdict")
        return vet(answer.result, seq, now_ns())

    return Question(
        lambda call_id: encode(CheckCall(call_id, msgspec.Raw(body), seq, bool(explain))), judge, timed=True
    )


def ask_many(
    requests: Iterable[Asked], *, at_least: int, explain: bool
) -> Generator[Question[list[Verdict]], list[Verdict] | Exception, list[Verdict]]:
    """Ask for many verdicts, in pieces; and again for each allow that ran out while the others were asked.

    Yields:
        A question. Send what it came to: its verdicts, or why there are none.

    Returns:
        The verdicts. What was not askable, or not answered, is a `Deny`.

    Raises:
        InputError: `at_least` is not usable.
    """
    seq = check_at_least(at_least)
    verdicts: list[Verdict] = []
    bodies: dict[int, bytes] = {}
    for place, asked in enumerate(requests):
        try:
            bodies[place] = encode_request(*_parts(asked))
        except Exception as error:  # noqa: BLE001 - fail closed: what cannot be asked is denied
            verdicts.append(deny_for(error))
        else:
            verdicts.append(Deny(Reason.NODE_UNREACHABLE, "not asked: an earlier part of the batch failed"))
    left = list(bodies)
    for _ in range(1 + _REPEATS):
        for places in _pieces(left, bodies):
            answers = yield _ask_batch([bodies[place] for place in places], seq, explain=explain)
            if isinstance(answers, Exception):
                answers = [deny_for(answers)] * len(places)
            for place, verdict in zip(places, answers, strict=True):
                verdicts[place] = verdict
        left = [place for place in bodies if isinstance(verdicts[place], Allow) and not verdicts[place]]
        if not left:
            break
    return verdicts


def _pieces(places: Iterable[int], bodies: Mapping[int, bytes]) -> Iterator[list[int]]:
    """The places in groups, each of a size that one call may have."""
    piece: list[int] = []
    room = _BATCH_BYTES
    for place in places:
        size = len(bodies[place])
        if piece and (size > room or len(piece) >= _PIECE):
            yield piece
            piece, room = [], _BATCH_BYTES
        piece.append(place)
        room -= size
    if piece:
        yield piece


def _parts(asked: Asked) -> tuple[object, object, object, object]:
    if isinstance(asked, Request):
        return asked.principal, asked.action, asked.resource, asked.context
    if isinstance(asked, Mapping):
        fields = dict(asked)
        parts = tuple(fields.pop(name, None) for name in ("principal", "action", "resource", "context"))
        if fields:
            raise InputError(f"unknown fields in a request: `{', '.join(map(str, fields))}`")
        return parts
    if isinstance(asked, str | bytes) or not isinstance(asked, Sequence) or not 3 <= len(asked) <= 4:
        raise InputError("a request is (principal, action, resource) or (principal, action, resource, context)")
    return asked[0], asked[1], asked[2], asked[3] if len(asked) > 3 else None


def _ask_batch(bodies: list[bytes], at_least: int, *, explain: bool) -> Question[list[Verdict]]:
    body = encode([msgspec.Raw(part) for part in bodies])
    digest, count = request_digest(body), len(bodies)

    def judge(payload: bytes, call_id: int) -> list[Verdict]:
        answer = decode_answer(batch_decoder, payload)
        match(answer, call_id, digest)
        if answer.result is None or len(answer.result) != count:
            raise mistrust("not one verdict for each request")
        now = now_ns()
        return [vet(verdict, at_least, now) for verdict in answer.result]

    return Question(
        lambda call_id: encode(BatchCall(call_id, msgspec.Raw(body), at_least, bool(explain))), judge, timed=True
    )


def count_tries(error: GovraftError, *, retry: bool) -> None:
    """Let an error say what is known after all tries of one command, of which it ended the last.

    With `retry` there was a try of unknown outcome, which may still take effect. Only the log's word ends all of them:
    a node that is asked with `retry` says of each rejection whether it is that.
    """
    # SAFETY: "not done" is believed; one try of unknown outcome makes all unknown
    # (test_client_submit.py::test_one_unknown_outcome_makes_all_unknown).
    error.definite = error.definite and (isinstance(error, RejectedError) or not retry)


def ask_submit(
    envelope: object, *, wait: str, timeout_s: float, retry: bool, at_least: object = 0
) -> Question[Receipt]:
    """Hand in a signed envelope. Judging raises what the node reports, and `RejectedError` for a rejected command.

    Raises:
        InputError: Not an envelope's bytes, too large, or an unknown `wait` or `at_least`.
    """
    if not isinstance(envelope, bytes):
        raise InputError(f"an envelope is bytes, not {type(envelope).__name__}: read the file in binary")
    if len(envelope) > ENVELOPE_BYTES:
        raise LimitExceededError(f"envelope of {len(envelope)} bytes: at most {ENVELOPE_BYTES}")
    if wait not in WAITS:
        raise InputError(f"cannot wait for `{wait!r:.32}`: use effective, committed or none")
    digest, timeout_ms = request_digest(envelope), max(1, int(timeout_s * 1000))
    # An older node knows no such field.
    seq = {"at_least": check_at_least(at_least)} if at_least != 0 else {}

    def judge(payload: bytes, call_id: int) -> Receipt:
        answer = decode_answer(answer_decoder, payload)
        match(answer, call_id, digest)
        receipt = convert(answer.result, Receipt)
        if receipt.outcome not in {"applied", "pending"}:
            raise RejectedError(f"rejected: {one_line(receipt.outcome)}", code=receipt.outcome, seq=receipt.seq)
        if wait != "none" and (receipt.outcome != "applied" or receipt.seq < 1):
            raise mistrust("the receipt names no outcome")
        # SAFETY: "effective" without a certificate would promise that nobody still allows on the older state
        # (test_hostile_node.py::test_a_receipt_without_certificate_is_not_effective).
        if wait == "effective" and not (receipt.certified_seq >= receipt.seq and receipt.certificate):
            raise mistrust("the receipt shows no certificate for its seq")
        return receipt

    def call(call_id: int) -> bytes:
        fields = {"envelope": envelope, "timeout_ms": timeout_ms, "wait": wait, "retry": retry is True}
        return encode({"id": call_id, "op": "submit", **fields, **seq})

    return Question(call, judge, repeatable=False)


def ask_read(what: str, params: Mapping[str, Any]) -> Question[Any]:
    """Read governance state. Judging raises what the node reports.

    Raises:
        InputError: `what` is no name.
    """
    if not isinstance(what, str) or not what or len(what) > NAME_CHARS:
        raise InputError("`what` must name what to read, such as `status`")
    fields = dict(params)

    def judge(payload: bytes, call_id: int) -> object:
        answer = decode_answer(answer_decoder, payload)
        match(answer, call_id, b"")
        return answer.result

    return Question(lambda call_id: encode(ReadCall(call_id, what, fields)), judge)


def ask_watch() -> Question[None]:
    """Subscribe. The events follow the answer: see `answers.event_in`."""

    def judge(payload: bytes, call_id: int) -> None:
        match(decode_answer(answer_decoder, payload), call_id, b"")

    return Question(lambda call_id: encode(WatchCall(call_id)), judge)
