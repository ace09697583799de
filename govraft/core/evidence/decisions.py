"""One record for each decision of a node, and the bytes that its decision log hashes.

A record is a map of text, whole numbers, lists and maps. Its canonical MessagePack is a leaf of the log's tree
(RFC 6962), its canonical JSON is a line of an export: the one gives the other. Two kinds:

| kind | says |
|---|---|
| `decision` | what was asked, and what was answered on which state |
| `gap` | how many decisions of a best-effort log were not recorded before the next record |

Fields can be masked. A masked value stands as `{"masked": …}`, a digest over the value and a secret of the log, so that
equal values can be told and none can be guessed. What could give it away otherwise, the request's digest and what is
said about the request, is masked with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import islice
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from govraft.core.codec.canonical import pack, pack_json, unpack, unpack_json
from govraft.core.codec.complaints import in_words
from govraft.core.crypto.digests import digest
from govraft.core.evidence.statements import request_digest
from govraft.core.model.ids import canonical_uid
from govraft.core.model.limits import RECORD_BYTES, RECORD_ERRORS, RECORD_TEXT_CHARS
from govraft.core.model.request import Request
from govraft.errors import DecodeError, InputError

__all__ = [
    "DECISION",
    "GAP",
    "NO_MASK",
    "SOURCES",
    "DecisionRecord",
    "GapRecord",
    "Mask",
    "Noted",
    "Record",
    "asked_digest",
    "check_masks",
    "cut_text",
    "decode_leaf",
    "decode_line",
    "encode_leaf",
    "encode_noted",
    "gap_fields",
    "record_fields",
    "request_fields",
    "request_of",
]

DECISION = "decision"
GAP = "gap"
VERSION = 1

_encode = msgspec.msgpack.Encoder(order="deterministic").encode

SOURCES = ("check", "withdrawn", "edge", "permit", "cache")
"""Who answered: the gate; the API, taking back an allow that did not leave in time; the API, refusing what never came
to the gate; a cosigner; a client's cache."""

MASKS_MAX = 64
_MASK = re.compile(r"(?:principal|resource|context(?:\.[^.\x00-\x1f]{1,128}){0,8})\Z")

_Hex32 = Annotated[str, msgspec.Meta(pattern=r"^(?:[0-9a-f]{64})?\Z")]
_Natural = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class DecisionRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=DECISION, tag_field="kind"):
    """One decision.

    Attributes:
        v: Version of the format, 1.
        index: Place in the log, from 0.
        node: The node that decided.
        time: WallMs at which it evaluated; validity in time is judged by it.
        decision: Id of the decision; empty for a request that never came to the gate.
        source: One of `SOURCES`.
        seq, state_root: The certified state it was decided on; 0 and empty when there was none.
        verdict: `allow` or `deny`.
        reason: Code of the denial, empty for an allow.
        message: The same for people.
        policies: Ids of the policies that determined it.
        errors: Of the evaluation, for people.
        latency_us: From the question to the decision.
        trace: Given by the caller, or empty.
        request: `principal`, `action`, `resource`, `context`; None where it has no canonical form.
        request_digest: Of the request, as permits and denials name it; empty if there is none, or if it names what is
            no entity. Keyed with the log's secret if anything is masked.
        masked: Paths of the fields that are masked.
    """

    v: Literal[1]
    index: _Natural
    node: str
    time: _Natural
    decision: str
    source: str
    seq: _Natural
    state_root: _Hex32
    verdict: Literal["allow", "deny"]
    reason: str
    message: str
    policies: list[str]
    errors: list[str]
    latency_us: _Natural
    trace: str
    request: dict[str, Any] | None
    request_digest: _Hex32
    masked: list[str]


class GapRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=GAP, tag_field="kind"):
    """Decisions that were not recorded.

    Attributes:
        dropped: How many.
        time: WallMs at which that was noted.
    """

    v: Literal[1]
    index: _Natural
    node: str
    time: _Natural
    dropped: Annotated[int, msgspec.Meta(ge=1)]


