"""Convergence inside a node: probes in, acks out; acks in, leases out; leases in, permission to serve.

The rules are in `core/convergence`; this module feeds them with what the node knows (its machine, its Raft view,
its clocks) and turns what they decide into effects. It does no I/O.

Two findings make a node isolate itself, for good, with the evidence on disk: a certificate of a quorum for a seq at
which its own lineage has another root, and its own lineage no longer having the root that it signed. A minority
whose cosignatures contradict each other is proven and ignored instead: if one lying voter could isolate everybody,
it could stop every cluster at will.

When the electorate changes, the leader probes the seq of the change, and nothing beyond it, until a quorum of the old
and one of the new members have acked it. The lease that comes of it is the certificate of the new epoch, for whoever
receives it; who missed it asks for it (`node/epoch_exchange.py`).
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from govraft.core.convergence.certificate import (
    WRONG_EPOCH,
    IsValid,
    VerifiedLease,
    open_ack,
    open_signed,
    verify_cosignature,
)
from govraft.core.convergence.cosigner import Acked, Answer, Cosigner, FormerKey, Refusal
from govraft.core.convergence.holder import HeldLease, Holder
from govraft.core.convergence.messages import (
    NONCE_BYTES,
    EpochRequest,
    Kind,
    Probe,
    ProvenChange,
    Sign,
    Signed,
    decode_kind,
)
from govraft.core.convergence.messages import Epochs as EpochsMessage
from govraft.core.convergence.round import RoundLeader
from govraft.core.convergence.timing import LeaseTiming
from govraft.core.machine.machine import Machine
from govraft.core.model.electorate import Member
from govraft.core.model.reasons import Reason
from govraft.core.model.units import NS_PER_MS, BoottimeNs
from govraft.errors import CertificateError, InputError, SignatureError, VerificationError
from govraft.node.cosigner_view import CosignerView
from govraft.node.diagnosis import Diagnosis, difference
from govraft.node.effects import Effects, Send
from govraft.node.epoch_exchange import EpochExchange
from govraft.node.epochs import Epochs
from govraft.node.isolation import Own
from govraft.node.late_store import OLDER_THAN_OWN_SIGNATURES, Forgotten, LateStore
from govraft.node.lease_judge import LeaseJudge
from govraft.node.probed import Probed, probed
from govraft.node.reign import Reign
from govraft.node.voice import Voice
from govraft.node.wall_clocks import WallClocks, ahead
from govraft.node.witness import Witness
from govraft.ports.clock import Clock
from govraft.ports.sequencer import Sequencer
from govraft.ports.store import CosignerRecord, IsolationRecord, StoredEpoch, StoredState

__all__ = ["CONVERGENCE_CHANNEL", "Convergence", "Diagnosis"]

CONVERGENCE_CHANNEL = 2
HEARTBEATS_HEARD = 3
_DISTRUST_LEASES = 3


class Convergence:
    """The cosigner, holder and, at times, round leader of one node.

    Args:
        stored: What the node remembers of its earlier lives.
        former: The key that this node had before the change that gives it its present one.
        epochs: Shared with the node, which tells it what was applied.
        on_epoch: Called when a change of the electorate has been certified, with the Raft term in which this node, as
            leader, brought that about, else 0. The batch has the certificate already.
        index_of: The Raft index of an applied seq.
    """

    def __init__(
        self,
        *,
        machine: Machine,
        epochs: Epochs,
        on_epoch: Callable[[int], None],
        timing: LeaseTiming,
        signing: Sign,
        is_valid: IsValid,
        clock: Clock,
        entropy: Callable[[int], bytes],
        stored: StoredState,
        heartbeat_ms: int,
        index_of: Callable[[int], int],
        former: FormerKey | None = None,
    ) -> None:
        self._node_id = node_id = epochs.node_id
        self._machine = machine
        self.epochs = epochs
        self._on_epoch = on_epoch
        self._timing = timing
        self._is_valid = is_valid
        self._clock = clock
        self._entropy = entropy
        self._heartbeat_ns = heartbeat_ms * NS_PER_MS
        self._former = former
        self._origin = machine.genesis.origin
        self._cluster = bytes.fromhex(machine.genesis.cluster_id)
        self.cosigner = self._make_cosigner(stored, signing)
        self.holder = Holder(node_id=node_id, timing=timing)
        self.leading = RoundLeader(
            node_id=node_id,
            origin=self._origin,
            cluster=self._cluster,
            timing=timing,
            recent_ns=HEARTBEATS_HEARD * self._heartbeat_ns,
            signing=signing,
        )
        pauses = (self._heartbeat_ns, timing.grant_ns)
        voice = Voice(node_id, self._cluster, signing, CONVERGENCE_CHANNEL)
        self._exchange = EpochExchange(epochs, voice, *pauses)
        self._judge = LeaseJudge(machine, epochs, is_valid)
        self.late_store = LateStore(machine, epochs, self.cosigner, voice, is_valid, entropy(NONCE_BYTES), *pauses)
        self.isolation: IsolationRecord | None = stored.isolation
        self.diagnosis = Diagnosis()
        self.clocks = WallClocks(node_id, self.holder, timing)
        self._reign = Reign(node_id, timing, index_of)
        self.moving_until = BoottimeNs(0)
        """Until then the successor of the lease is due that the last ack of a higher seq gave up: no lease of another
        holder can delay it longer."""
        self.certified_seq = 0
        self.certified_note = b""
        self._certified_lease = b""
        self.certified_ahead: tuple[VerifiedLease, bytes] | None = None
        self.witness = Witness(stored.equivocations)
        self.rejected_messages = 0
        self.last_refusal: Refusal | None = None
        self._distrusted: dict[str, BoottimeNs] = {}
        self._waiting_probe: tuple[Signed, Probe] | None = None
        self._round: tuple[int, int, int] = (0, -1, 0)
        self._round_at = BoottimeNs(-(10**18))

    def _make_cosigner(self, stored: StoredState, signing: Sign) -> Cosigner:
        return Cosigner(
            node_id=self._node_id,
            public_key=self.epochs.public_key,
            origin=self._origin,
            cluster=self._cluster,
            timing=self._timing,
            signing=signing,
            acked=None if stored.cosigner is None else Acked(stored.cosigner.seq, stored.cosigner.root),
            started=self._clock.boottime(),
            has_run_before=stored.has_run_before,
            is_late=stored.late,
        )

    def begin(self) -> None:
        """The machine holds what it held in the last life."""
        if self.epochs.certified_note and self.epochs.certified_seq <= self._machine.seq:
            self.certified_seq, self.certified_note = self.epochs.certified_seq, self.epochs.certified_note

    # What the node does of itself.

    def turn(self, sequencer: Sequencer, effects: Effects) -> None:
        """Answer a probe that was waiting for this node to catch up, and probe if this node leads."""
        if self._waiting_probe is not None and self._may_answer(self._waiting_probe[1]):
            signed, probe = self._waiting_probe
            self._waiting_probe = None
            self._answer(signed, probe, sequencer, effects)
        if self.certified_ahead is not None and self._machine.seq >= self.certified_ahead[0].probe.checkpoint.seq:
            verified, encoded = self.certified_ahead
            self.certified_ahead = None
            self._compare(verified, encoded, effects)
        now = self._clock.boottime()
        self._keep_up(now, effects)
        if self.isolation is None and self.late_store.turn(now, effects):
            sequencer.release_votes()
        state = probed(self._machine, self.epochs)
        if not sequencer.is_leader or self.isolation is not None or not self.epochs.is_itself_in(state.electorates):
            self.leading.close()
            self._reign.end()
            return
        self._reign.turn(state, self.leading.completed, sequencer, now)
        if sequencer.has_more:
            return  # What comes next is committed: one round for all of it.
        round_ = (state.seq, sequencer.term, self.epochs.certified.epoch)
        if round_ != self._round or now - self._round_at >= self._heartbeat_ns:
            self._round, self._round_at = round_, now
            self._probe(state, sequencer, now, effects)

    def _may_answer(self, probe: Probe) -> bool:
        """Whether its seq was applied, and no change of the electorate below it waits for its certificate."""
        seq, uncertified = probe.checkpoint.seq, self.epochs.uncertified
        return self._machine.seq >= seq and (uncertified is None or seq <= uncertified)

    def _keep_up(self, now: BoottimeNs, effects: Effects) -> None:
        """Hold what was applied against the certified epochs, and ask for those that this node lacks."""
        row = self.epochs.contradicted
        if row is not None and self.isolation is None:
            message = f"the electorate that was certified at seq {row.seq} is not the one that this node came to"
            self._isolate(Reason.LINEAGE_INCONSISTENT, message, row.lease, row.seq, effects)
        if self.isolation is None:
            has_lease = self.lease is not None and self.lease.is_live(now)
            self._exchange.turn(now, has_lease=has_lease, effects=effects)

    def _probe(self, state: Probed, sequencer: Sequencer, now: BoottimeNs, effects: Effects) -> None:
        signed = self.leading.begin(**state._asdict(), term=sequencer.term, now=now, wall=self._clock.wall())
        encoded = signed.encode()
        others = (name for name in self.epochs.member_ids if name != self._node_id)
        effects.sends.extend(Send(other, CONVERGENCE_CHANNEL, encoded) for other in others)
        # The node answers its own probe at once, so that its record joins the write that the probe waits for.
        self._answer(signed, Probe.decode(signed.body), sequencer, effects)

    # What the node is told.

    def on_frame(self, peer: str, payload: bytes, sequencer: Sequencer, effects: Effects) -> None:
        """Take a message of an authenticated member. Whatever does not hold is dropped and counted."""
        kind: Kind | None = None
        try:
            kind = decode_kind(payload)
            signed = Signed.decode(payload, kind)
            if signed.signer != peer:
                raise CertificateError(f"{kind.value} of `{signed.signer[:64]}` came from `{peer}`")
            if kind is Kind.ACK:
                self._take_ack(signed, sequencer, effects)
            elif kind is Kind.LEASE:
                self._take_lease(signed, payload, sequencer, effects)
            else:
                member = open_signed(signed, self.epochs.speakers, self._cluster, self._is_valid)
                self._take(signed, member, sequencer, effects)
        except (VerificationError, InputError) as error:
            self.rejected_messages += 1
            reason = Reason.QUORUM_UNVERIFIABLE
            if error.code == WRONG_EPOCH:
                reason = Reason.GOVERNANCE_DESYNCHRONIZED
            elif kind is Kind.PROBE and error.code == SignatureError.default_code:
                reason = Reason.UNSIGNED_TRANSITION
            if peer == sequencer.leader_hint and kind is not Kind.ACK and error.code != WRONG_EPOCH:
                # No honest leader asks without its signature, or shows a lease that proves nothing: it is not late but
                # wrong, and leads nobody to a certificate (test_convergence.py::test_a_lying_leader_is_replaced).
                self.distrust(peer, reason, str(error))
            else:
                self.diagnosis.set(reason, str(error))

    def _take(self, signed: Signed, member: Member, sequencer: Sequencer, effects: Effects) -> None:
        """Take a message of a member that speaks for itself."""
        if signed.kind is Kind.PROBE:
            self._answer(signed, Probe.decode(signed.body), sequencer, effects)
        elif signed.kind is Kind.EPOCH_REQUEST:
            request = EpochRequest.decode(signed.body)
            if self.isolation is None:
                self._exchange.answer(signed.signer, request, self._clock.boottime(), effects)
        elif signed.kind in (Kind.ACKED, Kind.ACKED_REQUEST):
            now = self._clock.boottime()
            self._fall_mute(self.late_store.on_message(signed, member, now, self.isolation, effects), effects)
        else:
            self._take_epochs(signed.signer, EpochsMessage.decode(signed.body), effects)

    def _take_epochs(self, peer: str, message: EpochsMessage, effects: Effects) -> None:
        before = self.epochs.certified.epoch
        for epoch, change in enumerate(message.changes, message.first):
            if epoch == self.epochs.certified.epoch + 1 and self.isolation is None:
                self._take_change(epoch, change, effects)
        if self.epochs.certified.epoch > before:
            self._exchange.asks_on(peer, self._clock.boottime(), effects)

    def _take_change(self, epoch: int, change: ProvenChange, effects: Effects) -> None:
        """Take the next change of the electorate, with its proof, whether or not this node has applied its entry."""
        seq, electorate, opened = self._judge.verify_change(epoch, change)
        if self._judge.contradicts(opened):
            self._isolate_from(opened.probe, change.lease, effects)
            return
        self._certify(self.epochs.certify_proven(seq, electorate, change), 0, effects)
        if self._machine.seq >= seq > self.certified_seq:
            self.certified_seq, self.certified_note = seq, self.epochs.certified_note

    def _answer(self, signed: Signed, probe: Probe, sequencer: Sequencer, effects: Effects) -> None:
        stopped = self.isolation is not None
        view = CosignerView(self._machine, self.epochs, self.holder, self._clock, sequencer, isolated=stopped)
        nonce = self._entropy(NONCE_BYTES)
        answer = self.cosigner.answer(signed, probe, nonce, view)
        self.clocks.learn(answer, probe, view.boottime, view.wall)
        if isinstance(answer, Answer):
            self.last_refusal = None
            self.holder.remember_nonce(nonce, view.boottime, view.wall)
            # SAFETY: serving below the acked seq ends before the ack can leave
            # (test_convergence.py::test_a_node_stops_serving_before_its_ack_leaves).
            given_up = self.holder.lease
            self.holder.stop_below(answer.seq)
            if given_up is not None and self.holder.lease is None:
                self.moving_until = self._timing.grant_end(given_up.end)
            if answer.record is not None:
                effects.batch.set_cosigner(CosignerRecord(answer.record.seq, answer.record.root))
            effects.sends.append(Send(probe.leader, CONVERGENCE_CHANNEL, answer.ack.encode()))
            # SAFETY: at that one seq only, and after the wait of every start: what the old key granted is over
            # (test_former_key.py::test_the_old_key_signs_the_change_and_nothing_else).
            if self._former is not None and self.epochs.is_former(self._former.public_key, answer.seq):
                again = self.cosigner.repeat(answer.ack, self._former)
                effects.sends.append(Send(probe.leader, CONVERGENCE_CHANNEL, again.encode()))
            return
        self.last_refusal = answer
        if probe.epoch > self.epochs.certified.epoch:
            self._exchange.ask(signed.signer, view.boottime, effects)
        if answer in (Refusal.BEHIND, Refusal.EPOCH_UNCERTIFIED):
            self._waiting_probe = (signed, probe)
        elif answer is Refusal.DIVERGENT:
            reason, message = difference(self._machine, probe)
            self.distrust(probe.leader, reason, f"leader `{probe.leader}` holds another state: {message}")
        elif answer is Refusal.LINEAGE_CHANGED:
            message = "own lineage no longer has the root that this node signed"
            self._isolate(Reason.LINEAGE_INCONSISTENT, message, signed.encode(), probe.checkpoint.seq, effects)
        elif answer is Refusal.CLOCK_AHEAD:
            self.diagnosis.set(Reason.CLOCK_UNSAFE, ahead(view.newest_time, view.wall))
        elif answer is Refusal.FOREIGN:
            self.diagnosis.set(Reason.QUORUM_UNVERIFIABLE, f"no answer to `{probe.leader}`: {probe.foreign}")

    def distrust(self, leader: str, reason: Reason, message: str) -> None:
        """Turn a deaf ear to a leader that can lead nobody to a certificate, so that the others elect a better one."""
        self.diagnosis.set(reason, message)
        self._distrusted[leader] = BoottimeNs(self._clock.boottime() + _DISTRUST_LEASES * self._timing.grant_ns)

    def is_distrusted(self, peer: str) -> bool:
        """Whether that member, as leader, has lately shown another state, or entries that no node can cosign.

        For a few leases: long enough to elect another one, and short enough for a node that is itself the odd one.
        """
        return self._clock.boottime() < self._distrusted.get(peer, 0)

    def _take_ack(self, signed: Signed, sequencer: Sequencer, effects: Effects) -> None:
        member, ack = open_ack(signed, self.epochs.speakers, self._cluster, self._is_valid)
        verify_cosignature(ack, member, self._origin, is_valid=self._is_valid)
        self.late_store.seen.keep((signed,), ack.seq)
        if not self.witness.is_consistent(member, ack, signed, effects):
            self.diagnosis.set(Reason.AUTHORITY_CONFLICT, f"`{ack.node}` has signed two roots for one seq")
        elif sequencer.is_leader:
            lease = self.leading.take(signed, ack, member, self._clock.boottime())
            if lease is not None:
                self._broadcast(lease.encode(), effects)

    def _take_lease(self, signed: Signed, payload: bytes, sequencer: Sequencer, effects: Effects) -> None:
        opened = self._judge.open(signed)
        if self._judge.contradicts(opened):
            self._isolate_from(opened.probe, payload, effects)
            return
        if opened.probe.foreign:
            raise CertificateError(f"lease is not used: {opened.probe.foreign}", code=WRONG_EPOCH)
        if opened.probe.epoch > self.epochs.certified.epoch:
            self._exchange.ask(signed.signer, self._clock.boottime(), effects)
        verified = self._judge.verify(opened)
        # SAFETY: nobody else's word brings a node back at once that was cut off while the terms rose
        # (test_term_lifts.py::test_who_was_cut_off_while_the_terms_rose_is_back_with_the_first_lease).
        sequencer.adopt_term(verified.probe.term, verified.probe.leader)
        checkpoint = verified.probe.checkpoint
        self._fall_mute(self.late_store.take_lease(opened.lease.acks, checkpoint.seq), effects)
        if checkpoint.seq == self.epochs.uncertified:
            is_own = signed.signer == self._node_id and sequencer.is_leader and sequencer.term == verified.probe.term
            row = self.epochs.certify_waiting(payload)
            self._certify(row, verified.probe.term if is_own else 0, effects)
        if checkpoint.seq == self.epochs.certified_seq and self.epochs.certified_note:
            # At the change itself only the certificate of both electorates proves anything to strangers.
            verified = msgspec.structs.replace(verified, note=self.epochs.certified_note)
        if self._machine.seq >= checkpoint.seq:
            self._compare(verified, payload, effects)
        elif self.certified_ahead is None or self.certified_ahead[0].probe.checkpoint.seq < checkpoint.seq:
            self.certified_ahead = (verified, payload)
        if self.isolation is None:
            now, wall = self._clock.boottime(), self._clock.wall()
            self.clocks.learn_from_lease(verified.probe, now, wall)
            if self.holder.accept(verified, now, wall):
                self.diagnosis.clear()

    def _isolate_from(self, probe: Probe, payload: bytes, effects: Effects) -> None:
        """A quorum certified another state than this node's own."""
        seq, (reason, message) = probe.checkpoint.seq, difference(self._machine, probe)
        self._isolate(reason, f"a quorum certified another state at seq {seq}: {message}", payload, seq, effects)

    def _certify(self, row: StoredEpoch, led_term: int, effects: Effects) -> None:
        """A change of the electorate has been certified: the members after it are in force."""
        # SAFETY: in the batch before anything that relies on it can be sent
        # (test_electorate_changes.py::test_the_certificate_is_written_before_anything_beyond_it_is_acked).
        effects.batch.add_epoch(row.epoch, row.seq, row.lease, row.records, row.leaf, row.proof)
        self.cosigner.forget_below(row.seq)
        self._on_epoch(led_term)

    def _compare(self, verified: VerifiedLease, encoded: bytes, effects: Effects) -> None:
        """Hold a certified state against this node's own."""
        probe, seq = verified.probe, verified.probe.checkpoint.seq
        if self._machine.lineage.root(seq) != probe.checkpoint.root:
            self._isolate_from(probe, encoded, effects)
        elif self.isolation is None and (seq > self.certified_seq or not self.certified_note):
            self.certified_seq, self.certified_note = seq, verified.note
            self._certified_lease = encoded

    def _fall_mute(self, forgotten: Forgotten | None, effects: Effects) -> None:
        """The store does not know all that this node's key has signed: it must sign nothing more."""
        if forgotten is not None:
            self._isolate(OLDER_THAN_OWN_SIGNATURES, forgotten.detail, forgotten.ack, forgotten.seq, effects)

    def _isolate(self, reason: str, message: str, received: bytes, seq: int, effects: Effects) -> None:
        """Stop for good, and keep what shows why (`node/isolation.py`)."""
        self.holder.drop()
        self.leading.close()
        if self.isolation is None:
            own = Own(self._machine.leaf_bytes(seq) or b"", self.certified_lease, self.late_store.own_ack)
            self.isolation = IsolationRecord(str(reason), message, own.evidence(received))
            effects.batch.set_isolation(self.isolation.reason, message, self.isolation.evidence)

    def _broadcast(self, payload: bytes, effects: Effects) -> None:
        effects.sends.extend(Send(name, CONVERGENCE_CHANNEL, payload) for name in self.epochs.member_ids)

    @property
    def certified_lease(self) -> bytes:
        """The lease message with which `certified_seq` became certified, as this node saw it first.

        At a change of the electorate that of both electorates: others prove nothing to who knows only the genesis.
        """
        rows = self.epochs.rows
        return rows[-1].lease if rows and rows[-1].seq == self.certified_seq else self._certified_lease

    @property
    def lease(self) -> HeldLease | None:
        """The lease that this node holds, live or not."""
        return self.holder.lease
