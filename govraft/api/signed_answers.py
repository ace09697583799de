"""The answers to `check_signed`, `authorize` and `redeem`."""

from __future__ import annotations

import msgspec

from govraft.api.wire import Receipt
from govraft.core.model.verdict import Deny, Verdict

__all__ = ["Authorized", "Redeemed", "SignedVerdict"]


class SignedVerdict(msgspec.Struct, frozen=True):
    """A verdict; `denial` is the file of a signed denial, empty for an allow and from a node that is no member."""

    verdict: Verdict
    denial: bytes = b""


class Authorized(msgspec.Struct, frozen=True):
    """A permit file, or why there is none; `denial` as in `SignedVerdict`."""

    permit: bytes = b""
    deny: Deny | None = None
    denial: bytes = b""


class Redeemed(msgspec.Struct, frozen=True):
    """What became of a redeemed permit: the receipt of the command that used it up, and that command."""

    receipt: Receipt
    envelope: bytes
