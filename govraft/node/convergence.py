"""Convergence inside a node: probes in, acks out; acks in, leases out; leases in, permission to serve.

The rules are in `core/convergence`; this module feeds them with what the node knows (its machine, its Raft view,
its clocks) and turns what they decide into effects. It does no I/O.

Two findings make a node isolate itself, for good, with the evidence on disk: a certificate of a quorum for a seq at
which its own lineage has another root, and its own lineage no longer having the root that it signed. A minority
whose cosignatures contradict each other is proven and ignored instead: if one lying voter could isolate everybody,
it could stop every cluster at will.
"""

from __future__ import annotations

from collections.abc import Callable

from govraft.core.codec.canonical import pack
from govraft.core.convergence.certificate import (
    WRONG_EPOCH,
    IsValid,
    VerifiedLease,
    open_ack,
    open_signed,
    verify_cosignature,
    verify_lease,
)
from govraft.core.convergence.cosigner import Acked, Answer, Cosigner, Held, Refusal
from govraft.core.convergence.holder import HeldLease, Holder
from govraft.core.convergence.messages import NONCE_BYTES, Ack, Kind, Probe, Sign, Signed, decode_kind
from govraft.core.convergence.round import RoundLeader
from govraft.core.convergence.timing import LeaseTiming
from govraft.core.machine.machine import Machine
from govraft.core.model.electorate import Electorate
from govraft.core.model.reasons import Reason
from govraft.core.model.units import NS_PER_MS, BoottimeNs, WallMs
from govraft.errors import CertificateError, InputError, SignatureError
from govraft.node.effects import Effects, Send
from govraft.ports.clock import Clock
from govraft.ports.sequencer import Sequencer
from govraft.ports.store import CosignerRecord, IsolationRecord

__all__ = ["CONVERGENCE_CHANNEL", "Convergence", "Diagnosis"]

CONVERGENCE_CHANNEL = 2
HEARTBEATS_HEARD = 3
_WITNESSED_MAX = 1_024
_DISTRUST_LEASES = 3
_SECTION_REASONS = {
    "policies": Reason.POLICY_DIVERGENCE,
    "authorities": Reason.AUTHORIZATION_INCONSISTENT,
    "grants": Reason.AUTHORIZATION_INCONSISTENT,
    "electorate": Reason.AUTHORIZATION_INCONSISTENT,
    "entities": Reason.RUNTIME_STATE_FRAGMENTED,
    "boundaries": Reason.RUNTIME_STATE_FRAGMENTED,
    "attestations": Reason.ATTESTATION_DISAGREEMENT,
}


class Diagnosis:
    """Why no lease is coming, as far as this node has seen; cleared by the next lease."""

    __slots__ = ("message", "reason")

    def __init__(self) -> None:
        self.reason: Reason | None = None
        self.message = ""

    def set(self, reason: Reason, message: str) -> None:
        self.reason, self.message = reason, message

    def clear(self) -> None:
        self.reason, self.message = None, ""


