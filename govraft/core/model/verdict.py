"""What is answered: `Allow` or `Deny`."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from govraft.core.model.reasons import Reason

__all__ = ["Allow", "Deny", "Verdict"]


class Allow(msgspec.Struct, frozen=True, tag="allow", tag_field="verdict"):
    """Execution may start now.

    Attributes:
        seq: The certified state this was decided on.
        state_root: Digest of that state, hex.
        valid_until: CLOCK_BOOTTIME of the node's host, ns. From then on the verdict is void.
        policies: Content-digest ids of the policies that determined it.
        decision: Id of the decision.
        node: The node that decided.
    """

    allowed: ClassVar[bool] = True
    seq: int
    state_root: str
    valid_until: int
    policies: list[str]
    decision: str
    node: str

    def __bool__(self) -> bool:
        """Refused here: only the clock of the host that asked can tell. `govraft.client.Allow` answers it."""
        raise TypeError("whether an allow still holds needs a clock: use `is_valid_at`")

    def is_valid_at(self, now_ns: int) -> bool:
        """Whether the allow still holds at that CLOCK_BOOTTIME."""
        return now_ns < self.valid_until


class Deny(msgspec.Struct, frozen=True, tag="deny", tag_field="verdict"):
    """Execution must not start.

    Attributes:
        reason: Exactly one code of `Reason`.
        message: The same for people, one line.
        seq: The certified state this was decided on; 0 when there was none.
    """

    allowed: ClassVar[bool] = False
    reason: Reason
    message: str = ""
    seq: int = 0
    state_root: str = ""
    policies: list[str] = []
    errors: list[str] = []
    decision: str = ""
    node: str = ""

    def __bool__(self) -> bool:
        """Always False."""
        return False

    def __repr__(self) -> str:
        return f"<Deny {self.reason}: {self.message} seq={self.seq} node={self.node}>"


Verdict = Allow | Deny
