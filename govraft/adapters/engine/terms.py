"""How terms rise: by small steps freely, by large ones rarely, and at once where a quorum has signed for it.

A term that is only dropped because it is too high exiles its bearer for good (H13b): nobody listens to it, and it
listens to nobody. A term that is always believed lets one frame use up all terms there are. So:

| a frame's term is above the own one by | once in a lease        | again in that lease  |
|----------------------------------------|------------------------|----------------------|
| at most `TERM_JUMP`                    | taken                  | taken                |
| at most `TERM_STEP`                    | taken                  | dropped              |
| more, from a voter                     | a step up, and dropped | dropped              |
| more, from anybody else                | dropped                | dropped              |

`voter`: of the own electorate; to claim a later one is not enough. The term of a lease that verifies is entered whole,
however far it is: a quorum has acked a probe in it. Whoever was cut off, and whoever is new, is back with that lease.

A member that does not vote has no other way down from a term to which a faulty voter lifted it alone: the leader counts
no word of it. Its term decides nothing, so it enters that of a lease even if that is lower. The highest one stays
recorded, and it is back in that before it votes.
"""

# ruff: noqa: N802 - the overridden names are the engine's

from __future__ import annotations

from govraft.adapters.engine.frames import TERM_MAX, Committed, Message
from govraft.adapters.engine.state import FOLLOWER, EngineNode, EngineState

__all__ = ["TERM_JUMP", "TERM_STEP", "Terms"]

TERM_STEP = 2**32
"""How far one frame may raise the term. 2^30 of these use up all terms: with one a lease, that is 34 years."""

TERM_JUMP = 2**16
"""A rise by more counts as large. A flood of smaller ones needs longer than a lease for as much as one step."""


class Terms(EngineState):
    """Part of `ContainedEngine`."""

    def _is_within_reach(self, node: EngineNode, message: Message) -> bool:
        """Whether to handle a frame, by its term; a step up is made here."""
        own = self._SyncObj__raftCurrentTerm
        # The term of `Committed` is that of an entry.
        if isinstance(message, Committed) or message.term <= own + TERM_JUMP:
            return True
        self.term_jumps[node.id] += 1
        # SAFETY: one large rise in a lease, whoever asks for it
        # (test_terms.py::test_a_second_large_rise_waits_for_a_lease).
        if self._now() - self._jumped_at < self._timing.lease_s:
            return False
        if message.term <= own + TERM_STEP:
            return True
        # SAFETY: members of an electorate that nobody has proven here are not in it
        # (test_terms.py::test_a_claimed_later_epoch_lifts_nobody).
        if node in self._SyncObj__otherNodes:
            self.adopt_term(own + TERM_STEP)
        return False

    def adopt_term(self, term: int) -> None:
        """Become a follower in `term` if it is higher than the own one."""
        own = self._SyncObj__raftCurrentTerm
        if term <= own:
            return
        if term > own + TERM_JUMP:
            self._jumped_at = self._now()
        self._enter(term)

    def adopt_proven_term(self, term: int, leader: EngineNode) -> None:
        """Enter the term of a verified lease, and follow the leader that it names."""
        own = self._SyncObj__raftCurrentTerm
        # A lease may be late, or shown again by the leader of a term that is over.
        if not self._proven_term <= term <= TERM_MAX:
            return
        self._proven_term = term
        # SAFETY: a voter's term never falls (test_terms.py::test_a_voter_never_falls_back).
        if term < own and self._SyncObj__selfNode is not None:
            return
        if term != own:
            self._enter(term)
        elif self.is_leader or self._leader_of_term == leader.id:
            return
        if leader.id != self._node_id:
            self._follow(leader)

    def _enter(self, term: int, voted_for: str | None = None) -> None:
        """Follow and lead nobody in another term, and vote for nobody in a new one."""
        self._SyncObj__setState(FOLLOWER)
        self._SyncObj__raftLeader = None
        self._SyncObj__setCurrentTerm(term, voted_for)

    def _SyncObj__setCurrentTerm(self, term: int, voted_for: str | None) -> None:
        if term != self._SyncObj__raftCurrentTerm:
            self._votes.clear()
            self._leader_of_term = None
            self._end_prevote()
        if self._SyncObj__selfNode is None and term <= self._journal.getCurrentTerm():
            self._SyncObj__raftCurrentTerm = term
            return
        super()._SyncObj__setCurrentTerm(term, voted_for)  # type: ignore[misc] # the engine is untyped

    def _resume_recorded_term(self) -> None:
        """Begin to vote: in no term that is lower than the highest one in which this member may have voted."""
        # SAFETY: (test_terms.py::test_a_member_that_votes_again_is_back_in_its_highest_term).
        recorded, voted_for = self._journal.getCurrentTerm(), self._journal.getVotedForNodeId()
        if self._SyncObj__raftCurrentTerm < recorded:
            self._enter(recorded, voted_for)
        self._SyncObj__votedForNodeId = voted_for
