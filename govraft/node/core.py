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
from typing import Protocol

from govraft.core.convergence.certificate import IsValid
from govraft.core.convergence.messages import Sign
from govraft.core.convergence.timing import LeaseTiming
from govraft.core.machine.entry import decode_entry
from govraft.core.machine.machine import Machine
from govraft.core.model.genesis import Genesis
from govraft.core.model.reasons import Reason
from govraft.core.model.request import Request
from govraft.core.model.verdict import Deny, Verdict
from govraft.errors import CorruptionError, InputError
from govraft.node.convergence import CONVERGENCE_CHANNEL, Convergence
from govraft.node.effects import Effects, Send
from govraft.node.gate import Gate
from govraft.node.submissions import SUBMISSION_CHANNEL, Done, Submissions
from govraft.ports.clock import Clock
from govraft.ports.sequencer import AdvanceCommit, JournalOp, Sequencer
from govraft.ports.store import Append, HardState, JournalEntry, SetHardState, StoredState, TruncateFrom

__all__ = ["RAFT_CHANNEL", "MakeSequencer", "NodeCore", "NodeSettings"]

RAFT_CHANNEL = 1
# A data directory that was rolled back or emptied has forgotten what this key has signed.
_TAKE_OUT = "take the node out of service and keep its data directory; never run its key on a restored or empty one"


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """What the node's configuration decides.

    Attributes:
        node_id: This node's id in the electorate.
        heartbeat_ms: How often a leader probes when nothing changes.
        life: Distinguishes this process's decision ids from those of earlier ones.
    """

    node_id: str
    heartbeat_ms: int
    life: str


class MakeSequencer(Protocol):
    """Builds the engine around the callbacks of the core."""

    def __call__(
        self,
        *,
        voters: Sequence[str],
        journal: Sequence[JournalEntry],
        hard_state: HardState,
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
    ) -> None:
        self._settings = settings
        self._effects = Effects()
        self._clock = clock
        self._is_dated_ahead = False
        self._stored_leaves = stored.leaves
        self._links: set[str] = {settings.node_id}
        self._indexes = array("Q")
        self.machine = Machine(genesis)
        self._keep_leaf(1, self.machine.genesis_leaf)
        timing = LeaseTiming(genesis.lease_ms, genesis.clock_drift_max_ppm, genesis.clock_skew_max_ms)
        self.timing = timing
        self.convergence = Convergence(
            node_id=settings.node_id,
            machine=self.machine,
            timing=timing,
            signing=signing,
            is_valid=is_valid,
            clock=clock,
            entropy=entropy,
            cosigner_record=stored.cosigner,
            isolation=stored.isolation,
            has_run_before=stored.has_run_before,
            heartbeat_ms=settings.heartbeat_ms,
        )
        self.submissions = Submissions(
            node_id=settings.node_id,
            machine=self.machine,
            convergence=self.convergence,
            clock=clock,
            timing=timing,
        )
        self.sequencer = make_sequencer(
            voters=[member.id for member in genesis.electorate().voters],
            journal=stored.journal,
            hard_state=stored.hard_state,
            send=self._send_raft,
            record=self._record,
            on_commit=self._on_commit,
            welcome=self._is_welcome,
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
        self.sequencer.turn()
        self._check_replay(stored)
        self.gate.prepare()

    # Events.

    def on_frame(self, peer: str, channel: int, payload: bytes) -> None:
        """Take one frame of an authenticated member, or of this node itself."""
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
        else:
            self.convergence.rejected_messages += 1

    def on_link(self, peer: str, *, up: bool) -> None:
        """Learn that frames to a member can be sent, or cannot."""
        if up:
            self._links.add(peer)
        else:
            self._links.discard(peer)
        self.sequencer.link(peer, up)

    def submit(self, envelope: bytes, *, wait: str, timeout_ms: int, done: Done) -> None:
        """Take a command of a local client; see `Submissions.submit`."""
        self.submissions.submit(envelope, wait, timeout_ms, done)

    def settle(self) -> None:
        """Let the engine, convergence and submissions act on all that has happened, and on the time."""
        self.sequencer.turn()
        self.convergence.turn(self.sequencer, self._effects)
        before = self.sequencer.last_index
        self.submissions.turn(self.sequencer, self._effects)
        if self.sequencer.last_index != before:
            self.sequencer.turn()
            self.convergence.turn(self.sequencer, self._effects)

    def take_effects(self) -> Effects:
        """What must be done now. The caller does it in the order that `Effects` prescribes."""
        effects, self._effects = self._effects, Effects()
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

    # What the engine calls.

    def _send_raft(self, peer: str, frame: bytes) -> None:
        # An isolated node never probes: if the others elected it, nobody would get a lease again. So it is silent as
        # a voter and candidate too (test_divergence.py::test_an_isolated_node_never_leads).
        if self.convergence.isolation is not None:
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
        # SAFETY: Raft's numbers never enter the state; the index is only remembered, to find the entry's bytes again
        # (test_machine_determinism.py).
        applied = self.machine.apply(entry)
        self._indexes.append(index)
        self._keep_leaf(applied.seq, applied.leaf)
        self.submissions.on_applied(applied)

    def _keep_leaf(self, seq: int, leaf: bytes) -> None:
        """Store a new leaf; during replay, hold the recomputed leaf against the stored one."""
        if seq > len(self._stored_leaves):
            self._effects.batch.add_leaf(seq, leaf)
        elif self._stored_leaves[seq - 1] != leaf:
            raise CorruptionError(
                f"stored lineage differs from the replayed journal at seq {seq}; {_TAKE_OUT}",
                code="lineage_inconsistent",
                seq=seq,
            )

    def _check_replay(self, stored: StoredState) -> None:
        self._stored_leaves = []
        if self.machine.seq < len(stored.leaves):
            raise CorruptionError(
                f"stored lineage has {len(stored.leaves)} leaves, but the journal replays only to seq "
                f"{self.machine.seq}: journal entries are missing; {_TAKE_OUT}",
                code="lineage_inconsistent",
            )
        record = stored.cosigner
        if record is None:
            return
        if record.seq > self.machine.seq or self.machine.lineage.root(record.seq) != record.root:
            raise CorruptionError(
                f"this node cosigned another lineage at seq {record.seq} than it now holds; {_TAKE_OUT}",
                code="lineage_inconsistent",
            )

    def _reachable(self) -> int:
        return sum(1 for member in self.machine.electorate.voters if member.id in self._links)