Record = DecisionRecord | GapRecord


class Mask:
    """Which fields a log does not show.

    Args:
        paths: `principal`, `resource`, `context` or a path below it, such as `context.user.email`.
        secret: 32 random bytes of the log; whoever has them can guess what is masked.

    Raises:
        InputError: No such path, or too many.
    """

    def __init__(self, paths: Iterable[str] = (), secret: bytes = b"") -> None:
        self.paths = check_masks(paths)
        self._secret = secret
        if self.paths and len(secret) < 16:
            raise InputError("masking takes a secret of at least 16 bytes")

    def value(self, value: object) -> dict[str, str]:
        """What stands in place of a value."""
        return {"masked": self.keyed(pack(value))}

    def keyed(self, data: bytes) -> str:
        """A digest that nobody without the secret can make: 64 hexadecimal digits."""
        return digest("masked", len(self._secret).to_bytes(2, "big") + self._secret + data).hex()

    def apply(self, request: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """The request with its masked fields, and the paths that were found in it."""
        found = []
        for path in self.paths:
            changed = self._masked(request, path.split("."))
            if changed is not None:
                request = changed
                found.append(path)
        return request, found

    def _masked(self, value: dict[str, Any], path: list[str]) -> dict[str, Any] | None:
        name, below = path[0], path[1:]
        if name not in value:
            return None
        item = value[name]
        if not below:
            return {**value, name: self.value(item)}
        inner = self._masked(item, below) if isinstance(item, dict) else None
        return None if inner is None else {**value, name: inner}


NO_MASK: Mask
"""Shows everything."""


def check_masks(paths: Iterable[str]) -> tuple[str, ...]:
    """Paths that can be masked, sorted. Raises `InputError` for one that cannot, and for too many."""
    found = tuple(sorted(set(paths)))
    if len(found) > MASKS_MAX:
        raise InputError(f"{len(found)} masks: give at most {MASKS_MAX}")
    for path in found:
        if not _MASK.match(path):
            raise InputError(f"`{path[:64]}` cannot be masked: name principal, resource, context or context.NAME")
    return found


NO_MASK = Mask()


def request_fields(request: Request) -> dict[str, Any]:
    """A request as a record holds it."""
    return {
        "principal": request.principal,
        "action": request.action,
        "resource": request.resource,
        "context": request.context,
    }


def request_of(record: DecisionRecord) -> Request | None:
    """The request of a record, None where none was kept.

    Raises:
        DecodeError: It holds something else than a request.
    """
    if record.request is None:
        return None
    try:
        found = msgspec.convert(record.request, _RequestFields)
    except msgspec.ValidationError as error:
        raise DecodeError(f"record {record.index} holds no request: {in_words(error)}") from error
    return Request(found.principal, found.action, found.resource, found.context)


class _RequestFields(Request, frozen=True, forbid_unknown_fields=True):
    """As `Request`, strictly."""


def record_fields(fields: dict[str, Any], request: dict[str, Any] | None, mask: Mask) -> dict[str, Any]:
    """Complete the fields of a decision, all but its index, with what was asked.

    Args:
        fields: Of `DecisionRecord`, without `request`, `request_digest`, `masked` and `index`.
        request: Of `request_fields`, or None.
        mask: What is not to be shown.
    """
    message, errors = cut_text(fields["message"], fields["errors"])
    made = {"kind": DECISION, "v": VERSION, **fields, "message": message, "errors": errors}
    made |= {"request": None, "request_digest": "", "masked": []}
    if request is None:
        return made
    try:
        canonical = pack_json(request)
    except InputError:
        # A float or bytes, say: such a request is denied, but it is no less a decision.
        return made
    shown, found = mask.apply(request)
    if not found:
        # As `asked_digest`, which would encode it once more.
        is_canonical = all(_is_canonical(request[name]) for name in ("principal", "action", "resource"))
        asked = digest("asked", canonical).hex() if is_canonical else asked_digest(request)
        return {**made, "request": shown, "request_digest": asked}
    # SAFETY: a plain digest or a quoted value would let anybody guess what is masked
    # (test_decision_records.py::test_a_masked_value_cannot_be_guessed).
    hidden = {name: mask.keyed(pack(made[name])) for name in ("message", "errors")}
    return {
        **made,
        "request": shown,
        "request_digest": mask.keyed(canonical),
        "message": hidden["message"] if made["message"] else "",
        "errors": [hidden["errors"]] if made["errors"] else [],
        "masked": found,
    }


@lru_cache(maxsize=4_096)
def _is_canonical(uid: object) -> bool:
    try:
        return isinstance(uid, str) and canonical_uid(uid) == uid
    except DecodeError:
        return False


class Noted(NamedTuple):
    """A decision or a gap on its way into the log.

    Attributes:
        fields: Of a gap, or of a decision as `record_fields` takes them.
        request: MessagePack of `request_fields`, None for a gap and where there is none.
    """

    fields: dict[str, Any]
    request: bytes | None = None


def gap_fields(node: str, time: int, dropped: int) -> dict[str, Any]:
    """The fields of a gap, all but its index."""
    return {"kind": GAP, "v": VERSION, "node": node, "time": time, "dropped": dropped}


def encode_noted(noted: Noted, index: int, mask: Mask) -> bytes:
    """The leaf of what was noted, at its place in the log. Never raises for anything that a request may hold."""
    fields = noted.fields
    if fields.get("kind") != GAP:
        request = None
        if noted.request is not None:
            try:
                request = msgspec.msgpack.decode(noted.request)
            except (msgspec.DecodeError, ValueError, RecursionError):
                request = None
        fields = record_fields(fields, request, mask)
    try:
        return encode_leaf(fields, index)
    except InputError:
        # Only what was said for people can hold text without an encoding; the decision itself is kept.
        return encode_leaf({**fields, "message": "", "errors": []}, index)


def encode_leaf(fields: dict[str, Any], index: int) -> bytes:
    """The leaf of a record at its place in the log: the exact bytes that are hashed.

    Raises:
        InputError: Text without an encoding.
    """
    try:
        # As `pack`, which would look at every value once more: requests have been looked at, all else is made here.
        return _encode({**fields, "index": index})
    except UnicodeEncodeError as error:
        raise InputError("text with a lone surrogate has no utf-8 encoding") from error


def cut_text(message: str, errors: Iterable[str]) -> tuple[str, list[str]]:
    """Message and errors as a record keeps them: neither without end."""
    kept = [error[:RECORD_TEXT_CHARS] for error in islice(errors, RECORD_ERRORS)]
    return message[:RECORD_TEXT_CHARS], kept


def decode_leaf(data: bytes) -> Record:
    """Decode a leaf. Raises `DecodeError` for anything else than one."""
    return _record(unpack(data, max_bytes=RECORD_BYTES))


def decode_line(line: bytes) -> tuple[Record, bytes]:
    """Decode a line of an export, and give the leaf that it stands for.

    Raises:
        DecodeError, LimitExceededError: It is no record in canonical JSON.
    """
    fields = unpack_json(line, max_bytes=2 * RECORD_BYTES)
    return _record(fields), pack(fields)


def _record(fields: object) -> Record:
    try:
        record: Record = msgspec.convert(fields, Record)
    except msgspec.ValidationError as error:
        raise DecodeError(f"not a record of a decision log: {in_words(error)}") from error
    return record


def asked_digest(request: dict[str, Any]) -> str:
    """Digest of an unmasked request, as permits and denials have it; empty if it names what is no entity."""
    try:
        return request_digest(Request(**request))
    except InputError:
        return ""
