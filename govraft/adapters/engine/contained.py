"""pysyncobj's engine with its hazards contained.

Parts: `terms.py`, `elections.py`, `following.py`, `replication.py`, `membership.py`.

The stock engine keeps its state and decides in `_onTick` when to stand for election, what the quorum has committed
and when a leader gives up. Every entry point and every decision of it that is hazardous is overridden here by the
private name that the engine itself calls (`pinned.py` makes sure that these names are the right ones).

Rules:

1. Only members speak: voters vote, lead and are counted; observers acknowledge and are not counted (H19). Whoever
   counts by a later electorate is heard as its candidate or leader, though this member may not know it as a voter yet.
2. A term and a vote are recorded before the frame that tells of them is handed over; both survive a restart.
3. A vote, a pre-vote and an acknowledgement count once per member and only in their own term (H1, H2).
4. The log is truncated only at a conflicting entry, never at or below the commit index (H3, H25).
5. The commit index of a message counts only up to the last entry which this message verified (H24).
6. An election needs a majority that would vote and that has itself lost its leader (H13).
7. No command kinds but REGULAR and NO_OP, no forwarding, no snapshots, no pickle (H4, H8, H9, H14, H15, H28).

| state     | event                                       | becomes                                     |
|-----------|---------------------------------------------|---------------------------------------------|
| follower  | election deadline                           | follower asking for pre-votes               |
| follower  | pre-votes of a majority, at the next turn   | candidate, term + 1, votes for itself       |
| candidate | votes of a majority                         | leader, appends a NO_OP                     |
| candidate | election deadline                           | candidate asking for pre-votes              |
| any       | higher term in a credible frame             | follower in that term, no vote (`terms.py`) |
| any       | far too high a term of a voter (H13b)       | follower one step up, of nobody, no vote    |
| any       | a verified lease in a higher term           | follower of its leader in that term         |
| not leader| append entries of the term's first leader   | its follower                                |
| leader    | no quorum heard for `election_min_s`        | follower (H12)                              |
"""

# ruff: noqa: N802 - the overridden names are the engine's

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence

from govraft.adapters.engine.following import Following
from govraft.adapters.engine.frames import (
    NO_OP,
    REGULAR,
    AppendEntries,
    LogEntry,
    Message,
    NextNodeIndex,
    PreVote,
    PreVoteResponse,
    RequestVote,
    ResponseVote,
)
from govraft.adapters.engine.journal import EngineJournal
from govraft.adapters.engine.membership import Membership, sort_members
from govraft.adapters.engine.pinned import SyncObj, SyncObjConf, Transport
from govraft.adapters.engine.state import EngineNode
from govraft.adapters.engine.timing import EngineTiming
from govraft.core.model.limits import APPLIED_BYTES_PER_TURN, APPLIED_PER_TURN, PROPOSAL_BATCH_BYTES
from govraft.errors import InvariantViolation, require

__all__ = ["ContainedEngine"]


class _Outbox(Transport):  # type: ignore[misc] # the engine is untyped
    """Takes the one message that stock code still sends: the request for votes."""

    def __init__(self, post: Callable[[EngineNode, Message], None], epoch: Callable[[], int]) -> None:
        super().__init__(None, None, None)
        self._post = post
        self._epoch = epoch

    def send(self, node: EngineNode, message: dict[str, object]) -> bool:
        fields = dict(message)
        require(fields.pop("type", None) == "request_vote", "the engine sends a message that is contained")
        fields["epoch"] = self._epoch()
        self._post(node, RequestVote(**fields))  # type: ignore[arg-type] # built by stock code, three integers
        return True


