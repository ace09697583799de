"""Who votes and counts: one electorate after the other, each told of by its certificate; and what a leader commits.

pysyncobj's own membership changes stay contained (H5). An electorate change is an entry like any other to the log; it
is certified by a quorum of the old and of the new electorate, in a round that one leader leads in one term, and none of
them acks beyond it without holding that certificate. `set_members` follows the certificates, in their order.

Why no committed entry is lost. Let C(k) be the voters of epoch k. Neighbours differ by at most one voter, so a majority
of C(k) and one of C(k + 1) share a member; those of C(k) and C(k + 2) need not. The epoch of an entry is the one in
force at its place: changes before it, plus 1. Four rules:

1. A leader commits an entry under the electorate of the entry's own epoch: past a change, nothing before it holds the
   certificate (`commit`).
2. A member gives no vote to a candidate of an epoch below its own (`elections.py`).
3. A leader that is handed the certificate of a new epoch steps down, unless it completed it itself in its own term.
4. A member whose state is behind its epoch does not stand: it was handed certificates, and its log is not there yet.

Take the first leader L', of term t' and epoch k', that lacks an entry x, committed in a term t < t' under C(k).

- k' is k - 1, k or k + 1: L's majority and that of L' share a member which took x and then voted for a log without it:
  the usual contradiction.
- k' above k + 1: L' holds the certificate of k', so it knows as committed all that is before that change, x's place
  included. Had it another entry there, two majorities of the same C(k) would have committed two entries at one place,
  and a leader before L' would have lacked one of them.
- k' below k - 1: the certificate of epoch k' + 2 that the leader of x held is the work of a majority of C(k' + 1), all
  holding the certificate of k' + 1, in a term T. One of them, v, also voted for L', and by rule 2 before it held it:
  so t' <= T. But T <= t. If the leader of x completed that certificate itself, T = t. Otherwise rule 3 makes it hold it
  before it was elected in t; terms of certificates rise with their epochs, since the same member acks two neighbours in
  their order; and the last one, of k, is the work of a majority of C(k), which shares a member with the one that
  elected the leader of x, and that member acked first and voted then. So t' <= t, against t < t'.

So that rule 2 cannot keep a cluster without a leader for ever, a refused candidate is told up to where the log is known
to be committed (`Committed`): it may hold more entries than anybody else that is left, and yet not know that the change
among them is. It applies that, is given the certificate for the asking, and stands again. A member that rule 4 holds
back asks like a candidate of the epoch of its state, for the sake of that answer.

Safety of an answer rests on none of this (protocol.md §1): a lost entry would cost availability, not truth.
"""

from __future__ import annotations

from collections.abc import Sequence

from govraft.adapters.engine.frames import AppendEntries, Message, PreVote, RequestVote
from govraft.adapters.engine.progress import Progress
from govraft.adapters.engine.replication import Replication
from govraft.adapters.engine.state import CANDIDATE, FOLLOWER, EngineNode
from govraft.core.model.limits import APPLIED_BYTES_PER_TURN

__all__ = ["Membership", "sort_members"]


def sort_members(
    node_id: str, voters: Sequence[str], observers: Sequence[str]
) -> tuple[EngineNode | None, list[EngineNode], list[EngineNode]]:
    """The own node if it votes, the other voters, and the observers that this member would feed as a leader.

    Without a node of its own the engine never stands: that is what an observer is, and whoever is no member.
    """
    own = EngineNode(node_id) if node_id in voters else None
    others = [EngineNode(voter) for voter in voters if voter != node_id]
    watching = [] if own is None else [EngineNode(observer) for observer in observers if observer != node_id]
    return own, others, watching


