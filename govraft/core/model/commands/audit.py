"""What nodes themselves put on record: heads of their decision logs, and permits that were used."""

from __future__ import annotations

from typing import Annotated

import msgspec

from govraft.core.model.commands.header import Base64, CommandHeader, HexDigest, NodeId, Positive

__all__ = ["AuditAnchor", "PermitRedeem"]


class AuditAnchor(CommandHeader, frozen=True, kw_only=True):
    """The head of a node's decision log. Signed by that node.

    Attributes:
        log: Id of the log, 32 hexadecimal digits; another one is another file.
        size: Records in the log.
        root: RFC 6962 root over them.
        proof: Consistency with the node's last anchor of this log, 32 bytes each; empty for the first.
    """

    node: NodeId
    log: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]
    size: Positive
    root: HexDigest
    proof: Annotated[tuple[Base64, ...], msgspec.Meta(max_length=64)]


class PermitRedeem(CommandHeader, frozen=True, kw_only=True):
    """Use up a single-use permit. Signed by the node that it was shown to.

    Attributes:
        permit: The permit's DSSE envelope, exact bytes.
    """

    node: NodeId
    permit: Base64