class Convergence:
    """The cosigner, holder and, at times, round leader of one node."""

    def __init__(
        self,
        *,
        node_id: str,
        machine: Machine,
        timing: LeaseTiming,
        signing: Sign,
        is_valid: IsValid,
        clock: Clock,
        entropy: Callable[[int], bytes],
        cosigner_record: CosignerRecord | None,
        isolation: IsolationRecord | None,
        has_run_before: bool,
        heartbeat_ms: int,
    ) -> None:
        self._node_id = node_id
        self._machine = machine
        self._timing = timing
        self._is_valid = is_valid
        self._clock = clock
        self._entropy = entropy
        self._heartbeat_ns = heartbeat_ms * NS_PER_MS
        self._origin = machine.genesis.origin
        self._cluster = bytes.fromhex(machine.genesis.cluster_id)
        acked = None if cosigner_record is None else Acked(cosigner_record.seq, cosigner_record.root)
        self.cosigner = Cosigner(
            node_id=node_id,
            origin=self._origin,
            cluster=self._cluster,
            timing=timing,
            signing=signing,
            acked=acked,
            started=clock.boottime(),
            has_run_before=has_run_before,
        )
        self.holder = Holder(node_id=node_id, timing=timing)
        self.leading = RoundLeader(
            node_id=node_id,
            origin=self._origin,
            cluster=self._cluster,
            recent_ns=HEARTBEATS_HEARD * self._heartbeat_ns,
            signing=signing,
        )
        self.isolation = isolation
        self.diagnosis = Diagnosis()
        self.moving_until = BoottimeNs(0)
        """Until then the successor of the lease is due that the last ack of a higher seq gave up: no lease of another
        holder can delay it longer."""
        self.certified_seq = 0
        self.certified_note = b""
        self.certified_ahead: tuple[VerifiedLease, bytes] | None = None
        self.equivocators: dict[str, bytes] = {}
        self.rejected_messages = 0
        self.last_refusal: Refusal | None = None
        self._distrusted: dict[str, BoottimeNs] = {}
        self._waiting_probe: tuple[Signed, Probe] | None = None
        self._witnessed: dict[tuple[str, int], tuple[bytes, bytes]] = {}
        self._round_seq = 0
        self._round_term = -1
        self._round_at = BoottimeNs(-(10**18))

    # What the node does of itself.

    def turn(self, sequencer: Sequencer, effects: Effects) -> None:
        """Answer a probe that was waiting for this node to catch up, and probe if this node leads."""
        if self._waiting_probe is not None and self._machine.seq >= self._waiting_probe[1].checkpoint.seq:
            signed, probe = self._waiting_probe
            self._waiting_probe = None
            self._answer(signed, probe, sequencer, effects)
        if self.certified_ahead is not None and self._machine.seq >= self.certified_ahead[0].probe.checkpoint.seq:
            verified, encoded = self.certified_ahead
            self.certified_ahead = None
            self._compare(verified, encoded, effects)
        if not sequencer.is_leader or self.isolation is not None:
            self.leading.close()
            return
        now = self._clock.boottime()
        changed = (self._machine.seq, sequencer.term) != (self._round_seq, self._round_term)
        if changed or now - self._round_at >= self._heartbeat_ns:
            self._probe(sequencer, now, effects)

    def _probe(self, sequencer: Sequencer, now: BoottimeNs, effects: Effects) -> None:
        machine = self._machine
        self._round_seq, self._round_term, self._round_at = machine.seq, sequencer.term, now
        signed = self.leading.begin(
            seq=machine.seq,
            root=machine.root,
            sections=machine.sections,
            epoch=machine.epoch,
            term=sequencer.term,
            now=now,
        )
        encoded = signed.encode()
        others = (member.id for member in self._electorate.members if member.id != self._node_id)
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
            if kind is Kind.PROBE:
                open_signed(signed, self._electorate, self._cluster, self._is_valid)
                self._answer(signed, Probe.decode(signed.body), sequencer, effects)
            elif kind is Kind.ACK:
                self._take_ack(signed, sequencer, effects)
            else:
                self._take_lease(signed, payload, effects)
        except (CertificateError, InputError) as error:
            self.rejected_messages += 1
            is_unsigned = kind is Kind.PROBE and error.code == SignatureError.default_code
            reason = Reason.UNSIGNED_TRANSITION if is_unsigned else Reason.QUORUM_UNVERIFIABLE
            if peer == sequencer.leader_hint and kind is not Kind.ACK and error.code != WRONG_EPOCH:
                # No honest leader asks without its signature, or shows a lease that proves nothing: it is not late but
                # wrong, and leads nobody to a certificate (test_convergence.py::test_a_lying_leader_is_replaced).
                self.distrust(peer, reason, str(error))
            else:
                self.diagnosis.set(reason, str(error))

    def _answer(self, signed: Signed, probe: Probe, sequencer: Sequencer, effects: Effects) -> None:
        view = _View(self, sequencer)
        nonce = self._entropy(NONCE_BYTES)
        answer = self.cosigner.answer(signed, probe, nonce, view)
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
            return
        self.last_refusal = answer
        if answer is Refusal.BEHIND:
            self._waiting_probe = (signed, probe)
        elif answer is Refusal.DIVERGENT:
            reason, message = self._difference(probe)
            self.distrust(probe.leader, reason, f"leader `{probe.leader}` holds another state: {message}")
        elif answer is Refusal.LINEAGE_CHANGED:
            message = "own lineage no longer has the root that this node signed"
            self._isolate(Reason.LINEAGE_INCONSISTENT, message, signed.encode(), probe.checkpoint.seq, effects)
        elif answer is Refusal.CLOCK_AHEAD:
            self.diagnosis.set(Reason.CLOCK_UNSAFE, "the newest entry is dated ahead of this node's wall clock")

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
        ack = open_ack(signed, self._electorate, self._cluster, self._is_valid)
        verify_cosignature(ack, self._electorate, self._origin, is_valid=self._is_valid)
        if not self._is_consistent(ack, signed) or not sequencer.is_leader:
            return
        lease = self.leading.take(signed, ack, self._electorate, self._clock.boottime())
        if lease is not None:
            self._broadcast(lease.encode(), effects)

    def _take_lease(self, signed: Signed, payload: bytes, effects: Effects) -> None:
        verified = verify_lease(signed, self._electorate, self._origin, self._cluster, is_valid=self._is_valid)
        if self._machine.seq >= verified.probe.checkpoint.seq:
            self._compare(verified, payload, effects)
        elif self._is_furthest_ahead(verified):
            self.certified_ahead = (verified, payload)
        if self.isolation is None and self.holder.accept(verified, self._clock.boottime()):
            self.diagnosis.clear()

    def _is_furthest_ahead(self, verified: VerifiedLease) -> bool:
        known = self.certified_ahead
        return known is None or known[0].probe.checkpoint.seq < verified.probe.checkpoint.seq

    def _compare(self, verified: VerifiedLease, encoded: bytes, effects: Effects) -> None:
        """Hold a certified state against this node's own."""
        probe = verified.probe
        seq = probe.checkpoint.seq
        if self._machine.lineage.root(seq) != probe.checkpoint.root:
            reason, message = self._difference(probe)
            self._isolate(reason, f"a quorum certified another state at seq {seq}: {message}", encoded, seq, effects)
        elif self.isolation is None and (seq > self.certified_seq or not self.certified_note):
            self.certified_seq, self.certified_note = seq, verified.note

    def _isolate(self, reason: Reason, message: str, received: bytes, seq: int, effects: Effects) -> None:
        """Stop for good. The evidence is the message received and this node's own leaf at its seq, as exact bytes."""
        self.holder.drop()
        self.leading.close()
        if self.isolation is None:
            evidence = pack({"own_leaf": self._machine.leaf_bytes(seq) or b"", "received": received})
            self.isolation = IsolationRecord(reason.value, message, evidence)
            effects.batch.set_isolation(reason.value, message, evidence)

    def _is_consistent(self, ack: Ack, signed: Signed) -> bool:
        """Whether this voter has always signed one root a seq, as far as this node has seen."""
        key = (ack.node, ack.seq)
        encoded = signed.encode()
        seen = self._witnessed.setdefault(key, (ack.root, encoded))
        if len(self._witnessed) > _WITNESSED_MAX:
            del self._witnessed[next(iter(self._witnessed))]
        if seen[0] != ack.root:
            self.equivocators.setdefault(ack.node, seen[1] + encoded)
            self.diagnosis.set(Reason.AUTHORITY_CONFLICT, f"`{ack.node}` signed two roots for seq {ack.seq}")
        return ack.node not in self.equivocators

    def _difference(self, probe: Probe) -> tuple[Reason, str]:
        """Name the first section that differs from this node's own."""
        own = self._machine.leaf(probe.checkpoint.seq)
        if own is None:
            return Reason.LINEAGE_INCONSISTENT, "the lineage differs"
        # A command that did something else here also left another trace in `audit`: what it governs says more.
        names = own.sections.keys() | probe.sections.keys()
        for name in sorted(names, key=lambda name: (name not in _SECTION_REASONS, name)):
            if own.sections.get(name) != probe.sections.get(name):
                return _SECTION_REASONS.get(name, Reason.LINEAGE_INCONSISTENT), f"section `{name}` differs"
        return Reason.LINEAGE_INCONSISTENT, "the sections agree, the lineage differs"

    def _broadcast(self, payload: bytes, effects: Effects) -> None:
        for member in self._electorate.members:
            effects.sends.append(Send(member.id, CONVERGENCE_CHANNEL, payload))

    @property
    def _electorate(self) -> Electorate:
        return self._machine.electorate

    @property
    def lease(self) -> HeldLease | None:
        """The lease that this node holds, live or not."""
        return self.holder.lease


class _View:
    """What the cosigner sees of this node; both clocks are read once, when the view is made."""

    def __init__(self, convergence: Convergence, sequencer: Sequencer) -> None:
        machine = convergence._machine  # noqa: SLF001 - the view is part of this module
        self._machine = machine
        self.boottime: BoottimeNs = convergence._clock.boottime()  # noqa: SLF001
        self.wall: WallMs = convergence._clock.wall()  # noqa: SLF001
        self.leader_hint = sequencer.leader_hint
        self.term = sequencer.term
        self.electorate = machine.electorate
        self.applied = machine.seq
        self.newest_time = machine.time
        self.isolated = convergence.isolation is not None

    def held(self, seq: int) -> Held | None:
        leaf = self._machine.leaf(seq)
        return None if leaf is None else Held(self._machine.lineage.root(seq), leaf.sections)

    def root(self, seq: int) -> bytes:
        return self._machine.lineage.root(seq)
