"""Elections: pre-votes, votes and terms.

The stock engine counted votes without the sender (H1), stood for election whenever it was late (H13) and never voted
for the same candidate twice. Here a member stands only after a majority said that it would vote, and says so itself
only when it has lost its own leader.
"""

# ruff: noqa: N802 - the overridden names are the engine's

from __future__ import annotations

from govraft.adapters.engine.frames import PreVote, PreVoteResponse, RequestVote, ResponseVote
from govraft.adapters.engine.progress import Progress
from govraft.adapters.engine.state import CANDIDATE, FOLLOWER, LEADER, EngineNode, EngineState
from govraft.errors import require

__all__ = ["Elections"]


class Elections(EngineState):
    """Part of `ContainedEngine`."""

    def _SyncObj__generateRaftTimeout(self) -> float:
        return self._rng.uniform(self._timing.election_min_s, self._timing.election_max_s)

    def _SyncObj__setState(self, state: int) -> None:
        if self.is_leader and state != LEADER:
            self._progress.clear()
            self._postpone_election()
        super()._SyncObj__setState(state)  # type: ignore[misc] # the engine is untyped

    def _SyncObj__setCurrentTerm(self, term: int, voted_for: str | None) -> None:
        if term > self._SyncObj__raftCurrentTerm:
            self._votes.clear()
            self._leader_of_term = None
            self._end_prevote()
        super()._SyncObj__setCurrentTerm(term, voted_for)  # type: ignore[misc] # the engine is untyped

    def _SyncObj__connectedToAnyone(self) -> bool:
        """Whether to stand for election now: stock code asks exactly when the election deadline has passed (H13)."""
        if self._is_alone:
            return True
        if self._is_prevote_won:
            self._end_prevote()
            return True
        self._is_prevoting = True
        self._prevotes.clear()
        self._SyncObj__raftLeader = None
        self._postpone_election()
        question = PreVote(
            self._SyncObj__raftCurrentTerm + 1,
            self._journal.last_index,
            self._journal.term_at(self._journal.last_index),
        )
        for node in self._SyncObj__otherNodes:
            self._post(node, question)
        return False

    def _SyncObj__onBecomeLeader(self) -> None:
        require(self._leader_of_term in (None, self._node_id), "a second leader in one term")
        self._leader_of_term = self._node_id
        self._start_progress()
        super()._SyncObj__onBecomeLeader()  # type: ignore[misc] # the engine is untyped

    def _start_progress(self) -> None:
        """Forget what was known of the followers: a new term begins."""
        first = self._journal.last_index + 1
        self._progress = {node: Progress(first) for node in self._SyncObj__otherNodes | self._SyncObj__readonlyNodes}

    def _end_prevote(self) -> None:
        self._is_prevoting = False
        self._is_prevote_won = False

    def _postpone_election(self) -> None:
        self._SyncObj__raftElectionDeadline = self._now() + self._SyncObj__generateRaftTimeout()

    def _is_majority(self, others: int) -> bool:
        return 2 * (1 + others) > len(self._SyncObj__otherNodes) + 1

    def _is_content(self) -> bool:
        """Whether a leader was heard so recently that this member helps nobody to depose it (H13)."""
        if self.is_leader:
            return True
        heard_at = self._leader_heard_at
        return heard_at is not None and self._now() - heard_at < self._timing.election_min_s

    def _is_up_to_date(self, message: PreVote | RequestVote) -> bool:
        last = self._journal.last_index
        return (message.last_log_term, message.last_log_index) >= (self._journal.term_at(last), last)

    def _on_pre_vote(self, node: EngineNode, message: PreVote) -> None:
        term = self._SyncObj__raftCurrentTerm
        is_granted = message.term > term and not self._is_content() and self._is_up_to_date(message)
        self._post(node, PreVoteResponse(message.term if is_granted else term, is_granted))

    def _on_pre_vote_response(self, node: EngineNode, message: PreVoteResponse) -> None:
        if not self._is_prevoting:
            self.faults["stale"] += 1
        elif not message.granted:
            self.adopt_term(message.term)
        elif message.term == self._SyncObj__raftCurrentTerm + 1:
            self._prevotes.add(node.id)
            if self._is_majority(len(self._prevotes)):
                self._is_prevote_won = True
                self._SyncObj__raftElectionDeadline = float("-inf")

    def _on_request_vote(self, node: EngineNode, message: RequestVote) -> None:
        if message.term < self._SyncObj__raftCurrentTerm or self._is_content():
            self.faults["vote_ignored"] += 1
            return
        self.adopt_term(message.term)
        if not self._is_up_to_date(message) or self._SyncObj__votedForNodeId not in (None, node.id):
            return
        # SAFETY: recorded before the answer is handed over (test_votes.py::test_a_vote_is_recorded_before_it_is_sent).
        if self._SyncObj__votedForNodeId is None:
            self._SyncObj__setCurrentTerm(message.term, node.id)
        self._postpone_election()
        self._post(node, ResponseVote(message.term))

    def _on_response_vote(self, node: EngineNode, message: ResponseVote) -> None:
        if self._SyncObj__raftState != CANDIDATE or message.term != self._SyncObj__raftCurrentTerm:
            self.faults["stale"] += 1
            return
        # SAFETY: a set of voters, so that a repeated vote counts once (test_hazards.py::test_h1_repeated_vote).
        self._votes.add(node.id)
        self._SyncObj__votesCount = 1 + len(self._votes)
        if self._is_majority(len(self._votes)):
            self._SyncObj__onBecomeLeader()

    def adopt_term(self, term: int) -> None:
        """Become a follower in `term` if it is higher than the own one."""
        if term <= self._SyncObj__raftCurrentTerm:
            return
        self._SyncObj__setState(FOLLOWER)
        self._SyncObj__raftLeader = None
        self._SyncObj__setCurrentTerm(term, None)
