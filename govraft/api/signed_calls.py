"""The calls whose answers are signed."""

from __future__ import annotations

from typing import Annotated

import msgspec

from govraft.api.wire_types import CallId, Seq, TimeoutMs
from govraft.core.model.limits import NAME_CHARS, PERMIT_BYTES, PERMIT_LEAST_MS, PERMIT_MS

__all__ = ["AuthorizeCall", "RedeemCall", "SignedCheckCall"]


class SignedCheckCall(msgspec.Struct, frozen=True, tag="check_signed", tag_field="op", forbid_unknown_fields=True):
    """As `check`; a denial comes with the node's signature. Answered by a `SignedVerdict`."""

    id: CallId
    request: msgspec.Raw
    at_least: Seq = 0


class AuthorizeCall(msgspec.Struct, frozen=True, tag="authorize", tag_field="op", forbid_unknown_fields=True):
    """Asks for a permit, signed by a quorum. Answered by an `Authorized`."""

    id: CallId
    request: msgspec.Raw
    ttl_ms: Annotated[int, msgspec.Meta(ge=PERMIT_LEAST_MS, le=PERMIT_MS)]
    timeout_ms: TimeoutMs
    single_use: bool = False
    audience: Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_CHARS)] | None = None
    at_least: Seq = 0


class RedeemCall(msgspec.Struct, frozen=True, tag="redeem", tag_field="op", forbid_unknown_fields=True):
    """Shows a single-use permit to the node, which uses it up. Answered by a `Redeemed`.

    `permit` is the DSSE envelope in the permit file.
    """

    id: CallId
    permit: Annotated[bytes, msgspec.Meta(max_length=PERMIT_BYTES)]
    timeout_ms: TimeoutMs
