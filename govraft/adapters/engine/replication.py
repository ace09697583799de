"""The leader's half of replication: what goes out to each follower, and what its answers mean.

Replaces the engine's `__sendAppendEntries` (wrong chunking H11, spinning H27, no back-pressure) and its handling of
`next_node_idx` (no term H2, rewinds H25, livelock H26). The engine's own dictionary of matched indices stays: its
commit rule counts over it.
"""

# ruff: noqa: N802 - the overridden names are the engine's

from __future__ import annotations

from govraft.adapters.engine.elections import Elections
from govraft.adapters.engine.frames import AppendEntries, LogEntry, NextNodeIndex
from govraft.adapters.engine.progress import Progress
from govraft.adapters.engine.state import EngineNode
from govraft.core.model.limits import PROPOSAL_BATCH_BYTES, PROPOSAL_BATCH_ENTRIES

__all__ = ["Replication"]


class Replication(Elections):
    """Part of `ContainedEngine`."""

    def set_link(self, node: EngineNode, *, is_up: bool) -> None:
        """Frames to `node` can be sent from now on, or cannot."""
        if not is_up:
            self._links.discard(node.id)
            self._SyncObj__connectedNodes.discard(node)
            return
        self._links.add(node.id)
        if node.id in self._peers:
            self._SyncObj__connectedNodes.add(node)
        if node in self._progress:
            # SAFETY: entries that a node no longer holds are not counted as held
            # (test_late_votes.py::test_a_new_link_begins_at_what_the_log_holds).
            self._progress[node].note_link_up()
            self._SyncObj__raftMatchIndex[node] = 0

    def replicate(self) -> None:
        """Send each connected follower what it lacks."""
        if not self.is_leader:
            return
        last, commit = self._journal.last_index, self._SyncObj__raftCommitIndex
        for node, progress in self._progress.items():
            while node in self._SyncObj__connectedNodes and progress.is_due(
                self._now(), last, commit, self._timing.heartbeat_s
            ):
                self._send(node, progress)

    def _SyncObj__sendAppendEntries(self) -> None:
        """Heartbeat: the engine calls this once in each heartbeat period, and when it has become leader."""
        self._SyncObj__newAppendEntriesTime = self._now() + self._timing.heartbeat_s
        for node, progress in self._progress.items():
            if node in self._SyncObj__connectedNodes:
                self._send(node, progress)

    def _send(self, node: EngineNode, progress: Progress) -> None:
        prev = progress.next_index - 1
        message = self._append_entries(prev, with_entries=progress.has_room)
        size = sum(len(payload) for _, payload in message.entries)
        progress.note_sent(self._now(), prev + len(message.entries), size, message.commit_index)
        self._post(node, message)

    def _append_entries(self, prev: int, *, with_entries: bool) -> AppendEntries:
        """Build the message that goes on after `prev`; the same object for followers in step, so it is encoded once."""
        term, commit = self._SyncObj__raftCurrentTerm, self._SyncObj__raftCommitIndex
        key = (term, commit, prev, self._journal.last_index, int(with_entries), self._epoch)
        if self._last_append is None or self._last_append[0] != key:
            entries = self._batch(prev + 1) if with_entries else []
            body = tuple((entry_term, payload) for payload, _, entry_term in entries)
            message = AppendEntries(term, commit, prev, self._journal.term_at(prev), body, self._epoch)
            self._last_append = (key, message)
        return self._last_append[1]

    def _batch(self, first: int) -> list[LogEntry]:
        """As many entries from `first` on as fit into one frame, at least one if there is one."""
        return self._journal.batch(first, PROPOSAL_BATCH_ENTRIES, PROPOSAL_BATCH_BYTES)

    def on_next_node_index(self, node: EngineNode, message: NextNodeIndex) -> None:
        """Handle a follower's answer."""
        if message.term > self._SyncObj__raftCurrentTerm and node in self._SyncObj__otherNodes:
            self.adopt_term(message.term)
            return
        # SAFETY: an answer to a leader of another term says nothing about this term's log
        # (test_hazards.py::test_h2_acknowledgement_of_an_older_term).
        if not self.is_leader or message.term != self._SyncObj__raftCurrentTerm:
            self.faults["stale"] += 1
            return
        matched = message.next_index - 1
        if message.success and matched > self._journal.last_index:
            self.faults["acknowledged_beyond_log"] += 1
            return
        progress = self._progress.get(node)
        if progress is None:
            self.faults["not_a_member"] += 1
            return
        if message.success:
            progress.note_match(matched)
            self._SyncObj__raftMatchIndex[node] = progress.match_index
        elif message.reset:
            progress.note_rejected(message.prev_index, message.next_index)
        self._SyncObj__lastResponseTime[node] = self._now()
