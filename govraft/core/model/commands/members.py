"""Members: who cosigns, and who holds leases.

Apply never parses an X.509 certificate: parsers differ. It demands that the certificate holds the key's 32 bytes; that
it is one, and of that key, is looked at where a command is submitted.
"""

from __future__ import annotations

import msgspec

from govraft.core.model.commands.header import Base64, CommandHeader, NodeId, ReasonText

__all__ = ["MemberAdd", "MemberEvict", "MemberFields", "MemberPromote", "MemberRemove", "MemberRotate"]


class MemberFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A node as a command carries it; see `Member`."""

    id: NodeId
    public_key: Base64
    certificate: Base64
    address: str


class MemberAdd(CommandHeader, frozen=True, kw_only=True):
    """Add a node as an observer. The envelope also carries a signature of its key."""

    member: MemberFields


class MemberPromote(CommandHeader, frozen=True, kw_only=True):
    """Make an observer a voter."""

    id: NodeId


class MemberRemove(CommandHeader, frozen=True, kw_only=True):
    """Remove a node. Its key never comes back."""

    id: NodeId
    reason: ReasonText


class MemberRotate(CommandHeader, frozen=True, kw_only=True):
    """Give a node, under its id, another key, certificate and address. Also signed by the new key."""

    member: MemberFields


class MemberEvict(CommandHeader, frozen=True, kw_only=True):
    """Remove a node that is proven to have signed two roots for one seq. The evidence is all the authority it needs.

    Attributes:
        first, second: The two signed acks, exact bytes.
    """

    id: NodeId
    first: Base64
    second: Base64
