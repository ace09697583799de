"""Elections: pre-votes, votes and terms.

The stock engine counted votes without the sender (H1), stood for election whenever it was late (H13) and never voted
for the same candidate twice. Here a member stands only after a majority said that it would vote, and says so itself
only when it has lost its own leader.
"""

# ruff: noqa: N802 - the overridden names are the engine's

from __future__ import annotations

from govraft.adapters.engine.frames import TERM_MAX, Committed, PreVote, PreVoteResponse, RequestVote, ResponseVote
from govraft.adapters.engine.progress import Progress
from govraft.adapters.engine.state import CANDIDATE, FOLLOWER, LEADER, EngineNode
from govraft.adapters.engine.terms import Terms
from govraft.errors import require

__all__ = ["Elections"]


class Elections(Terms):
    """Part of `ContainedEngine`."""

    _stands_from = float("-inf")

    def _SyncObj__generateRaftTimeout(self) -> float:
        return self._rng.uniform(self._timing.election_min_s, self._timing.election_max_s)

    def _SyncObj__setState(self, state: int) -> None:
        if self.is_leader and state != LEADER:
            self._progress.clear()
            self._postpone_election()
        super()._SyncObj__setState(state)

    def _SyncObj__connectedToAnyone(self) -> bool:
        """Whether to stand for election now: stock code asks exactly when the election deadline has passed (H13)."""
        # No decoder takes a higher term, the own store's neither.
        is_held = not self.may_vote or self._now() < self._stands_from
        if is_held or self._SyncObj__raftCurrentTerm >= TERM_MAX:
            self._postpone_election()
            return False
        behind = self._state_behind
        if behind is not None:
            # It must not lead by an electorate that its own state does not know yet. Asking as a candidate of the
            # earlier one it gets no vote, but hears what is committed.
            self._postpone_election()
            self._ask_for_pre_votes(behind)
            return False
        if self._is_alone:
            return True
        if self._is_prevote_won:
            self._end_prevote()
            return True
        self._is_prevoting = True
        self._prevotes.clear()
        self._SyncObj__raftLeader = None
        self._postpone_election()
        self._ask_for_pre_votes(self._epoch)
        return False

    def _ask_for_pre_votes(self, epoch: int) -> None:
        last = self._journal.last_index
        question = PreVote(self._SyncObj__raftCurrentTerm + 1, last, self._journal.term_at(last), epoch)
        for node in self._SyncObj__otherNodes:
            self._post(node, question)

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

    def _is_of_earlier_epoch(self, message: PreVote | RequestVote) -> bool:
        # SAFETY: a candidate that is two electorates behind could win by voters who do not meet the present majority
        # (membership.py; test_engine_epochs.py::test_a_candidate_of_an_earlier_epoch_gets_no_vote).
        if message.epoch >= self._epoch:
            return False
        self.faults["earlier_epoch"] += 1
        return True

    def release_votes(self) -> None:
        """Take part in elections from the next term on."""
        if not self.may_vote and self._SyncObj__selfNode is not None and self._SyncObj__votedForNodeId is None:
            # SAFETY: the forgotten vote may have been cast in this very term; that it is cast again, for itself, helps
            # nobody (test_late_votes.py::test_no_vote_is_cast_in_the_term_in_which_votes_are_released).
            self._SyncObj__setCurrentTerm(self._SyncObj__raftCurrentTerm, self._node_id)
        self.may_vote = True

    def _on_pre_vote(self, node: EngineNode, message: PreVote) -> None:
        if not self.may_vote:
            self.faults["vote_withheld"] += 1
            return
        if self._is_of_earlier_epoch(message):
            commit = self._SyncObj__raftCommitIndex
            if commit > 0:
                self._post(node, Committed(commit, self._journal.term_at(commit)))
            return
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

    def _on_committed(self, message: Committed) -> None:
        """Take an entry for committed that another voter knows to be, if it is the same one."""
        index, journal = message.index, self._journal
        if self.is_leader or not self._SyncObj__raftCommitIndex < index <= journal.last_index:
            return
        # SAFETY: entries of one index and term are one, and so are all before them; of another one nothing is known
        # (test_engine_epochs.py::test_a_commit_is_believed_of_the_same_entry_only).
        if journal.term_at(index) == message.term:
            self._SyncObj__raftCommitIndex = index
            journal.setRaftCommitIndex(index)

    def _on_request_vote(self, node: EngineNode, message: RequestVote) -> None:
        # SAFETY: a voter that has forgotten the log would help a candidate without it to lead
        # (test_late_votes.py::test_a_late_node_neither_votes_nor_stands).
        if not self.may_vote:
            self.faults["vote_withheld"] += 1
            return
        if self._is_of_earlier_epoch(message):
            return
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

    def resign(self, seconds: float) -> None:
        """Stop leading, and do not stand for so long: another one may do better."""
        if self.is_leader:
            self._SyncObj__setState(FOLLOWER)
            self._SyncObj__raftLeader = None
            self._stands_from = self._now() + seconds
