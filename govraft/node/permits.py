"""Portable permits: this node collects the signatures of a quorum for one request of a client.

state        event                                          then
-----------  ---------------------------------------------  --------------------------------------------------------
waiting      the gate cannot answer yet                     waiting: ask again in a moment
             the gate denies                                a signed denial; over
             the gate allows                                the statement goes to all voters; collecting
collecting   signatures of a quorum, own standing unchanged  the permit; over
             a voter contradicts on the same state          denied, `authorization_inconsistent`; kept; over
             too many refuse, are silent, or seq moves on   waiting, with a fresh statement next
any          the client's time is over                      a signed denial; over

What a voter sends counts only if it is signed: its share by the statement, its refusal as a denial. A refusal at the
statement's seq and state is held against this node's own evaluation for that node and time. If it explains itself (that
node is quarantined, a grant has just run out) it is one signature less; if not, nodes that agree on the state disagree
on what it permits, and then nothing is permitted.

Source: protocol, "The gate".
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Callable
from typing import Any

from govraft.core.codec.canonical import pack, pack_json, unpack
from govraft.core.codec.envelope import pae
from govraft.core.convergence.certificate import IsValid
from govraft.core.convergence.holder import HeldLease
from govraft.core.convergence.messages import Sign
from govraft.core.convergence.timing import LeaseTiming
from govraft.core.evidence.chain import exact_note
from govraft.core.evidence.denial import contradicted_by, encode_denial_file, verify_denial
from govraft.core.evidence.permit_file import encode_permit_file
from govraft.core.evidence.sealed import seal_statement
from govraft.core.evidence.statements import (
    PERMIT_TYPE,
    DenialStatement,
    PermitStatement,
    canonical_request,
    context_digest,
    request_digest,
)
from govraft.core.machine.machine import Machine
from govraft.core.model import limits
from govraft.core.model.commands import PermitRedeem
from govraft.core.model.reasons import Reason
from govraft.core.model.request import Request
from govraft.core.model.units import NS_PER_MS, BoottimeNs
from govraft.core.model.verdict import Allow, Deny
from govraft.errors import AvailabilityError, DecodeError, InputError, VerificationError
from govraft.node.authorization import Attempt, Authorization, Contradiction, Denied, Done, Granted, Pending
from govraft.node.convergence import Convergence
from govraft.node.cosigning import PERMIT_CHANNEL, PermitCosigner
from govraft.node.effects import Effects, Send
from govraft.node.gate import Gate
from govraft.node.member_signing import Signer
from govraft.ports.clock import Clock

__all__ = ["Permits"]

_RETRY_NS = 20 * NS_PER_MS
_ATTEMPT_NS = 500 * NS_PER_MS
_BEGUN_PER_TURN = 16
_DECIDING_MS = 50
"""A denial is dated when it is signed, at most so long after it was decided."""


class Permits:
    """What clients of this node want permits for, and what other nodes want signed."""

    def __init__(
        self,
        *,
        node_id: str,
        machine: Machine,
        convergence: Convergence,
        gate: Gate,
        clock: Clock,
        timing: LeaseTiming,
        public_key: bytes,
        signing: Sign,
        is_valid: IsValid,
        links: Callable[[], list[dict[str, Any]]],
    ) -> None:
        """Begin with nothing pending.

        Args:
            node_id: This node.
            machine: Its state.
            convergence: Is told of contradictions and malformed messages.
            gate: Decides, for this node.
            clock: Of this node.
            timing: From genesis.
            public_key: Of this node.
            signing: Signs with its key.
            is_valid: Checks a signature.
            links: The links from the genesis to the current epoch, as evidence files carry them.
        """
        self._node_id = node_id
        self._machine = machine
        self._convergence = convergence
        self._gate = gate
        self._clock = clock
        self._timing = timing
        self._signer = Signer(node_id=node_id, public_key=public_key, machine=machine, clock=clock, signing=signing)
        self._is_valid = is_valid
        self._links = links
        self._cosigner = PermitCosigner(
            node_id=node_id, machine=machine, gate=gate, clock=clock, timing=timing, signer=self._signer
        )
        self._pending: list[Pending] = []
        self.contradictions: deque[Contradiction] = deque(maxlen=limits.EVIDENCE_KEPT)
        self.contradicted = 0
        """How many authorizations were denied because nodes disagreed."""

    # What clients want.

    def authorize(self, asked: Authorization, timeout_ms: int, done: Done) -> Callable[[], None]:
        """Begin to collect signatures.

        Args:
            asked: What for.
            timeout_ms: After that the client is denied.
            done: Called once, never before this returns.

        Returns:
            Gives it up.

        Raises:
            InputError: A life that no permit has, or an audience that cannot be named.
            AvailabilityError: Too many are pending.
        """
        if not limits.PERMIT_LEAST_MS <= asked.ttl_ms <= limits.PERMIT_MS:
            message = f"a permit lives {limits.PERMIT_LEAST_MS} to {limits.PERMIT_MS} ms, not {asked.ttl_ms}"
            raise InputError(message, code="ttl_invalid")
        if asked.audience is not None and not 0 < len(asked.audience) <= limits.NAME_CHARS:
            raise InputError(f"an audience has 1 to {limits.NAME_CHARS} characters", code="audience_invalid")
        if len(self._pending) >= limits.AUTHORIZATIONS:
            raise AvailabilityError("too many permits are being collected; try again", code="queue_full")
        now = self._clock.boottime()
        pending = Pending(asked, BoottimeNs(now + timeout_ms * NS_PER_MS), done, now)
        self._pending.append(pending)
        return lambda: self._drop(pending)

    def deny(self, request: Request, deny: Deny) -> Denied:
        """A denial of this node's gate, signed."""
        envelope = self._signer.sign_denial(request, deny)
        return Denied(deny, None if envelope is None else encode_denial_file(envelope, links=self._links()))

    def sign_redemption(self, permit: bytes, *, command_id: str, not_after: int) -> bytes:
        """The command, signed by this node, that uses up a permit.

        Raises:
            InputError: This node is no member.
        """
        command = PermitRedeem(
            cluster=self._machine.cluster_id,
            command_id=command_id,
            not_after=not_after,
            node=self._node_id,
            permit=base64.b64encode(permit).decode("ascii"),
        )
        return self._signer.sign_command(command)

    def still_holds(self, granted: Granted) -> bool:
        """Whether this node still serves the state of a permit. Asked just before the permit leaves it."""
        return self._lease_of(granted.statement) is not None

    # What happens.

    def on_frame(self, peer: str, payload: bytes, effects: Effects) -> None:
        """Take a statement to be signed, or what became of one. Whatever does not hold is dropped and counted."""
        try:
            fields = unpack(payload, max_bytes=limits.FRAME_BYTES)
            shape = {name: type(value) for name, value in fields.items()} if isinstance(fields, dict) else {}
            if shape == {"context": bytes, "statement": bytes}:
                self._cosigner.take(peer, fields["statement"], fields["context"], effects)
            elif shape == {"permit": str, "signature": bytes}:
                self._take_share(peer, fields["permit"], fields["signature"])
            elif shape == {"denial": bytes, "permit": str}:
                self._take_refusal(peer, fields["permit"], fields["denial"])
            else:
                raise DecodeError("no message about a permit has such fields")
        except (InputError, VerificationError):
            self._convergence.rejected_messages += 1

    def turn(self, effects: Effects) -> None:
        """Begin, finish and give up what it is time for."""
        self._cosigner.turn(effects)
        now, begun = self._clock.boottime(), 0
        for pending in list(self._pending):
            attempt = pending.attempt
            if attempt is not None and attempt.is_complete:
                self._finish(pending, attempt)
            elif now >= pending.deadline:
                self._give_up(pending)
            elif attempt is not None:
                if now >= attempt.until or attempt.is_hopeless or self._lease_of(attempt.statement) is None:
                    self._try_later(pending, now)
            elif now >= pending.next_try and begun < _BEGUN_PER_TURN:
                begun += 1
                self._begin(pending, now, effects)

    def _begin(self, pending: Pending, now: BoottimeNs, effects: Effects) -> None:
        try:
            request = canonical_request(pending.asked.request)
        except InputError as error:
            self._answer(pending, Deny(Reason.REQUEST_INVALID, str(error), node=self._node_id))
            return
        verdict = self._gate.check(request, at_least=pending.asked.at_least)
        if verdict is None:
            pending.next_try = BoottimeNs(now + _RETRY_NS)
        elif isinstance(verdict, Deny):
            self._answer(pending, verdict)
        else:
            self._ask(pending, request, verdict, effects)

    def _ask(self, pending: Pending, request: Request, allow: Allow, effects: Effects) -> None:
        issued, end = self._clock.wall(), self._gate.allow_expires
        if self._gate.allow_is_counted and not pending.asked.single_use:
            why = "a boundary limits how often it may be done, so ask for a single-use permit"
            deny = Deny(Reason.BOUNDARY_EXCEEDED, why, seq=allow.seq, state_root=allow.state_root, node=self._node_id)
            self._answer(pending, deny)
            return
        # SAFETY: no permit outlives the grant, attestation or window that it rests on
        # (test_permit_ends.py::test_a_permit_does_not_outlive_what_it_rests_on).
        life_ms = pending.asked.ttl_ms if end is None else min(pending.asked.ttl_ms, end - issued)
        if life_ms < limits.PERMIT_LEAST_MS:
            why = f"what allows it ends in less than {limits.PERMIT_LEAST_MS} ms, the least that a permit lives"
            deny = Deny(Reason.LEASE_EXPIRED, why, seq=allow.seq, state_root=allow.state_root, node=self._node_id)
            self._answer(pending, deny)
            return
        statement = self._statement(pending.asked, request, allow, issued=issued, life_ms=life_ms)
        message = pae(PERMIT_TYPE, statement.encode())
        electorate = self._machine.electorate
        until = BoottimeNs(self._clock.boottime() + _ATTEMPT_NS)
        attempt = pending.attempt = pending.last = Attempt(statement, message, electorate, until)
        member = self._signer.member
        if member is not None and member.voter:
            attempt.signatures[member.public_key] = self._signer.sign_permit(statement)
        frame = pack({"context": pack_json(request.context), "statement": statement.encode()})
        others = (voter.id for voter in electorate.voters if voter.id != self._node_id)
        effects.sends.extend(Send(other, PERMIT_CHANNEL, frame) for other in others)
        if attempt.is_complete:
            self._finish(pending, attempt)

    def _statement(
        self, asked: Authorization, request: Request, allow: Allow, *, issued: int, life_ms: int
    ) -> PermitStatement:
        return PermitStatement.make(
            cluster=self._machine.cluster_id,
            epoch=self._machine.epoch,
            seq=allow.seq,
            state_root=allow.state_root,
            decision=allow.decision,
            principal=request.principal,
            action=request.action,
            resource=request.resource,
            context_digest=context_digest(request.context),
            request_digest=request_digest(request),
            policies=tuple(sorted(set(allow.policies))),
            issued=issued,
            not_after=issued + life_ms,
            single_use=asked.single_use,
            audience=asked.audience,
        )

    # What voters answer.

    def _find(self, permit: str) -> tuple[Pending, Attempt] | None:
        for pending in self._pending:
            if pending.attempt is not None and pending.attempt.statement.permit == permit:
                return pending, pending.attempt
        return None

    def _take_share(self, peer: str, permit: str, signature: bytes) -> None:
        found = self._find(permit)
        if found is None:
            return
        pending, attempt = found
        voter = attempt.electorate.find(peer)
        # SAFETY: only a voter's own signature of this very statement counts, once
        # (test_permits_collecting.py::test_a_forged_share_does_not_count).
        if voter is None or not voter.voter or not self._is_valid(voter.public_key, signature, attempt.message):
            raise DecodeError(f"`{peer}` sent no signature of a voter")
        attempt.signatures[voter.public_key] = signature
        if attempt.is_complete:
            self._finish(pending, attempt)

    def _take_refusal(self, peer: str, permit: str, denial: bytes) -> None:
        found = self._find(permit)
        if found is None:
            return
        pending, attempt = found
        statement = verify_denial(denial, attempt.electorate, self._machine.cluster_id, is_valid=self._is_valid)
        if statement.node != peer or statement.permit != permit:
            raise DecodeError(f"`{peer}` sent a refusal of something else")
        attempt.refusals[peer] = statement
        if self._is_contradiction(pending.asked.request, attempt.statement, statement):
            self._note_contradiction(peer, attempt, denial)
            reason, message = Reason.AUTHORIZATION_INCONSISTENT, contradicted_by(peer)
            deny = Deny(reason, message, seq=statement.seq, state_root=statement.state_root, node=self._node_id)
            self._answer(pending, deny)

    def _is_contradiction(self, request: Request, permit: PermitStatement, denial: DenialStatement) -> bool:
        """Whether the denial cannot be explained from the state that both nodes say they hold."""
        if (denial.seq, denial.state_root) != (permit.seq, permit.state_root):
            return False
        if denial.reason.is_about_node(denial.seq) or self._lease_of(permit) is None:
            return False
        # A node whose clock is off may find what has run out still valid, and the other way round: no disagreement.
        if abs(denial.time - permit.issued) > self._timing.skew_ms + _ATTEMPT_NS // NS_PER_MS:
            return False
        # In between a window may have opened, or a disagreement run out.
        walls = (denial.time, denial.time - _DECIDING_MS)
        findings = [self._gate.evaluate(request, node_id=denial.node, wall=wall) for wall in walls]
        # SAFETY: nodes that agree on the state and not on the verdict permit nothing
        # (test_permits_collecting.py::test_a_voter_that_disagrees_on_one_state_denies_all).
        return not any(finding.explains(denial.reason) for finding in findings)

    def _note_contradiction(self, peer: str, attempt: Attempt, denial: bytes) -> None:
        self.contradicted += 1
        member = self._signer.member
        share = {} if member is None else {member.public_key: self._signer.sign_permit(attempt.statement)}
        permit = seal_statement(PERMIT_TYPE, attempt.statement, share)
        self.contradictions.append(Contradiction(peer, permit, denial))
        message = f"`{peer}` decided otherwise on the same state, seq {attempt.statement.seq}"
        self._convergence.diagnosis.set(Reason.AUTHORIZATION_INCONSISTENT, message)

    # How it ends.

    def _lease_of(self, statement: PermitStatement) -> HeldLease | None:
        """The live lease on exactly the statement's state, if this node holds it."""
        lease = self._gate.standing().lease
        if lease is None or (lease.seq, self._machine.epoch) != (statement.seq, statement.epoch):
            return None
        return lease

    def _finish(self, pending: Pending, attempt: Attempt) -> None:
        statement = attempt.statement
        lease = self._lease_of(statement)
        leaf = self._machine.leaf_bytes(statement.seq)
        # SAFETY: what was revoked meanwhile leaves no permit behind
        # (test_permits_collecting.py::test_the_last_share_finds_a_node_without_its_lease).
        if lease is None or leaf is None:
            self._try_later(pending, self._clock.boottime())
            return
        file = encode_permit_file(
            seal_statement(PERMIT_TYPE, statement, attempt.signatures),
            leaf=leaf,
            proof=self._machine.lineage.inclusion_proof(statement.seq - 1, statement.seq),
            certificate=exact_note(lease.note, (attempt.electorate,), self._machine.genesis.origin),
            links=self._links(),
        )
        self._drop(pending)
        pending.done(Granted(file, statement))

    def _try_later(self, pending: Pending, now: BoottimeNs) -> None:
        pending.attempt, pending.next_try = None, BoottimeNs(now + _RETRY_NS)

    def _give_up(self, pending: Pending) -> None:
        standing, last = self._gate.standing(pending.asked.at_least), pending.last
        if standing.lease is None or last is None:
            self._answer(pending, self._gate.deny_waiting(pending.asked.at_least))
            return
        signed, needed = len(last.signatures), last.electorate.quorum_count
        refusals = "".join(f"; {node}: {item.reason.value}" for node, item in sorted(last.refusals.items()))
        message = f"{signed} of {needed} voters signed in time{refusals}"
        root = self._machine.state_root.hex()
        deny = Deny(Reason.QUORUM_UNVERIFIABLE, message, seq=standing.lease.seq, state_root=root, node=self._node_id)
        self._answer(pending, deny)

    def _answer(self, pending: Pending, deny: Deny) -> None:
        self._drop(pending)
        pending.done(self.deny(pending.asked.request, deny))

    def _drop(self, pending: Pending) -> None:
        if pending in self._pending:
            self._pending.remove(pending)
