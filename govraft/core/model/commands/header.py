"""What every command carries, and the types that commands share."""

from __future__ import annotations

from typing import Annotated

import msgspec

from govraft.core.model.genesis import TIME_MAX_MS
from govraft.core.model.ids import (
    AUTHORITY_ID_PATTERN,
    COMMAND_ID_PATTERN,
    DOMAIN_ID_PATTERN,
    HEX_DIGEST_PATTERN,
    NAME_PATTERN,
    NODE_ID_PATTERN,
)

__all__ = [
    "AuthorityId",
    "Base64",
    "CommandHeader",
    "DomainId",
    "HexDigest",
    "Name",
    "NodeId",
    "Positive",
    "ReasonText",
    "Some",
    "Time",
]

HexDigest = Annotated[str, msgspec.Meta(pattern=HEX_DIGEST_PATTERN)]
"""SHA-256, 64 hexadecimal digits."""
NodeId = Annotated[str, msgspec.Meta(pattern=NODE_ID_PATTERN)]
AuthorityId = Annotated[str, msgspec.Meta(pattern=AUTHORITY_ID_PATTERN)]
DomainId = Annotated[str, msgspec.Meta(pattern=DOMAIN_ID_PATTERN)]
Name = Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]
"""What people call a grant or a boundary: letters, digits, `.`, `_`, `-`; at most 128."""
Base64 = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9+/]*={0,2}\Z")]
"""Bytes in standard base64; handlers refuse a second spelling."""
Time = Annotated[int, msgspec.Meta(ge=1, le=TIME_MAX_MS)]
"""WallMs."""
Positive = Annotated[int, msgspec.Meta(ge=1, le=2**53)]
ReasonText = Annotated[str, msgspec.Meta(min_length=1)]
"""For people; at most `REASON_CHARS`, which handlers check."""
Some = msgspec.Meta(min_length=1)


class CommandHeader(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What every command carries.

    Attributes:
        cluster: The cluster id, 64 hexadecimal digits: no command works on two clusters.
        command_id: Chosen by the author, unique until `not_after`: no command works twice.
        not_after: WallMs; from then on the command is void. At most `COMMAND_VALIDITY_MS` ahead.
    """

    cluster: str
    command_id: Annotated[str, msgspec.Meta(pattern=COMMAND_ID_PATTERN)]
    not_after: Time