class ContainedEngine(Membership, Following, SyncObj):  # type: ignore[misc] # the engine is untyped
    """One member. All methods run inside `engine_time`.

    Attributes:
        turn_entries: How many entries are handed on at a time: whatever else happens comes in between.
    """

    turn_entries = APPLIED_PER_TURN

    def __init__(
        self,
        *,
        node_id: str,
        voters: Sequence[str],
        observers: Sequence[str],
        epoch: int,
        state_epoch: Callable[[], int] | None,
        journal: EngineJournal,
        timing: EngineTiming,
        rng: random.Random,
        now: Callable[[], float],
        post: Callable[[EngineNode, Message], None],
        apply: Callable[[LogEntry], None],
        applied: int,
        welcome: Callable[[bytes], bool],
    ) -> None:
        self._node_id = node_id
        self._journal = journal
        self._timing = timing
        self._rng = rng
        self._now = now
        self._post = post
        self._apply = apply
        self._welcome = welcome
        self._votes: set[str] = set()
        self._prevotes: set[str] = set()
        self._is_prevoting = False
        self._is_prevote_won = False
        self._leader_of_term: str | None = None
        self._leader_heard_at: float | None = None
        # As if a large rise had just been: a member that is made to start again and again rises no faster.
        self._jumped_at = now()
        self._proven_term = 0
        self._progress = {}
        self._last_append = None
        self._links = set()
        self._epoch = epoch
        self._state_epoch = state_epoch
        self.faults: Counter[str] = Counter()
        self.term_jumps: Counter[str] = Counter()
        own, others, watching = sort_members(node_id, voters, observers)
        self._peers = {node.id: node for node in (*others, *watching)}
        outbox = _Outbox(post, lambda: self._epoch)
        super().__init__(own, others, _configuration(journal, timing), transport=outbox)
        self._SyncObj__raftLastApplied = applied
        self._SyncObj__readonlyNodes.update(watching)
        if self._is_alone:
            self._SyncObj__raftElectionDeadline = float("-inf")

    def peer(self, node_id: str) -> EngineNode:
        """The node of that id: another member, or whoever was let in as one and is none by this electorate."""
        return self._peers.get(node_id) or EngineNode(node_id)

    def append(self, entry: bytes) -> None:
        """Append one entry to the log of this leader."""
        require(self.is_leader, "only a leader appends")
        self._journal.add(REGULAR + entry, self._journal.last_index + 1, self._SyncObj__raftCurrentTerm)

    def tick(self) -> None:
        """Timers, elections, commit and apply by the stock engine, then what the peers lack."""
        self._onTick(0.0)
        self.replicate()

    def _SyncObj__onMessageReceived(self, node: EngineNode, message: Message) -> None:
        is_later = self._is_of_later_epoch(message)
        is_voter = node in self._SyncObj__otherNodes or is_later
        # SAFETY: votes, terms and entries of anybody but a voter are ignored
        # (test_hazards.py::test_h19_votes_of_strangers).
        if not is_voter and not isinstance(message, NextNodeIndex):
            self.faults["not_a_voter" if node.id in self._peers else "not_a_member"] += 1
        elif is_voter and not self._is_within_reach(node, message):
            return
        elif isinstance(message, AppendEntries):
            self._on_append_entries(node, message)
        elif isinstance(message, NextNodeIndex):
            self.on_next_node_index(node, message)
        elif self._SyncObj__selfNode is None and not is_later:
            # By a later electorate it may be a voter: its vote counts there or not, which is for the candidate to say.
            self.faults["not_a_voter"] += 1
        elif isinstance(message, PreVote):
            self._on_pre_vote(node, message)
        elif isinstance(message, PreVoteResponse):
            self._on_pre_vote_response(node, message)
        elif isinstance(message, RequestVote):
            self._on_request_vote(node, message)
        elif isinstance(message, ResponseVote):
            self._on_response_vote(node, message)
        else:
            self._on_committed(message)

    # -- What the stock engine may not do -------------------------------------------------------------------------

    def _SyncObj__applyLogEntries(self) -> bool:
        """Hand each committed entry on once. The index moves first: a raising callback cannot repeat one (H6, H7)."""
        self._hand_on()
        if self.is_leader:
            self.commit()
        return False

    def _SyncObj__getEntries(self, *_range: object) -> list[LogEntry]:
        """Nothing: only the stock commit rule still asks, and `commit` takes its place."""
        return []

    def _hand_on(self) -> None:
        end = min(self._SyncObj__raftCommitIndex, self._SyncObj__raftLastApplied + self.turn_entries)
        size = 0
        while self._SyncObj__raftLastApplied < end and size < APPLIED_BYTES_PER_TURN:
            self._SyncObj__raftLastApplied += 1
            payload, index, term = self._journal[self._SyncObj__raftLastApplied]
            size += len(payload)
            if payload != NO_OP:
                self._apply((payload, index, term))

    def _checkCommandsToApply(self) -> None:
        """Do nothing: proposals are appended directly, or refused; none waits in the engine's queue (H14, H20)."""

    def _SyncObj__tryLogCompaction(self) -> None:
        """Do nothing: the engine neither makes nor loads snapshots (H4, H15, H16)."""

    def _applyCommand(self, *_arguments: object) -> None:
        raise InvariantViolation("the engine's own command queue is contained")

    def _SyncObj__loadDumpFile(self, *_arguments: object) -> None:
        raise InvariantViolation("the engine's own snapshots are contained")

    def _SyncObj__doChangeCluster(self, *_arguments: object) -> None:
        raise InvariantViolation("the engine's own membership changes are contained")


def _configuration(journal: EngineJournal, timing: EngineTiming) -> object:
    return SyncObjConf(
        autoTick=False,
        appendEntriesUseBatch=True,
        appendEntriesPeriod=timing.heartbeat_s,
        appendEntriesBatchSizeBytes=PROPOSAL_BATCH_BYTES,
        raftMinTimeout=timing.election_min_s,
        raftMaxTimeout=timing.election_max_s,
        # Not above the election time-out: a leader cut off gives up before its successor can be elected (H12).
        leaderFallbackTimeout=timing.election_min_s,
        connectionTimeout=timing.election_max_s,
        commandsWaitLeader=False,
        dynamicMembershipChange=False,
        journalFile=journal,
        fullDumpFile=None,
        useFork=False,
    )