class Membership(Replication):
    """Part of `ContainedEngine`."""

    def set_members(self, voters: Sequence[str], observers: Sequence[str], epoch: int, led_term: int) -> None:
        """Vote and count by another electorate from now on; see `ports.sequencer.Sequencer.set_voters`."""
        own, others, watching = sort_members(self._node_id, voters, observers)
        members = {node.id: node for node in (*others, *watching)}
        self._take_leave(members)
        was_voter = self._SyncObj__selfNode is not None
        self._epoch = epoch
        self._peers = members
        self._SyncObj__selfNode = own
        self._SyncObj__otherNodes = set(others)
        self._SyncObj__readonlyNodes = set(watching)
        self._SyncObj__connectedNodes = {node for node in members.values() if node.id in self._links}
        # SAFETY: whoever votes no longer does not lead either, and acks of an old term are not counted under an
        # electorate that was certified in another one
        # (test_engine_epochs.py::test_a_leader_that_votes_no_longer_steps_down,
        # test_engine_epochs.py::test_a_leader_that_was_handed_the_certificate_steps_down).
        if self.is_leader and (own is None or led_term != self._SyncObj__raftCurrentTerm):
            self._step_down()
        elif self.is_leader:
            self._rebuild_progress()
        elif self._SyncObj__raftState == CANDIDATE:
            self._step_down()
        if not self.is_leader:
            self._end_prevote()
            leader = self._SyncObj__raftLeader
            if leader is not None and leader.id not in voters:
                self._SyncObj__raftLeader = None
            if own is not None and not was_voter:
                self._resume_recorded_term()
                self._postpone_election()
            if self._is_alone:
                self._SyncObj__raftElectionDeadline = float("-inf")

    def commit(self) -> None:
        """Commit, and hand on, what a majority of the voters holds, up to a change of the electorate."""
        reached = self._majority_index()
        if reached <= self._SyncObj__raftCommitIndex:
            return
        # An entry of an earlier term counts only with one of this term after it (Raft §5.4.2).
        if self._journal.term_at(reached) != self._SyncObj__raftCurrentTerm:
            return
        index = before = self._SyncObj__raftCommitIndex
        # SAFETY: whether the state is in step says nothing while committed entries are not handed on yet
        # (test_sequencer.py::test_a_leader_commits_nothing_above_what_it_has_yet_to_hand_on).
        if self._SyncObj__raftLastApplied < index:
            return
        # SAFETY: what lies beyond a change is for the majority of the electorate that it makes
        # (test_engine_epochs.py::test_nothing_is_committed_beyond_a_change_that_is_not_certified).
        end, size = min(reached, index + self.turn_entries), 0
        while index < end and size < APPLIED_BYTES_PER_TURN and self._is_state_in_step:
            index += 1
            size += len(self._journal[index][0])
            self._SyncObj__raftCommitIndex = index
            self._hand_on()
        if index > before:
            self._journal.setRaftCommitIndex(index)
            self._SyncObj__leaderCommitIndex = index

    @property
    def has_more(self) -> bool:
        """Whether another turn would hand on more at once."""
        index = self._SyncObj__raftCommitIndex
        if self._SyncObj__raftLastApplied < index:
            return True
        reached = self._majority_index() if self.is_leader else 0
        is_countable = reached > index and self._journal.term_at(reached) == self._SyncObj__raftCurrentTerm
        return is_countable and self._is_state_in_step

    @property
    def _is_state_in_step(self) -> bool:
        return self._state_epoch is None or self._state_epoch() == self._epoch

    def _majority_index(self) -> int:
        """The highest index up to which a majority of the voters, this leader among them, holds the leader's log."""
        held = [self._SyncObj__raftMatchIndex.get(node, 0) for node in self._SyncObj__otherNodes]
        return sorted([*held, self._journal.last_index], reverse=True)[(len(held) + 1) // 2]

    def _is_of_later_epoch(self, message: Message) -> bool:
        """Whether a candidate or leader speaks that counts by an electorate after the own one."""
        return isinstance(message, AppendEntries | PreVote | RequestVote) and message.epoch > self._epoch

    def _take_leave(self, members: dict[str, EngineNode]) -> None:
        """Send those who are removed one more frame: it tells them that the entry which removes them is committed."""
        if not self.is_leader:
            return
        for node, progress in self._progress.items():
            if node.id not in members and node in self._SyncObj__connectedNodes:
                self._send(node, progress)

    def _step_down(self) -> None:
        self._votes.clear()
        self._SyncObj__setState(FOLLOWER)
        self._SyncObj__raftLeader = None

    def _rebuild_progress(self) -> None:
        """As the leader, begin with new peers from scratch, and forget those who are gone."""
        first, now = self._journal.last_index + 1, self._now()
        peers = self._SyncObj__otherNodes | self._SyncObj__readonlyNodes
        for gone in [node for node in self._progress if node not in peers]:
            del self._progress[gone]
            self._SyncObj__raftMatchIndex.pop(gone, None)
            self._SyncObj__lastResponseTime.pop(gone, None)
        for node in peers:
            if node not in self._progress:
                self._progress[node] = Progress(first)
                self._SyncObj__raftMatchIndex[node] = 0
                self._SyncObj__lastResponseTime[node] = now
