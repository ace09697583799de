"""The follower's half of replication: what it takes from a leader, and what it refuses.

The stock engine truncated matching and even committed entries (H3), believed a commit index beyond what it had
verified (H24), and rewound without bound (H26).
"""

from __future__ import annotations

import msgspec

from govraft.adapters.engine.elections import Elections
from govraft.adapters.engine.frames import NO_OP, REGULAR, AppendEntries, NextNodeIndex
from govraft.adapters.engine.state import FOLLOWER, EngineNode
from govraft.core.model.limits import ENGINE_BACKLOG_BYTES, ENGINE_BACKLOG_ENTRIES

__all__ = ["Following"]


class Following(Elections):
    """Part of `ContainedEngine`."""

    def _on_append_entries(self, node: EngineNode, message: AppendEntries) -> None:
        if message.term < self._SyncObj__raftCurrentTerm:
            # Tells a leader of an older term that its time is over; without this a member that went ahead with its
            # term could never come back to a leader whose followers are all content.
            self._answer(node, message, self._journal.last_index + 1)
            return
        if message.term == self._SyncObj__raftCurrentTerm and self._is_led_by_another(node):
            self.faults["second_leader_in_term"] += 1
            return
        self.adopt_term(message.term)
        self._follow(node)
        # SAFETY: what the leader announces as committed denies until it is applied here
        # (test_sequencer.py::test_an_announced_commit_is_unapplied_until_it_arrives).
        self._SyncObj__leaderCommitIndex = message.commit_index
        message = self._without_unwelcome(message)
        taken = self._merge(message) if self._is_anchored(node, message) else None
        if taken is not None:
            self._advance_commit(taken)
            self._answer(node, taken, taken.prev_index + len(taken.entries) + 1, success=True)

    def _is_led_by_another(self, node: EngineNode) -> bool:
        """Whether somebody else leads this term: this member itself, or who was first to say so and still speaks."""
        if self._leader_of_term in (None, node.id):
            return False
        # SAFETY: for progress. Whoever claims a term once, before its leader speaks, must not keep this member from
        # that leader for as long as the term lasts: others may be content with it, and nobody stands for a next one
        # (test_term_lifts.py::test_a_term_that_is_claimed_before_its_leader_speaks_is_not_lost).
        return self._leader_of_term == self._node_id or self._is_content()

    def _follow(self, node: EngineNode) -> None:
        self._SyncObj__setState(FOLLOWER)
        self._SyncObj__raftLeader = node
        self._leader_of_term = node.id
        self._leader_heard_at = self._now()
        self._end_prevote()
        self._postpone_election()

    def _is_anchored(self, node: EngineNode, message: AppendEntries) -> bool:
        """Whether the log holds the entry before the new ones; otherwise tell the leader from where to go on."""
        journal, commit, prev = self._journal, self._SyncObj__raftCommitIndex, message.prev_index
        if prev > journal.last_index:
            self._answer(node, message, journal.last_index + 1, reset=True)
            return False
        term = journal.term_at(prev)
        if term == message.prev_term:
            return True
        if prev <= commit:
            self.faults["conflict_below_commit"] += 1
            return False
        # The whole run of the conflicting term is suspect: skipping it saves a round trip per entry.
        while prev - 1 > commit and journal.term_at(prev - 1) == term:
            prev -= 1
        self._answer(node, message, prev, reset=True)
        return False

    def _without_unwelcome(self, message: AppendEntries) -> AppendEntries:
        """Without the first entry that the node will not have, and what follows it: no quorum, no commit."""
        for place, (_, payload) in enumerate(message.entries):
            if payload.startswith(REGULAR) and not self._welcome(payload[len(REGULAR) :]):
                self.faults["unwelcome_entry"] += 1
                return msgspec.structs.replace(message, entries=message.entries[:place])
        return message

    def _merge(self, message: AppendEntries) -> AppendEntries | None:
        """Put the entries into the log, dropping a conflicting tail.

        Returns `message` with the entries that the log holds now, None if committed entries stand against it.
        """
        journal, commit = self._journal, self._SyncObj__raftCommitIndex
        for index, (term, payload) in enumerate(message.entries, message.prev_index + 1):
            if index <= journal.last_index:
                if journal.term_at(index) == term:
                    if journal.payload_at(index) == payload:
                        continue
                    self.faults["same_term_other_entry"] += 1
                    return None
                # SAFETY: committed entries are never dropped, whatever a leader says: this member stops following
                # instead (test_hazards.py::test_h3_committed_entries_stay).
                if index <= commit:
                    self.faults["conflict_below_commit"] += 1
                    return None
                journal.deleteEntriesFrom(index)
            if self._is_excess(term, payload):
                self.faults["backlog_full"] += 1
                return msgspec.structs.replace(message, entries=message.entries[: index - message.prev_index - 1])
            journal.add(payload, index, term)
        return message

    def _is_excess(self, term: int, payload: bytes) -> bool:
        """Whether a leader that keeps to the limit on its backlog cannot have another such entry uncommitted.

        It goes by the log alone, not by how that came here: whoever leads with a log has followers that take all of it.
        Entries that take the place of others are no more than there were. The entry that opens a term is never too
        much, as nothing before it is committed without it (test_full_logs.py).
        """
        journal = self._journal
        if payload == NO_OP and term > journal.term_at(journal.last_index):
            return False
        return journal.backlog_entries > 2 * ENGINE_BACKLOG_ENTRIES or journal.backlog_bytes > 2 * ENGINE_BACKLOG_BYTES

    def _advance_commit(self, message: AppendEntries) -> None:
        # SAFETY: beyond the entries of this message the log is unverified
        # (test_hazards.py::test_h24_commit_stops_at_verified_entries).
        verified = message.prev_index + len(message.entries)
        commit = min(message.commit_index, verified)
        if commit > self._SyncObj__raftCommitIndex:
            self._SyncObj__raftCommitIndex = commit
            self._journal.setRaftCommitIndex(commit)

    def _answer(
        self, node: EngineNode, message: AppendEntries, next_index: int, *, success: bool = False, reset: bool = False
    ) -> None:
        term = self._SyncObj__raftCurrentTerm
        self._post(node, NextNodeIndex(term, message.prev_index, next_index, reset, success))
