"""Proposals: one command, put to the vote."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from govraft.core.codec.canonical import pack_json
from govraft.core.crypto.digests import digest
from govraft.core.model.commands.header import AuthorityId, CommandHeader, HexDigest, Positive, Time

__all__ = ["BallotChoice", "ProposalOpen", "ProposalVote", "ProposalWithdraw", "proposal_digest"]


class BallotChoice(StrEnum):
    """How to vote. `withdraw` takes an earlier ballot back."""

    APPROVE = "approve"
    REJECT = "reject"
    WITHDRAW = "withdraw"


class ProposalOpen(CommandHeader, frozen=True, kw_only=True):
    """Put a command to the vote. Signed by one authority who could sign the command; that is its first approval.

    Attributes:
        command: Name of the command, such as `policy.activate`.
        body: Its fields without the header.
        author: The authority that opens it; must have signed.
        epoch: Of the electorate now.
        sequence: Of the author's ballots, higher than that of its last one.
        expires: WallMs; from then on nobody can vote. At most `PROPOSAL_LIFE_MS` ahead.
    """

    command: str
    body: dict[str, Any]
    author: AuthorityId
    epoch: Positive
    sequence: Positive
    expires: Time


class ProposalVote(CommandHeader, frozen=True, kw_only=True):
    """Vote on an open proposal. The proposal executes in the same entry once its threshold holds.

    Attributes:
        proposal: Its digest.
        voter: The authority that votes; must have signed, alone.
        epoch: Of the electorate now.
        sequence: Higher than that of the voter's last ballot on anything.
    """

    proposal: HexDigest
    voter: AuthorityId
    choice: BallotChoice
    epoch: Positive
    sequence: Positive


class ProposalWithdraw(CommandHeader, frozen=True, kw_only=True):
    """Close one's own open proposal."""

    proposal: HexDigest
    author: AuthorityId


def proposal_digest(command: ProposalOpen) -> str:
    """Names a proposal: 64 hexadecimal digits over what is put to the vote, where, by whom and until when.

    The author's sequence only grows, so that no two proposals share a name.

    Raises:
        InputError: The body has no canonical form.
    """
    fields = {name: getattr(command, name) for name in _NAMED}
    return digest("proposal", pack_json(fields)).hex()


_NAMED = ("author", "body", "cluster", "command", "epoch", "expires", "sequence")
