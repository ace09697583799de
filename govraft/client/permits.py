"""What a client asks for permits and signed answers, and what it believes of what comes back. No I/O.

A permit proves itself: `govraft verify`, or `prove_permit` of the core, needs the genesis, no node, and a trust state
so as not to believe keys that left the electorate. Here no signature is verified: the permit is only held against the
question, that it is for this request, no longer and no wider than was asked for.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

from govraft.api.signed_answers import Authorized, Redeemed
from govraft.api.signed_calls import AuthorizeCall, RedeemCall, SignedCheckCall
from govraft.api.wire import Receipt, encode
from govraft.api.wire import request_digest as asked_digest
from govraft.client.answers import answer_decoder, convert, decode_answer, deny_reported, match, mistrust, vet
from govraft.client.questions import Question, check_at_least, encode_request
from govraft.client.verdicts import Allow, Deny, Verdict, now_ns
from govraft.core.codec.complaints import in_words
from govraft.core.evidence.statements import PermitStatement, request_digest
from govraft.core.model.limits import NAME_CHARS, PERMIT_BYTES, PERMIT_LEAST_MS, PERMIT_MS
from govraft.core.model.request import Request
from govraft.errors import Denied, GovraftError, InputError

__all__ = ["Permit", "SignedVerdict", "ask_authorize", "ask_redeem", "ask_signed", "envelope_of"]


class Permit(msgspec.Struct, frozen=True):
    """Execution was allowed by a quorum, for whoever can verify it offline.

    Attributes:
        file: The bytes of a permit file; also `bytes(permit)`.
        statement: What the quorum signed; not verified here.
    """

    file: bytes
    statement: PermitStatement

    @property
    def id(self) -> str:
        """64 hexadecimal digits."""
        return self.statement.permit

    def __bytes__(self) -> bytes:
        """The file."""
        return self.file


class SignedVerdict(msgspec.Struct, frozen=True):
    """A verdict; `denial` is the file of a denial that the node has signed, empty if there is none."""

    verdict: Allow | Deny
    denial: bytes = b""


class _File(msgspec.Struct, frozen=True):
    envelope: dict[str, Any]


_read_file = msgspec.json.Decoder(_File).decode


def ask_authorize(
    principal: object,
    action: object,
    resource: object,
    context: object,
    *,
    ttl_s: float,
    single_use: bool,
    audience: str | None,
    at_least: int,
    timeout_s: float,
) -> Question[Permit]:
    """Ask for a permit. Judging raises `Denied`, and `GovraftError` for an answer that is not usable.

    Raises:
        InputError: Not askable.
    """
    body = encode_request(principal, action, resource, context)
    wanted = AuthorizeCall(
        1,
        msgspec.Raw(body),
        _ttl_ms(ttl_s),
        max(1, int(timeout_s * 1000)),
        bool(single_use),
        _audience(audience),
        check_at_least(at_least),
    )
    asked = request_digest(Request(str(principal), str(action), str(resource), _context(body)))

    def judge(payload: bytes, call_id: int) -> Permit:
        answer = decode_answer(answer_decoder, payload)
        try:
            match(answer, call_id, asked_digest(body))
        except GovraftError as error:
            if answer.id == call_id and not answer.ok and answer.error is not None:
                raise Denied(deny_reported(error)) from error
            raise
        found = convert(answer.result, Authorized)
        if found.deny is not None or not found.permit:
            deny = found.deny
            raise mistrust("neither a permit nor a denial") if deny is None else Denied(_deny(deny), found.denial)
        permit = Permit(found.permit, _statement(found.permit))
        _check(permit.statement, wanted, asked)
        return permit

    return Question(lambda call_id: encode(msgspec.structs.replace(wanted, id=call_id)), judge, timed=True)


def _check(statement: PermitStatement, wanted: AuthorizeCall, asked: str) -> None:
    """Refuse a permit for anything but what was asked for.

    SAFETY: an application hands a permit on without looking into it
    (test_client_permits.py::test_a_permit_for_something_else_is_refused).
    """
    if statement.request_digest != asked:
        raise mistrust("the permit is for another request")
    if statement.not_after - statement.issued > wanted.ttl_ms:
        raise mistrust("the permit lives longer than was asked for")
    if (statement.single_use, statement.audience) != (wanted.single_use, wanted.audience):
        raise mistrust("the permit is for another use or audience than was asked for")
    if statement.seq < max(1, wanted.at_least):
        raise mistrust("the permit rests on an older state than was asked for")


def _deny(deny: object) -> Deny:
    return convert(msgspec.to_builtins(deny), Deny)


def _context(body: bytes) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.msgpack.decode(body)
    context: dict[str, Any] = fields["context"]
    return context


def _ttl_ms(ttl_s: float) -> int:
    is_number = isinstance(ttl_s, int | float) and not isinstance(ttl_s, bool)
    if not is_number or not PERMIT_LEAST_MS <= ttl_s * 1000 <= PERMIT_MS:
        message = f"ttl `{ttl_s!r:.32}` is not usable: give {PERMIT_LEAST_MS // 1000} to {PERMIT_MS // 1000} seconds"
        raise InputError(message, code="ttl_invalid")
    return int(ttl_s * 1000)


def _audience(audience: object) -> str | None:
    if audience is None or (isinstance(audience, str) and 0 < len(audience) <= NAME_CHARS):
        return audience
    raise InputError(f"an audience is text of 1 to {NAME_CHARS} characters", code="audience_invalid")


def envelope_of(file: bytes) -> bytes:
    """The DSSE envelope in a permit file, as canonical JSON.

    Raises:
        InputError: It is no permit file.
    """
    try:
        fields = _read_file(file).envelope
        return msgspec.json.encode(fields, order="deterministic")
    except (msgspec.MsgspecError, ValueError, RecursionError, TypeError) as error:
        raise InputError(f"not a permit file: {in_words(error)}", code="malformed") from error


def _statement(file: bytes) -> PermitStatement:
    try:
        payload = msgspec.json.decode(envelope_of(file)).get("payload", "")
        return PermitStatement.decode(base64.b64decode(payload, validate=True))
    except (InputError, binascii.Error, TypeError, ValueError) as error:
        raise mistrust(f"its permit cannot be read: {error}") from error


def ask_signed(
    principal: object, action: object, resource: object, context: object, *, at_least: int
) -> Question[SignedVerdict]:
    """Ask for one verdict, and for the node's signature if it is a denial. Judging raises `GovraftError`.

    Raises:
        InputError: Not askable.
    """
    body = encode_request(principal, action, resource, context)
    seq = check_at_least(at_least)

    def judge(payload: bytes, call_id: int) -> SignedVerdict:
        answer = decode_answer(answer_decoder, payload)
        match(answer, call_id, asked_digest(body))
        found = convert(answer.result, SignedVerdict)
        verdict: Verdict = vet(found.verdict, seq, now_ns())
        return SignedVerdict(verdict, found.denial if verdict is found.verdict else b"")

    return Question(lambda call_id: encode(SignedCheckCall(call_id, msgspec.Raw(body), seq)), judge, timed=True)


def ask_redeem(permit: bytes, *, timeout_s: float) -> Question[Redeemed]:
    """Have a permit used up. Judging raises what the node reports.

    Args:
        permit: A permit file.
        timeout_s: How long it may take.

    Raises:
        InputError: No permit file.
    """
    if not isinstance(permit, bytes):
        raise InputError(f"a permit is bytes, not {type(permit).__name__}: read the file in binary")
    envelope, timeout_ms = envelope_of(permit), max(1, int(timeout_s * 1000))
    if len(envelope) > PERMIT_BYTES:
        raise InputError("not a permit: it is too large", code="malformed")

    def judge(payload: bytes, call_id: int) -> Redeemed:
        answer = decode_answer(answer_decoder, payload)
        match(answer, call_id, asked_digest(envelope))
        found = convert(answer.result, Redeemed)
        receipt: Receipt = found.receipt
        # SAFETY: what is not certified may be used again elsewhere
        # (test_client_permits.py::test_a_redemption_without_certificate_is_none).
        if receipt.outcome != "applied" or not (receipt.certified_seq >= receipt.seq >= 1 and receipt.certificate):
            raise mistrust("the receipt shows no certificate for its seq")
        return found

    return Question(lambda call_id: encode(RedeemCall(call_id, envelope, timeout_ms)), judge, repeatable=False)
