"""What a client asks a permit for, what becomes of it, and where it stands meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from govraft.core.evidence.statements import DenialStatement, PermitStatement
from govraft.core.model import limits
from govraft.core.model.electorate import Electorate
from govraft.core.model.request import Request
from govraft.core.model.units import BoottimeNs
from govraft.core.model.verdict import Deny

__all__ = ["Attempt", "Authorization", "Contradiction", "Denied", "Done", "Granted", "Pending"]


class Authorization(NamedTuple):
    """What a client asks a permit for.

    Attributes:
        request: What is to be done.
        ttl_ms: How long the permit shall live at most: it ends with what it rests on.
        single_use: Whether it must be redeemed.
        audience: Whom it is for; None for anybody.
        at_least: The lowest seq that the client accepts.
    """

    request: Request
    ttl_ms: int = limits.PERMIT_MS
    single_use: bool = False
    audience: str | None = None
    at_least: int = 0


class Granted(NamedTuple):
    """A permit: the file, and what it says."""

    file: bytes
    statement: PermitStatement


class Denied(NamedTuple):
    """No permit: why, and the signed denial as a file; None from a node that is no member."""

    deny: Deny
    file: bytes | None


class Contradiction(NamedTuple):
    """Two nodes said different things about one request on one state: both envelopes, each signed by its node."""

    node: str
    permit: bytes
    denial: bytes


Done = Callable[[Granted | Denied], None]


@dataclass(slots=True)
class Attempt:
    """One statement, and what the voters have answered."""

    statement: PermitStatement
    message: bytes
    electorate: Electorate
    until: BoottimeNs
    signatures: dict[bytes, bytes] = field(default_factory=dict)
    refusals: dict[str, DenialStatement] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """Whether a quorum has signed."""
        return len(self.signatures) >= self.electorate.quorum_count

    @property
    def is_hopeless(self) -> bool:
        """Whether those who have not refused are too few."""
        voters = self.electorate.voters
        refused = sum(1 for voter in voters if voter.id in self.refusals)
        return len(voters) - refused < self.electorate.quorum_count


@dataclass(slots=True, eq=False)
class Pending:
    """What a client waits for."""

    asked: Authorization
    deadline: BoottimeNs
    done: Done
    next_try: BoottimeNs
    attempt: Attempt | None = None
    last: Attempt | None = None
