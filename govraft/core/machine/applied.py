"""What applying an entry did."""

from __future__ import annotations

from typing import NamedTuple

from govraft.core.model.outcome import Outcome

__all__ = ["AppliedEntry"]


class AppliedEntry(NamedTuple):
    """What applying one entry did.

    Attributes:
        seq: Of the entry.
        leaf: Its exact bytes.
        outcome: `Applied`, or `Rejected` with its code.
        entry_digest: Of the entry's exact bytes.
        envelope_digest: Of the envelope's, None when the entry holds none.
        command_id: Of the command, None unless it was authenticated: nobody can answer in another's name.
        touched: Names of the sections whose digest changed.
        unchanged: Targets that the command listed and left as they were.
    """

    seq: int
    leaf: bytes
    outcome: Outcome
    entry_digest: bytes
    envelope_digest: bytes | None
    command_id: str | None
    touched: frozenset[str]
    unchanged: tuple[str, ...] = ()
