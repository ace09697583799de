"""How many commands may be pending on one node, and how many of one author and of one envelope."""

from __future__ import annotations

from collections import Counter

from govraft.core.model import limits
from govraft.errors import AvailabilityError
from govraft.node.shares import Shares
from govraft.node.submissions.tickets import Ticket

__all__ = ["Places"]

_TICKETS_OF_ONE_ENVELOPE = 16


class Places:
    """The places that pending commands take.

    Attributes:
        count: How many are taken.
        copies: How many each envelope takes, by its digest.
    """

    def __init__(self) -> None:
        self.count = 0
        self.copies: Counter[bytes] = Counter()
        self._shares = Shares()

    def full_for(self, name: bytes) -> AvailabilityError | None:
        """Why there is no room for one more call with the envelope of that digest, whoever signed it."""
        if self.count >= limits.PENDING_SUBMITS:
            return AvailabilityError("too many commands are pending; try again", code="queue_full")
        # SAFETY: whoever has seen an envelope can hand it in again and again: that must not use up the places of its
        # authority, or of all; test_review_findings.py::test_copies_of_one_command_take_few_places
        if self.copies[name] >= _TICKETS_OF_ONE_ENVELOPE:
            message = "this very command is pending many times already; wait for one of them"
            return AvailabilityError(message, code="queue_full", definite=False)
        return None

    def has_room(self, authors: tuple[str, ...]) -> bool:
        """Whether each of the authors may have one more."""
        return self._shares.has_room(authors, limits.PENDING_SUBMITS_OF_ONE)

    def take(self, ticket: Ticket) -> None:
        """Give a place to a call."""
        self.count += 1
        self._shares.take(ticket.authors)
        self.copies[ticket.digest] += 1

    def give_back(self, ticket: Ticket) -> None:
        """The call is answered."""
        ticket.is_over = True
        self.count -= 1
        self._shares.give_back(ticket.authors)
        self.copies[ticket.digest] -= 1
        if not self.copies[ticket.digest]:
            del self.copies[ticket.digest]
