"""What deciding a request on one state comes to, before anybody asks whether this node may answer at all."""

from __future__ import annotations

from typing import NamedTuple

from govraft.core.model.reasons import Reason

__all__ = ["Charge", "Finding", "denied"]


class Charge(NamedTuple):
    """An allow that a boundary's rate has to have room for. Whoever answers keeps the count.

    Attributes:
        key: What is counted: domain, boundary and subject.
        most, seconds: At most so many in any such span, in the whole cluster.
    """

    key: str
    most: int
    seconds: int


class Finding(NamedTuple):
    """Whether the state allows a request.

    Attributes:
        reason: Why not; None if it allows.
        message: The same for people.
        policies: Ids of the policies that determined it.
        errors: Of the policy engine.
        expires: Of an allow: WallMs from which the finding may be another one, though the state is the same; None: it
            stays.
        charges: Rates which must have room, if it allows.
    """

    reason: Reason | None
    message: str = ""
    policies: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    expires: int | None = None
    charges: tuple[Charge, ...] = ()

    @property
    def is_allow(self) -> bool:
        """Whether the state allows it."""
        return self.reason is None

    def explains(self, reason: Reason) -> bool:
        """Whether a node may deny with this reason where this was found: that, or a rate, which it counts itself."""
        return reason is self.reason or (reason is Reason.BOUNDARY_EXCEEDED and self.is_allow and bool(self.charges))


def denied(reason: Reason, message: str) -> Finding:
    """A finding against a request, before any policy was asked."""
    return Finding(reason, message)
