"""One node, sans-I/O: events in, effects out.

The same object runs in production (`node/runtime.py` feeds it from sockets and a disk) and under simulated clocks,
networks and disks. It reads time only from its `Clock` and randomness only from the entropy it is given.

An event is `on_frame`, `on_link`, `submit` or the passing of time; after one or more of them the caller calls
`settle` and then `take_effects`, makes the batch durable, and only then sends and answers.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from govraft.core.convergence.certificate import IsValid
from govraft.core.convergence.cosigner import FormerKey
from govraft.core.convergence.messages import Sign
from govraft.core.convergence.timing import LeaseTiming
from govraft.core.evidence.chain import encode_chain
from govraft.core.machine.entry import decode_entry
from govraft.core.machine.machine import Machine
from govraft.core.machine.rules import rules_of_records
from govraft.core.model.electorate import Member
from govraft.core.model.genesis import Genesis
from govraft.core.model.limits import ENGINE_WINDOW_ENTRIES, SNAPSHOT_ENTRIES
from govraft.core.model.reasons import Reason
from govraft.core.model.request import Request
from govraft.core.model.rules import RULES_FIRST, RULES_NEWEST, explain_unknown_rules
from govraft.core.model.verdict import Deny, Verdict
from govraft.errors import AvailabilityError, CorruptionError, InputError
from govraft.node.convergence import CONVERGENCE_CHANNEL, Convergence
from govraft.node.cosigning import PERMIT_CHANNEL
from govraft.node.effects import Effects, Send
from govraft.node.epochs import Epochs, link_of
from govraft.node.gate import Gate
from govraft.node.permits import Permits
from govraft.node.presence import PRESENCE_CHANNEL, Presence
from govraft.node.snapshots import TAKE_OUT, FoundSnapshot, SnapshotTaker, find_snapshot, restore
from govraft.node.submissions import SUBMISSION_CHANNEL, Done, Submissions
from govraft.ports.clock import Clock
from govraft.ports.sequencer import AdvanceCommit, JournalOp, Sequencer
from govraft.ports.store import Append, HardState, JournalEntry, SetHardState, StoredLeaf, StoredState, TruncateFrom

__all__ = ["RAFT_CHANNEL", "MakeSequencer", "NodeCore", "NodeSettings"]

RAFT_CHANNEL = 1


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """What the node's configuration decides.

    Attributes:
        node_id: This node's id in the electorate.
        public_key: Its Ed25519 key, 32 bytes. Where the electorate has another one under its id, it is no member.
        heartbeat_ms: How often a leader probes when nothing changes.
        life: Distinguishes this process's decision ids from those of earlier ones.
        snapshot_entries: Applied entries between two snapshots. Fewer make a start quicker and cost a copy of the
            state each time.
        window_entries: Journal entries that the engine keeps in memory. More feed a lagging follower without the disk.
    """

    node_id: str
    public_key: bytes
    heartbeat_ms: int
    life: str
    snapshot_entries: int = SNAPSHOT_ENTRIES
    window_entries: int = ENGINE_WINDOW_ENTRIES


class MakeSequencer(Protocol):
    """Builds the engine around the callbacks of the core."""

    def __call__(
        self,
        *,
        voters: Sequence[str],
        observers: Sequence[str],
        epoch: int,
        state_epoch: Callable[[], int],
        journal: Sequence[JournalEntry],
        hard_state: HardState,
        applied: int,
        window_entries: int,
        send: Callable[[str, bytes], None],
        record: Callable[[JournalOp], None],
        on_commit: Callable[[int, int, bytes], None],
        welcome: Callable[[bytes], bool],
    ) -> Sequencer: ...


class NodeCore:
    """The machine, the engine, convergence, submissions and the gate of one node.

    Raises (on construction):
        CorruptionError: The stored journal and the stored lineage contradict each other, or the genesis.
    """

    def __init__(
        self,
        *,
        settings: NodeSettings,
        genesis: Genesis,
        stored: StoredState,
        signing: Sign,
        is_valid: IsValid,
        clock: Clock,
        entropy: Callable[[int], bytes],
        make_sequencer: MakeSequencer,
        former: FormerKey | None = None,
    ) -> None:
        self._settings = settings
        self._effects = Effects()
        self._clock = clock
        self._is_dated_ahead = False
        self._stored_leaves: Sequence[StoredLeaf] = stored.leaves
        self._links: set[str] = {settings.node_id}
        self._encoded_links: list[dict[str, Any]] = []
        self.epochs = Epochs(genesis, stored, settings.node_id, settings.public_key, is_valid)
        found = find_snapshot(stored, genesis, self.epochs.history, is_valid)
        if found is not None and rules_of_records(found.snapshot.sections, genesis) > RULES_NEWEST:
            found = None  # It may hold what cannot be read here: the journal is replayed up to where its rules begin.
        self.sequencer = self._make_sequencer(make_sequencer, stored, found)
        if stored.late:
            self.sequencer.withhold_votes()
        self._indexes = array("Q")
        if found is None:
            self.machine = Machine(genesis)
        else:
            self.machine, self._indexes = restore(found, stored, genesis, self.sequencer.entry)
        self.epochs.begin(self.machine)
        self._snapshots = SnapshotTaker(settings.snapshot_entries, self.machine.seq)
        self._keep_leaf(1, self.machine.genesis_leaf, 0)
        timing = LeaseTiming.of(genesis)
        self.timing = timing
        self._presence = Presence(timing, settings.heartbeat_ms)
        self.convergence = Convergence(
            machine=self.machine,
            epochs=self.epochs,
            on_epoch=self._on_epoch,
            timing=timing,
            signing=signing,
            is_valid=is_valid,
            clock=clock,
            entropy=entropy,
            stored=stored,
            heartbeat_ms=settings.heartbeat_ms,
            index_of=lambda seq: self._indexes[seq - 2] if seq > 1 else 0,
            former=former,
        )
        self.gate = Gate(
            node_id=settings.node_id,
            life=settings.life,
            machine=self.machine,
            convergence=self.convergence,
            sequencer=self.sequencer,
            clock=clock,
            timing=timing,
            reachable=self._reachable,
        )
        self.submissions = self._make_submissions()
        self.permits = self._make_permits(signing, is_valid)
        self._check_replay(stored)
        self.convergence.begin()
        self._effects.members = None  # Whoever builds the network asks for `pinned_members`.
        self.gate.prepare()

    # Events.

    def on_frame(self, peer: str, channel: int, payload: bytes) -> None:
        """Take one frame of an authenticated member, or of this node itself."""
        self._presence.note(peer, self._clock.boottime())
        if channel == RAFT_CHANNEL:
            # A leader whose state differs is never certified: deaf to it, the others elect a better one
            # (test_divergence.py::test_a_diverged_leader_is_replaced_and_isolates_itself_for_good).
            if not self.convergence.is_distrusted(peer):
                self.sequencer.receive(peer, payload)
            if self._is_dated_ahead:
                self._is_dated_ahead = False
                self.convergence.distrust(
                    peer, Reason.CLOCK_UNSAFE, f"entries of `{peer}` are dated ahead of this node's clock"
                )
        elif channel == CONVERGENCE_CHANNEL:
            self.convergence.on_frame(peer, payload, self.sequencer, self._effects)
        elif channel == SUBMISSION_CHANNEL:
            self.submissions.on_frame(peer, payload, self.sequencer, self._effects)
        elif channel == PERMIT_CHANNEL:
            self.permits.on_frame(peer, payload, self._effects)
        elif channel != PRESENCE_CHANNEL or payload:
            self.convergence.rejected_messages += 1

    def on_link(self, peer: str, *, up: bool, rules: int = RULES_FIRST) -> None:
        """Learn that frames to a member can be sent, or cannot.

        Args:
            peer: The member.
            up: Whether they can.
            rules: The newest number of the rules that it says it knows; without its word the first one.
        """
        if up:
            self._links.add(peer)
            self.submissions.peer_rules[peer] = rules
        else:
            self._links.discard(peer)
            self.submissions.peer_rules.pop(peer, None)
        self.sequencer.link(peer, up)

    def submit(self, envelope: bytes, *, wait: str, timeout_ms: int, done: Done, at_least: int = 0) -> None:
        """Take a command of a local client; see `Submissions.submit`."""
        if not self.machine.knows_rules:
            done(AvailabilityError(explain_unknown_rules(self.machine.rules), code="rules_unknown"))
            return
        self.submissions.submit(envelope, wait, timeout_ms, done, at_least=at_least)

    def settle(self, *, is_held: bool = False) -> bool:
        """Let the engine, convergence and submissions act on all that has happened, and on the time.

        With `is_held` nothing is proposed: checks that can be answered come before the next batch. Returns whether more
        is left to be done at once, in the next turn.
        """
        self.sequencer.turn()
        self.convergence.turn(self.sequencer, self._effects)
        if self.convergence.isolation is None:
            others = sorted(self._links - {self._settings.node_id})
            self._presence.turn(others, self._clock.boottime(), self._effects)
        before = self.sequencer.last_index
        self.submissions.turn(self.sequencer, self._effects, is_held=is_held)
        if self.sequencer.last_index != before:
            self.sequencer.turn()
            self.convergence.turn(self.sequencer, self._effects)
        self.permits.turn(self._effects)
        last_index = self._indexes[-1] if self._indexes else 0
        snapshot = self._snapshots.turn(self.machine, last_index, self.convergence)
        # A newer one takes the place of one that nobody has fetched yet.
        self._effects.snapshot = snapshot or self._effects.snapshot
        return self.sequencer.has_more

    def take_effects(self) -> Effects:
        """What must be done now. The caller does it in the order that `Effects` prescribes."""
        effects, self._effects = self._effects, Effects()
        if not effects.batch.is_empty:
            mark = self.sequencer.mark()
            effects.after.append(lambda: self.sequencer.made_durable(mark))
        return effects

    # Questions.

    def check(self, request: Request, *, at_least: int = 0) -> Verdict | None:
        """Answer, or None while waiting for the next certificate may change the answer."""
        return self.gate.check(request, at_least=at_least)

    def deny_waiting(self, at_least: int) -> Deny:
        """The answer for a request whose waiting time is over."""
        return self.gate.deny_waiting(at_least)

    def entry(self, seq: int) -> bytes | None:
        """The committed entry of a seq; None for the genesis and for what has not been applied."""
        place = seq - 2
        return self.sequencer.entry(self._indexes[place]) if 0 <= place < len(self._indexes) else None

    @property
    def links(self) -> frozenset[str]:
        """The members to which frames can be sent, this node included."""
        return frozenset(self._links)

    def _make_submissions(self) -> Submissions:
        made = Submissions(
            node_id=self._settings.node_id,
            machine=self.machine,
            convergence=self.convergence,
            clock=self._clock,
            timing=self.timing,
            standing=self.gate.standing,
            reaches=lambda peer: peer in self._links and self._presence.is_near(peer, self._clock.boottime()),
        )
        made.peer_rules[self._settings.node_id] = RULES_NEWEST
        return made

    def _make_permits(self, signing: Sign, is_valid: IsValid) -> Permits:
        return Permits(
            node_id=self._settings.node_id,
            machine=self.machine,
            convergence=self.convergence,
            gate=self.gate,
            clock=self._clock,
            timing=self.timing,
            public_key=self._settings.public_key,
            signing=signing,
            is_valid=is_valid,
            links=self.epoch_links,
        )

    def _make_sequencer(
        self, make_sequencer: MakeSequencer, stored: StoredState, found: FoundSnapshot | None
    ) -> Sequencer:
        applied = 0 if found is None else found.snapshot.index
        # A certified entry is committed, even where the stored commit index, which may lag, does not say so yet.
        commit_index = max(stored.hard_state.commit_index, applied)
        return make_sequencer(
            voters=[member.id for member in self.epochs.certified.voters],
            observers=[member.id for member in self.epochs.certified.members if not member.voter],
            epoch=self.epochs.certified.epoch,
            state_epoch=lambda: self.epochs.applied_epoch,
            journal=stored.journal,
            hard_state=msgspec.structs.replace(stored.hard_state, commit_index=commit_index),
            applied=applied,
            window_entries=self._settings.window_entries,
            send=self._send_raft,
            record=self._record,
            on_commit=self._on_commit,
            welcome=self._is_welcome,
        )

    def epoch_links(self) -> list[dict[str, Any]]:
        """The links from the genesis to the newest certified epoch, as evidence files carry them."""
        rows = self.epochs.rows
        if len(self._encoded_links) != len(rows):
            self._encoded_links = encode_chain(self.machine.genesis, [link_of(row) for row in rows])
        return self._encoded_links

    @property
    def pinned_members(self) -> tuple[Member, ...]:
        """Whom this node talks to, itself included: the certified members, and those of changes that it has applied.

        A new member must be heard before it counts, as its ack is needed for that. An id may stand there twice.
        """
        return self.epochs.members

    def _on_epoch(self, led_term: int) -> None:
        """A change of the electorate was certified: Raft and the network follow it."""
        certified = self.epochs.certified
        observers = [member.id for member in certified.members if not member.voter]
        self.sequencer.set_voters(
            [voter.id for voter in certified.voters], observers, certified.epoch, led_term=led_term
        )
        self._effects.members = self.pinned_members

    # What the engine calls.

    def _send_raft(self, peer: str, frame: bytes) -> None:
        # An isolated node never probes: if the others elected it, nobody would get a lease again. So it is silent as
        # a voter and candidate too (test_divergence.py::test_an_isolated_node_never_leads). So is one that could not
        # apply what it would lead the others to, and one whose store is late.
        is_silent = self.convergence.isolation is not None or not self.machine.knows_rules
        if is_silent or self.convergence.late_store.is_silent(self._clock.boottime()):
            return
        self._effects.sends.append(Send(peer, RAFT_CHANNEL, frame))

    def _record(self, operation: JournalOp) -> None:
        batch = self._effects.batch
        if isinstance(operation, Append):
            batch.append(operation.entry)
        elif isinstance(operation, TruncateFrom):
            batch.truncate_from(operation.index)
        elif isinstance(operation, SetHardState | AdvanceCommit):
            batch.set_hard_state(operation.hard_state)

    def _is_welcome(self, entry: bytes) -> bool:
        """Whether a leader's entry may enter the log: no clock but the leader's own vouches for its time.

        Once committed, an entry from the future would keep every node from cosigning until that future has come
        (test_dated_ahead.py::test_an_entry_dated_ahead_is_never_committed).
        """
        try:
            stamped = decode_entry(entry).time
        except InputError:
            return True  # Apply rejects it, the same on every node.
        if stamped <= self._clock.wall() + self.timing.skew_ms:
            return True
        self._is_dated_ahead = True
        return False

    def _on_commit(self, index: int, term: int, entry: bytes) -> None:
        del term
        if not self.machine.knows_rules:
            return  # The journal keeps it for a govraft that does (test_unknown_rules.py).
        # SAFETY: Raft's numbers never enter the state; the index is only remembered, to find the entry's bytes again
        # (test_machine_determinism.py).
        applied = self.machine.apply(entry)
        self._indexes.append(index)
        self._keep_leaf(applied.seq, applied.leaf, index)
        if self.epochs.applied(self.machine, applied.leaf):
            self._effects.members = self.pinned_members
        self.submissions.on_applied(applied)

    def _keep_leaf(self, seq: int, leaf: bytes, index: int) -> None:
        """Store a new leaf; during replay, hold the recomputed leaf against the stored one."""
        if seq > len(self._stored_leaves):
            self._effects.batch.add_leaf(seq, leaf, index)
        elif self._stored_leaves[seq - 1] != StoredLeaf(index, leaf):
            raise CorruptionError(
                f"stored lineage differs from the replayed journal at seq {seq}; {TAKE_OUT}",
                code="lineage_inconsistent",
                seq=seq,
            )

    def _check_replay(self, stored: StoredState) -> None:
        self.sequencer.turn()
        while self.sequencer.has_more:
            self.sequencer.turn()
        self._stored_leaves = []
        if not self.machine.knows_rules:
            return  # What an earlier, newer version applied beyond this is for such a version again.
        if self.machine.seq < len(stored.leaves):
            raise CorruptionError(
                f"stored lineage has {len(stored.leaves)} leaves, but the journal replays only to seq "
                f"{self.machine.seq}: journal entries are missing; {TAKE_OUT}",
                code="lineage_inconsistent",
            )
        if self.epochs.contradicted is not None:
            raise CorruptionError(
                f"the electorate certified at seq {self.epochs.contradicted.seq} is not that of the replayed journal; "
                f"{TAKE_OUT}",
                code="lineage_inconsistent",
            )
        record = stored.cosigner
        if record is None:
            return
        if record.seq > self.machine.seq or self.machine.lineage.root(record.seq) != record.root:
            raise CorruptionError(
                f"this node cosigned another lineage at seq {record.seq} than it now holds; {TAKE_OUT}",
                code="lineage_inconsistent",
            )

    def _reachable(self) -> int:
        own, now = self._settings.node_id, self._clock.boottime()
        voters = (member.id for member in self.machine.electorate.voters)
        return sum(1 for voter in voters if voter == own or self._presence.is_present(voter, now))
