"""Who may cosign, and how many of them make a quorum."""

from __future__ import annotations

import re
from enum import StrEnum

import msgspec

from govraft.errors import require

__all__ = ["Electorate", "Member", "QuorumRule", "is_address"]

_ADDRESS = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]{1,253}):([0-9]{1,5})")


def is_address(text: str) -> bool:
    """Whether it says `host:port`."""
    match = _ADDRESS.fullmatch(text)
    return match is not None and int(match[1]) <= 65_535


class QuorumRule(StrEnum):
    """How many voters make a quorum. Part of genesis.

    `majority`: ⌊n/2⌋+1, tolerates crashed voters. `byzantine`: ⌊2n/3⌋+1, any two quorums share an honest voter
    while fewer than a third of the voters lie.
    """

    MAJORITY = "majority"
    BYZANTINE = "byzantine"

    def quorum_size(self, voters: int) -> int:
        """The least number of `voters` that make a quorum.

        Raises:
            InvariantViolation: There is no voter.
        """
        require(voters > 0, "an electorate needs a voter")
        return voters // 2 + 1 if self is QuorumRule.MAJORITY else 2 * voters // 3 + 1


class Member(msgspec.Struct, frozen=True):
    """One node of the cluster.

    Attributes:
        id: Name of the node, unique in the cluster.
        public_key: Ed25519, 32 bytes. Signs cosignatures, probes, acks and leases.
        certificate: DER of the node's self-signed Ed25519 X.509 certificate, the TLS pin.
        voter: True for a cosigner that counts towards the quorum, False for an observer.
        address: `host:port` of the node's peer listener; a dialling hint, trusted for nothing.
    """

    id: str
    public_key: bytes
    certificate: bytes
    voter: bool
    address: str


class Electorate(msgspec.Struct, frozen=True):
    """The members of one epoch."""

    epoch: int
    rule: QuorumRule
    members: tuple[Member, ...]

    @property
    def voters(self) -> tuple[Member, ...]:
        return tuple(member for member in self.members if member.voter)

    @property
    def quorum_count(self) -> int:
        """How many distinct voter keys a certificate needs."""
        return self.rule.quorum_size(len(self.voters))

    def find(self, node_id: str) -> Member | None:
        """The member of that id, or None."""
        for member in self.members:
            if member.id == node_id:
                return member
        return None
