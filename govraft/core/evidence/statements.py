"""What nodes sign about one request: that it may be done (permit), or why it may not (denial).

Both are the payload of a DSSE envelope, in canonical JSON. A permit is one statement, byte for byte the same, signed
by a quorum; a denial is the word of one node.

The id of a permit is the digest of everything else in it, so no two permits share an id: whoever cosigns need not
remember ids, and what is redeemed under one id is exactly one permit.
"""

from __future__ import annotations

from typing import Annotated, Any, Self

import msgspec

from govraft.core.codec.canonical import pack_json, unpack_json
from govraft.core.codec.complaints import in_words
from govraft.core.crypto.digests import digest
from govraft.core.model import limits
from govraft.core.model.ids import HEX_DIGEST_PATTERN, NODE_ID_PATTERN, canonical_uid
from govraft.core.model.reasons import Reason
from govraft.core.model.request import Request
from govraft.errors import DecodeError, InputError

__all__ = [
    "DENIAL_TYPE",
    "PERMIT_TYPE",
    "DenialStatement",
    "PermitStatement",
    "Statement",
    "canonical_request",
    "context_digest",
    "request_digest",
]

PERMIT_TYPE = "application/vnd.govraft.permit.v1+json"
DENIAL_TYPE = "application/vnd.govraft.denial.v1+json"

_HexDigest = Annotated[str, msgspec.Meta(pattern=HEX_DIGEST_PATTERN)]
_HexDigestOrNone = Annotated[str, msgspec.Meta(pattern=r"^(?:[0-9a-f]{64})?\Z")]
_Natural = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
_Counted = Annotated[int, msgspec.Meta(ge=1, lt=2**53)]
_Time = Annotated[int, msgspec.Meta(ge=1, le=limits.PERMIT_TIME_MAX_MS)]
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=limits.NAME_CHARS)]
_Text = Annotated[str, msgspec.Meta(max_length=1024)]


class Statement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all statements share: how they are read and written."""

    def encode(self) -> bytes:
        """The payload: canonical JSON."""
        return pack_json(msgspec.to_builtins(self))

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        """Read a payload.

        Raises:
            DecodeError: Not canonical JSON, or a field is missing, unknown or unusable.
        """
        fields = unpack_json(payload, max_bytes=limits.ENVELOPE_BYTES)
        try:
            statement = msgspec.convert(fields, cls)
        except msgspec.ValidationError as error:
            raise DecodeError(f"statement: {in_words(error)}") from error
        statement.check()
        return statement

    def check(self) -> None:
        """Refuse fields that contradict each other. Raises `DecodeError`."""


class PermitStatement(Statement, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """This request may be done, from `issued` until `not_after`.

    Attributes:
        cluster: Cluster id.
        epoch: Of the electorate whose quorum signs.
        seq: The certified state that it was decided on.
        state_root: Digest of that state.
        permit: `permit_id` of all other fields.
        decision: Id of the decision of the node that was asked: makes two permits for one request differ.
        principal, action, resource: Canonical uids.
        context_digest, request_digest: Of the context, and of the whole request.
        policies: Content-digest ids of the policies that determined it, sorted.
        issued, not_after: WallMs.
        single_use: It is void unless it is redeemed, and it can be redeemed once.
        audience: Whom it is for; None for anybody.
    """

    cluster: _HexDigest
    epoch: _Counted
    seq: _Counted
    state_root: _HexDigest
    permit: _HexDigest
    decision: _Name
    principal: str
    action: str
    resource: str
    context_digest: _HexDigest
    request_digest: _HexDigest
    policies: tuple[_HexDigest, ...]
    issued: _Time
    not_after: _Time
    single_use: bool
    audience: _Name | None

    @classmethod
    def make(cls, **fields: Any) -> PermitStatement:
        """A statement of these fields, with the id that belongs to them."""
        draft = cls(permit="", **fields)
        return msgspec.structs.replace(draft, permit=draft.permit_id)

    @property
    def permit_id(self) -> str:
        """The id that these fields have: 64 hexadecimal digits."""
        fields = msgspec.to_builtins(self)
        del fields["permit"]
        return digest("permit", pack_json(fields)).hex()

    def check(self) -> None:
        """Refuse an id that is not that of the fields, and a life that no permit has. Raises `DecodeError`."""
        # SAFETY: one id, one permit (test_statements.py::test_an_id_belongs_to_its_fields).
        if self.permit != self.permit_id:
            raise DecodeError("permit: its id is not that of its fields")
        if not limits.PERMIT_LEAST_MS <= self.not_after - self.issued <= limits.PERMIT_MS:
            raise DecodeError(f"permit: it must live {limits.PERMIT_LEAST_MS} to {limits.PERMIT_MS} ms")
        if list(self.policies) != sorted(set(self.policies)):
            raise DecodeError("permit: `policies` must be sorted and distinct")
        if any(canonical_uid(uid) != uid for uid in (self.principal, self.action, self.resource)):
            raise DecodeError("permit: principal, action and resource must be in canonical form")


class DenialStatement(Statement, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One node's word that it denied a request, and why.

    Attributes:
        cluster: Cluster id.
        epoch: Of the node's electorate.
        seq, state_root: The certified state that it was decided on; 0 and empty if there was none.
        node: Who denied.
        permit: Id of the permit that it would not sign; None if it was asked for no signature.
        request_digest: Empty if the request was not readable.
        principal, action, resource: Canonical uids, or what was given in their place.
        reason: One code of `Reason`.
        message: For people.
        time: WallMs of the node.
        decision: Id of the decision.
    """

    cluster: _HexDigest
    epoch: _Counted
    seq: _Natural
    state_root: _HexDigestOrNone
    node: Annotated[str, msgspec.Meta(pattern=NODE_ID_PATTERN)]
    permit: _HexDigest | None
    request_digest: _HexDigestOrNone
    principal: _Text
    action: _Text
    resource: _Text
    reason: Reason
    message: _Text
    time: _Time
    decision: Annotated[str, msgspec.Meta(max_length=limits.NAME_CHARS)]


def canonical_request(request: Request) -> Request:
    """The same request, its uids in canonical form.

    Raises:
        InputError: A uid that is none, or a context that canonical JSON cannot carry.
    """
    principal, action, resource = map(canonical_uid, (request.principal, request.action, request.resource))
    pack_json(request.context)
    return Request(principal, action, resource, request.context)


def context_digest(context: dict[str, Any]) -> str:
    """Names a context: 64 hexadecimal digits. Raises `InputError` for one that canonical JSON cannot carry."""
    return digest("context", pack_json(context)).hex()


def request_digest(request: Request) -> str:
    """Names a request whatever the spelling of its uids: 64 hexadecimal digits.

    Raises:
        InputError: As `canonical_request`.
    """
    asked = canonical_request(request)
    fields = {
        "action": asked.action,
        "context": asked.context,
        "principal": asked.principal,
        "resource": asked.resource,
    }
    if not isinstance(asked.context, dict):
        raise InputError("the context of a request must be a json object")
    return digest("asked", pack_json(fields)).hex()
