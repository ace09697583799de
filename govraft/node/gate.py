"""The gate: allow if and only if every rule holds; otherwise deny with exactly one reason.

====  ==================================================================  ======================================
rule  allow only if                                                       otherwise
====  ==================================================================  ======================================
0     the node is a member under its own key                              `revoked`
0     the node is not isolated                                            the finding, or `node_isolated`
1     a lease is held and live, before *and after* evaluation             `lease_expired`, or what is known of why
3     the lease's leader and term are the node's own Raft view            `leader_unconfirmed`
5     boot and wall clock have moved alike since the lease began          `clock_unsafe`
2     own seq, root and sections are the certified ones                   `synchronizing`, `governance_…`, `…`
4     no entry is known committed above that seq                          `synchronizing`
6     nothing the request touches is quarantined or revoked, node too     `quarantined`, `revoked`
7     Cedar says Allow and reports no error                               `policy_denied`, `policy_error`, …
8     its permits' conditions and all boundaries hold, rates have room    `grant_missing`, …, `boundary_exceeded`
====  ==================================================================  ======================================

Rules 2 and 4 heal by themselves within a round trip: for them alone the caller may wait and ask again.

Source: protocol, "The gate".
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from govraft.core.convergence.holder import HeldLease
from govraft.core.convergence.timing import LeaseTiming
from govraft.core.decision.evaluator import evaluate
from govraft.core.decision.finding import Finding
from govraft.core.decision.policy_shelf import PolicyShelf
from govraft.core.machine.machine import Machine
from govraft.core.model.ids import ROOT_DOMAIN
from govraft.core.model.reasons import Reason
from govraft.core.model.request import Request
from govraft.core.model.rules import explain_unknown_rules
from govraft.core.model.units import NS_PER_MS, BoottimeNs
from govraft.core.model.verdict import Allow, Deny, Verdict
from govraft.node.convergence import Convergence
from govraft.node.rates import Rates
from govraft.node.wall_clocks import seconds
from govraft.ports.clock import Clock
from govraft.ports.sequencer import Sequencer

__all__ = ["Gate", "Standing"]

_REASONS = frozenset(item.value for item in Reason)
_JUMP_LEASES = 10


class Standing(msgspec.Struct, frozen=True):
    """Whether this node may answer *allow* at all, now.

    Attributes:
        lease: The lease to answer under; None if it may not.
        reason, message: Why not.
    """

    lease: HeldLease | None
    reason: Reason = Reason.INTERNAL_ERROR
    message: str = ""

    @property
    def may_pass(self) -> bool:
        """Whether waiting for the next certificate may help: only rule 2 or 4 fails."""
        return self.lease is None and self.reason.passing


class Gate:
    """Answers requests from the state of one node."""

    def __init__(
        self,
        *,
        node_id: str,
        life: str,
        machine: Machine,
        convergence: Convergence,
        sequencer: Sequencer,
        clock: Clock,
        timing: LeaseTiming,
        reachable: Callable[[], int],
    ) -> None:
        self._node_id = node_id
        self._life = life
        self._machine = machine
        self._convergence = convergence
        self._sequencer = sequencer
        self._clock = clock
        self._timing = timing
        self._reachable = reachable
        self._shelf = PolicyShelf()
        self._rates = Rates(
            node_id=node_id, electorate=machine.electorate, drift_ppm=timing.drift_ppm, now=clock.boottime()
        )
        self._decisions = 0
        self.decided_at = clock.wall()
        """WallMs at which the last verdict was decided: an audit evaluates it again at that time."""
        self.allow_expires: int | None = None
        """WallMs until which at most the last allow can hold, whatever lease or permit carries it on; None: no end."""
        self.allow_is_counted = False
        """Whether the last allow used up some of a rate, so that nothing may carry it on to be used again."""

    def prepare(self) -> None:
        """Compile the active policies now, while nobody waits: compiling takes the time that a lease runs."""
        self._shelf.of(self._machine, ROOT_DOMAIN)

    def standing(self, at_least: int = 0) -> Standing:
        """Rules 0 to 5."""
        convergence, sequencer = self._convergence, self._sequencer
        # SAFETY: whoever was removed, or whose key was changed, stops with the entry that says so, certified or not
        # (test_electorate_changes.py::test_a_removed_node_denies_at_once).
        if convergence.epochs.absence:
            return Standing(None, Reason.REVOKED, convergence.epochs.absence)
        if convergence.isolation is not None:
            record = convergence.isolation
            reason = Reason(record.reason) if record.reason in _REASONS else Reason.NODE_ISOLATED
            return Standing(None, reason, f"node is isolated: {record.detail}")
        # SAFETY: what was committed since cannot be known here (test_unknown_rules.py::test_a_node_denies).
        if not self._machine.knows_rules:
            return Standing(None, Reason.NODE_STARTING, explain_unknown_rules(self._machine.rules))
        lease, now = convergence.lease, self._clock.boottime()
        if lease is None or not lease.is_live(now):
            return self._without_lease()
        if lease.leader != sequencer.leader_hint or lease.term != sequencer.term:
            return Standing(None, Reason.LEADER_UNCONFIRMED, "the leader that certified this state is not confirmed")
        return self._jumped(lease, now) or self._synchrony(lease, at_least)

    def _jumped(self, lease: HeldLease, now: BoottimeNs) -> Standing | None:
        """Whether the wall clock was set, or the machine paused, since the lease began."""
        jumped_ms = lease.jumped_ms(now, self._clock.wall())
        if abs(jumped_ms) <= self._timing.skew_ms:
            return None
        message = f"wall and boot clock have moved apart: the wall clock jumped by {seconds(jumped_ms)}"
        return Standing(None, Reason.CLOCK_UNSAFE, message)

    def _synchrony(self, lease: HeldLease, at_least: int) -> Standing:
        machine = self._machine
        if machine.seq < lease.seq:
            message = f"this node holds seq {machine.seq}, certified is {lease.seq}"
            return Standing(None, Reason.GOVERNANCE_DESYNCHRONIZED, message)
        if machine.seq > lease.seq or self._sequencer.has_unapplied:
            return Standing(None, Reason.SYNCHRONIZING, f"the state after seq {lease.seq} is not yet certified")
        if lease.seq < at_least:
            return Standing(None, Reason.SYNCHRONIZING, f"certified is seq {lease.seq}, asked for at least {at_least}")
        # SAFETY: the state that answers is the certified one, byte for byte
        # (test_gate.py::test_a_state_that_differs_from_the_certified_one_denies).
        if machine.root != lease.root or dict(machine.sections) != lease.sections:
            return Standing(None, Reason.LINEAGE_INCONSISTENT, f"own state at seq {lease.seq} is not the certified one")
        return Standing(lease)

    def _without_lease(self) -> Standing:
        """Name the best-known cause of having no live lease."""
        convergence, now = self._convergence, self._clock.boottime()
        if not convergence.cosigner.is_ready(now):
            return Standing(None, Reason.NODE_STARTING, "waiting until grants of an earlier life are over")
        if convergence.late_store.waits_for:
            return Standing(None, Reason.NODE_STARTING, convergence.late_store.waits_for)
        apart = convergence.clocks.apart(now)
        if apart:
            return Standing(None, Reason.CLOCK_UNSAFE, apart)
        diagnosis, last = convergence.diagnosis, convergence.lease
        if diagnosis.reason is not None:
            return Standing(None, diagnosis.reason, diagnosis.message)
        # Nobody tells a leader that its clock is wrong: it only gets no answers. Later it may be the clocks' rates.
        if last is not None and now - last.end < _JUMP_LEASES * self._timing.grant_ns:
            jumped = self._jumped(last, now)
            if jumped is not None:
                return jumped
        if convergence.lease is None and now < convergence.moving_until:
            message = "the last lease was given up for a newer state, which is not yet certified"
            return Standing(None, Reason.SYNCHRONIZING, message)
        electorate = self._machine.electorate
        reached = self._reachable()
        if reached < electorate.quorum_count:
            message = f"reaches {reached} of {electorate.quorum_count} voters that make a quorum"
            return Standing(None, Reason.PARTITION_AMBIGUOUS, message)
        if convergence.certified_ahead is not None:
            ahead = convergence.certified_ahead[0].probe.checkpoint.seq
            message = f"this node holds seq {self._machine.seq}, certified is {ahead}"
            return Standing(None, Reason.GOVERNANCE_DESYNCHRONIZED, message)
        if self._sequencer.leader_hint is None:
            return Standing(None, Reason.LEADER_UNCONFIRMED, "no leader is known")
        if convergence.lease is None and not convergence.certified_note:
            return Standing(None, Reason.NODE_STARTING, "no certificate has arrived yet")
        return Standing(None, Reason.LEASE_EXPIRED, "the last lease is over and no new certificate has arrived")

    def check(self, request: Request, *, at_least: int = 0) -> Verdict | None:
        """Answer, or None if waiting for the next certificate may change the answer."""
        self.decided_at = self._clock.wall()
        standing = self.standing(at_least)
        if standing.lease is None:
            return None if standing.may_pass else self._deny(standing.reason, standing.message)
        # SAFETY: what fails while deciding denies this one request; it neither allows, nor keeps the others waiting
        # (test_gate.py::test_a_failure_while_deciding_denies).
        try:
            return self._decide(request, standing.lease, at_least)
        except Exception as error:  # noqa: BLE001 - fail closed, whatever the policy engine does
            message = f"the node failed to decide: {type(error).__name__}"
            return self._deny(Reason.INTERNAL_ERROR, message, standing.lease)

    def evaluate(self, request: Request, *, node_id: str, wall: int) -> Finding:
        """What the state of this node says of a request that another node answers at that WallMs. No verdict."""
        return evaluate(self._machine, self._shelf, request, node_id=node_id, wall=wall)

    def deny_waiting(self, at_least: int) -> Deny:
        """What to answer when waiting took too long."""
        self.decided_at = self._clock.wall()
        standing = self.standing(at_least)
        if standing.lease is not None:
            return self._deny(Reason.SYNCHRONIZING, "the next certificate came too late for this request")
        return self._deny(standing.reason, standing.message)

    def _decide(self, request: Request, lease: HeldLease, at_least: int) -> Verdict:
        # The boot clock first: what ends at a wall time then ends rather too early than too late.
        began = self._clock.boottime()
        wall = self.decided_at = self._clock.wall()
        finding = evaluate(self._machine, self._shelf, request, node_id=self._node_id, wall=wall)
        if finding.reason is not None:
            return self._deny(finding.reason, finding.message, lease, list(finding.policies), list(finding.errors))
        # SAFETY: evaluation takes time, in which the lease may end
        # (test_gate.py::test_a_lease_that_ends_during_evaluation_denies).
        after = self.standing(at_least)
        if after.lease is None:
            # SAFETY: no state is named: with one, some of the node's reasons would be taken for one of the request's
            # (test_gate.py::test_what_the_node_finds_during_evaluation_names_no_state).
            return self._deny(after.reason, after.message)
        end, self.allow_expires, self.allow_is_counted = after.lease.end, finding.expires, bool(finding.charges)
        if finding.expires is not None:
            # SAFETY: an allow does not outlive what it rests on
            # (test_gate_conditions.py::test_an_allow_ends_with_the_grant_that_it_rests_on).
            left_ms = finding.expires - max(wall, self._machine.time)
            end = min(end, BoottimeNs(began + left_ms * NS_PER_MS))
        now = self._clock.boottime()
        if now >= end:
            return self._deny(Reason.LEASE_EXPIRED, "what allowed it ended while it was decided", lease)
        full = self._rates.take(finding.charges, self._machine.electorate, now)
        if full is not None:
            message = self._rates.explain(full, now)
            return self._deny(Reason.BOUNDARY_EXCEEDED, message, lease, list(finding.policies))
        return Allow(
            seq=lease.seq,
            state_root=self._machine.state_root.hex(),
            valid_until=end,
            policies=list(finding.policies),
            decision=self._decision_id(),
            node=self._node_id,
        )

    def _decision_id(self) -> str:
        self._decisions += 1
        return f"{self._node_id}-{self._life}-{self._decisions}"

    def _deny(
        self,
        reason: Reason,
        message: str,
        lease: HeldLease | None = None,
        policies: list[str] | None = None,
        errors: list[str] | None = None,
    ) -> Deny:
        return Deny(
            reason=reason,
            message=message,
            seq=lease.seq if lease is not None else 0,
            state_root=self._machine.state_root.hex() if lease is not None else "",
            policies=policies or [],
            errors=errors or [],
            decision=self._decision_id(),
            node=self._node_id,
        )
