"""The section `proposals`, decoded: what was put to the vote, and how far each voter has counted.

proposal/<digest>      Proposal
sequence/<voter>       sequence of the voter's last ballot on anything
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from govraft.core.model.commands import BallotChoice

__all__ = ["PROPOSAL_PREFIX", "SEQUENCE_PREFIX", "Ballot", "Proposal", "ProposalStatus", "ProposalsView"]

PROPOSAL_PREFIX = "proposal/"
SEQUENCE_PREFIX = "sequence/"


class ProposalStatus(StrEnum):
    """What became of a proposal. All but `open` are final."""

    OPEN = "open"
    EXECUTED = "executed"
    FAILED = "failed"
    """Its threshold held, but the machine rejected the command."""
    REJECTED = "rejected"
    """So many voted against it that its threshold cannot be met."""
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"


class Ballot(msgspec.Struct, frozen=True):
    """How somebody voted.

    Attributes:
        epoch: Of the electorate at that time; in a later one the ballot does not count.
        sequence: Of the voter.
        seq: Of the entry.
        key: Id of the key that signed it; once that is replaced the ballot does not count.
    """

    choice: BallotChoice
    epoch: int
    sequence: int
    seq: int
    key: str


class Proposal(msgspec.Struct, frozen=True, omit_defaults=True):
    """A command that is put to the vote.

    Attributes:
        digest: Names it, 64 hexadecimal digits.
        command: Name of the command.
        payload: The command with the header that the machine gave it; empty once it is closed.
        author, epoch, sequence: Who opened it, and what that first ballot was bound to.
        expires: WallMs; from then on nobody can vote.
        seq, time: Of the entry that opened it.
        ballots: By voter, the last one of each; a ballot that was taken back is not there.
        status: What became of it.
        code: `applied`, or the code of the machine's rejection, once its threshold held.
        closed_seq, closed_time: Of the entry that closed it; 0 while it is open.
    """

    digest: str
    command: str
    payload: bytes
    author: str
    epoch: int
    sequence: int
    expires: int
    seq: int
    time: int
    ballots: dict[str, Ballot]
    status: ProposalStatus = ProposalStatus.OPEN
    code: str = ""
    closed_seq: int = 0
    closed_time: int = 0


_decode_proposal = msgspec.msgpack.Decoder(Proposal).decode
_decode_sequence = msgspec.msgpack.Decoder(int).decode


class ProposalsView:
    """Proposals by digest, open and closed, and the voters' sequences."""

    def __init__(self) -> None:
        self.open: dict[str, Proposal] = {}
        self.closed: dict[str, Proposal] = {}
        self._sequences: dict[str, int] = {}

    def find(self, digest: str) -> Proposal | None:
        """The proposal of that digest, None if there is none, or no longer."""
        return self.open.get(digest) or self.closed.get(digest)

    def last_sequence(self, voter: str) -> int:
        """Sequence of the voter's last ballot; 0 before the first."""
        return self._sequences.get(voter, 0)

    @property
    def sequences(self) -> Mapping[str, int]:
        """Sequences by voter."""
        return self._sequences

    def note(self, key: str, value: bytes | None) -> None:
        """Take over a change of the section."""
        if key.startswith(SEQUENCE_PREFIX):
            voter = key[len(SEQUENCE_PREFIX) :]
            if value is None:
                self._sequences.pop(voter, None)
            else:
                self._sequences[voter] = _decode_sequence(value)
            return
        name = key[len(PROPOSAL_PREFIX) :]
        self.open.pop(name, None)
        self.closed.pop(name, None)
        if value is not None:
            proposal = _decode_proposal(value)
            (self.open if proposal.status is ProposalStatus.OPEN else self.closed)[name] = proposal
