"""What orders entries, and the little that the node may ask of it.

The sequencer is trusted for progress only (protocol.md §1). Rules of the port:

1. It is sans-I/O: it never reads a clock, socket or file by itself, and does something only when it is called.
2. What it wants stored it hands to `record`, in order; what it wants sent to `send`. **The caller makes every
   `Append`, `TruncateFrom` and `SetHardState` durable before any frame handed over after it leaves the process**,
   and before anything else that speaks of it does. `AdvanceCommit` alone may wait for the next write.
3. Committed entries come to `on_commit` in the order of their index, each once in the life of the object, those of
   earlier lives again after a start.
4. It keeps in memory what it was not told to be durable (`made_durable`) and what is not applied; anything older it may
   drop, and read again from the store.
5. It is told of each electorate by `set_voters`, once that is certified, and commits each entry under the electorate in
   force there: a leader commits a change of the electorate, and nothing beyond until it is told of the certificate.
6. `InvariantViolation`, or whatever a callback raised, comes out of `turn`, `receive` or `propose`: the node halts.
   Input of a peer never makes any of them raise; a store that fails to give back an old entry does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from govraft.ports.store import Append, HardState, SetHardState, TruncateFrom

__all__ = ["AdvanceCommit", "JournalOp", "Sequencer"]


class AdvanceCommit(msgspec.Struct, frozen=True):
    """Only `commit_index` rose. Losing it costs a replay, not safety, so it may ride on the next write.

    It must still be written in the order of the ops: it never speaks of an entry that is not recorded before it.
    """

    hard_state: HardState


JournalOp = Append | TruncateFrom | SetHardState | AdvanceCommit


class Sequencer(Protocol):
    """One member's view of the replicated log."""

    @property
    def leader_hint(self) -> str | None:
        """Whom this member believes to lead `term`, or None. A hint: never decide by it."""
        ...

    @property
    def term(self) -> int:
        """The highest Raft term seen."""
        ...

    @property
    def term_jumps(self) -> Mapping[str, int]:
        """By member, how many of its frames asked for so large a rise of the term that it lied, or heals from a lie."""
        ...

    @property
    def is_leader(self) -> bool:
        """Whether this member believes to lead. Several members may believe so at once."""
        ...

    @property
    def commit_index(self) -> int:
        """The highest Raft index known to be committed, 0 for none."""
        ...

    @property
    def last_index(self) -> int:
        """The highest Raft index in the journal, 0 for none."""
        ...

    @property
    def has_unapplied(self) -> bool:
        """Whether an entry is known to be committed that `on_commit` has not been given; the gate denies then.

        Counts what the leader has announced, also where this member's own log does not reach yet.
        """
        ...

    def holders(self, index: int) -> frozenset[str]:
        """The other members whose logs hold the entry with that Raft index, as far as this leader knows in its term.

        None of them if this member does not lead.
        """
        ...

    def resign(self, seconds: float) -> None:
        """Stop leading, and do not stand for election for so long. Nothing happens if this member does not lead."""
        ...

    @property
    def has_more(self) -> bool:
        """Whether `turn` left committed entries that it could have handed on: another turn goes on there."""
        ...

    def entry(self, index: int) -> bytes | None:
        """The entry that `on_commit` was given with that Raft index, or None."""
        ...

    def mark(self) -> int:
        """How many ops were recorded so far. For `made_durable`."""
        ...

    def made_durable(self, mark: int) -> None:
        """Learn that the first `mark` recorded ops are durable."""
        ...

    def propose(self, entry: bytes) -> None:
        """Append `entry` to the leader's log; it is sent by the next `turn`.

        A proposed entry may still be lost to a change of leader: only `on_commit` tells that it was not.

        Raises:
            AvailabilityError: `not_leader` or `queue_full`; definite, nothing was appended.
            InputError: The entry is empty or too large; nothing was appended.
        """
        ...

    def receive(self, peer: str, frame: bytes) -> None:
        """Handle one frame of the authenticated member `peer`; malformed or unwelcome ones are dropped and counted."""
        ...

    def link(self, peer: str, up: bool) -> None:  # noqa: FBT001 - the one fact the call reports
        """Learn that frames to `peer` can be sent from now on, or cannot."""
        ...

    @property
    def epoch(self) -> int:
        """The epoch of the electorate by which it votes and counts: the newest that it was told of."""
        ...

    def set_voters(self, voters: Sequence[str], observers: Sequence[str], epoch: int, *, led_term: int = 0) -> None:
        """Learn the members of the next certified epoch, in the order of the epochs. Never called from a callback.

        This member may be a voter, an observer or neither from then on; whoever is no voter neither votes nor leads.
        Ignored if the epoch is not above the own one.

        Args:
            voters: Ids of the voters; one more, or one less, than in the epoch before.
            observers: Ids of the members that receive all entries and count for nothing.
            epoch: The next one. Its certificate becomes durable before any frame handed over afterwards leaves.
            led_term: The term in which this member itself completed that certificate, as leader; 0 if it was handed
                the certificate. A leader of another term than that steps down.
        """
        ...

    def adopt_term(self, term: int, leader: str) -> None:
        """Learn the term and the leader that the probe of a verified lease names: a quorum has signed for both.

        A voter enters that term if it is higher than the own one; the new term is recorded before any frame handed over
        afterwards. A member that does not vote enters it in any case, but for the terms of earlier leases. It follows
        that leader from then on. Never called from a callback.

        Args:
            term: Any natural number; ignored where no such term can be.
            leader: Id of the member that made the lease.
        """
        ...

    def withhold_votes(self) -> None:
        """Neither vote nor stand for election until `release_votes`: earlier votes may have been forgotten."""
        ...

    def release_votes(self) -> None:
        """Take part in elections again, from the next term on: a vote in this one may be among the forgotten."""
        ...

    def turn(self) -> None:
        """One turn of the loop: timers, elections, commit, apply, then one coalesced send per peer that needs one."""
        ...
