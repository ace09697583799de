"""The cosigner of permits: another node asks for this voter's signature.

A voter signs a statement only if all of this holds; otherwise it answers with a signed denial:

1. The statement is canonical, of this cluster and the current epoch, and of exactly the request that came with it.
2. `issued` is within the clock skew of its own wall clock. (How long it may live, reading it has checked.)
3. Its own gate allows the request: it holds a live lease, on exactly the statement's seq, and its own evaluation on
   its own state says so.
4. State root and policies are its own.
5. `not_after` is no later than what the request's allow rests on: a grant, an attestation, the window of a boundary.

A statement that runs ahead of this node waits a little: the node that asks is often the first to hold a certificate.
"""

from __future__ import annotations

from typing import NamedTuple

from govraft.core.codec.canonical import pack, unpack_json
from govraft.core.convergence.timing import LeaseTiming
from govraft.core.evidence.statements import PermitStatement, context_digest, request_digest
from govraft.core.machine.machine import Machine
from govraft.core.model import limits
from govraft.core.model.reasons import Reason
from govraft.core.model.request import Request
from govraft.core.model.units import NS_PER_MS, BoottimeNs
from govraft.core.model.verdict import Allow, Deny
from govraft.errors import DecodeError
from govraft.node.effects import Effects, Send
from govraft.node.gate import Gate
from govraft.node.member_signing import Signer
from govraft.ports.clock import Clock

__all__ = ["PERMIT_CHANNEL", "PermitCosigner"]

PERMIT_CHANNEL = 5
_HELD_NS = 300 * NS_PER_MS


class _Held(NamedTuple):
    """A statement that speaks of a state which this node does not serve yet."""

    peer: str
    statement: PermitStatement
    request: Request
    until: BoottimeNs


class PermitCosigner:
    """Judges statements of other nodes."""

    def __init__(
        self, *, node_id: str, machine: Machine, gate: Gate, clock: Clock, timing: LeaseTiming, signer: Signer
    ) -> None:
        self._node_id = node_id
        self._machine = machine
        self._gate = gate
        self._clock = clock
        self._timing = timing
        self._signer = signer
        self._held: dict[tuple[str, str], _Held] = {}

    def take(self, peer: str, statement: bytes, context: bytes, effects: Effects) -> None:
        """Judge a statement, now or when this node has caught up.

        Args:
            peer: Who asks.
            statement: Payload of the permit.
            context: The request's context, canonical JSON.
            effects: Take the answer.

        Raises:
            InputError: It is no statement for this node.
        """
        asked = PermitStatement.decode(statement)
        request = Request(asked.principal, asked.action, asked.resource, _context(context))
        if asked.cluster != self._machine.cluster_id:
            raise DecodeError("the permit is of another cluster")
        # SAFETY: what is evaluated is what is signed (test_cosigning.py::test_a_context_of_another_digest_is_refused).
        if (request_digest(request), context_digest(request.context)) != (asked.request_digest, asked.context_digest):
            raise DecodeError("the permit's digests are not those of its request")
        member = self._signer.member
        if member is None or not member.voter:
            return
        held = _Held(peer, asked, request, BoottimeNs(self._clock.boottime() + _HELD_NS))
        if not self._judge(held, effects) and len(self._held) < limits.AUTHORIZATIONS_HELD:
            self._held[peer, asked.permit] = held

    def turn(self, effects: Effects) -> None:
        """Judge what was waiting."""
        if not self._held:
            return
        now = self._clock.boottime()
        for key, held in list(self._held.items()):
            if self._judge(held, effects, is_last=now >= held.until):
                del self._held[key]

    def _judge(self, held: _Held, effects: Effects, *, is_last: bool = False) -> bool:
        """Answer a statement if it can be answered; whether it was."""
        asked = held.statement
        # SAFETY: nobody back-dates or post-dates a permit with this node's signature
        # (test_cosigning.py::test_a_statement_of_another_time_is_refused).
        if abs(asked.issued - self._clock.wall()) > self._timing.skew_ms:
            self._refuse(held, Reason.CLOCK_UNSAFE, "the permit's time is not that of this node's clock", effects)
            return True
        verdict = self._gate.check(held.request, at_least=asked.seq)
        if verdict is None and not is_last:
            return False
        if verdict is None:
            verdict = self._gate.deny_waiting(asked.seq)
        if isinstance(verdict, Deny):
            self._answer(held, verdict, effects)
        else:
            self._sign(held, verdict, effects)
        return True

    def _sign(self, held: _Held, allow: Allow, effects: Effects) -> None:
        asked, end = held.statement, self._gate.allow_expires
        # SAFETY: one seq, one epoch: a quorum that signs has held leases on one and the same state
        # (test_cosigning.py::test_only_the_own_seq_is_signed).
        if (asked.epoch, asked.seq) != (self._machine.epoch, allow.seq):
            self._refuse(held, Reason.SYNCHRONIZING, f"this node serves seq {allow.seq}", effects)
        elif asked.state_root != allow.state_root:
            message = f"this node holds another state at seq {allow.seq}"
            self._refuse(held, Reason.LINEAGE_INCONSISTENT, message, effects, allow)
        elif list(asked.policies) != sorted(allow.policies):
            message = "this node allows it by other policies"
            self._refuse(held, Reason.AUTHORIZATION_INCONSISTENT, message, effects, allow)
        # SAFETY: whoever asks may not have shortened it
        # (test_permit_ends.py::test_no_voter_signs_one_that_outlives_its_grant).
        elif end is not None and asked.not_after > end:
            # No contradiction: at the edge of a window two clocks may well see another end.
            self._refuse(held, Reason.LEASE_EXPIRED, "the permit would outlive what allows it", effects)
        # SAFETY: a permit that can be shown again and again would evade the rate
        # (test_permit_ends.py::test_what_a_rate_limits_takes_a_single_use_permit).
        elif self._gate.allow_is_counted and not asked.single_use:
            self._refuse(held, Reason.BOUNDARY_EXCEEDED, "what a rate limits takes a single-use permit", effects)
        else:
            answer = {"permit": asked.permit, "signature": self._signer.sign_permit(asked)}
            effects.sends.append(Send(held.peer, PERMIT_CHANNEL, pack(answer)))

    def _refuse(self, held: _Held, reason: Reason, message: str, effects: Effects, allow: Allow | None = None) -> None:
        seq, root = (0, "") if allow is None else (allow.seq, allow.state_root)
        decision = "" if allow is None else allow.decision
        deny = Deny(reason, message, seq=seq, state_root=root, decision=decision, node=self._node_id)
        self._answer(held, deny, effects)

    def _answer(self, held: _Held, deny: Deny, effects: Effects) -> None:
        denial = self._signer.sign_denial(held.request, deny, permit=held.statement.permit)
        if denial is not None:
            answer = {"denial": denial, "permit": held.statement.permit}
            effects.sends.append(Send(held.peer, PERMIT_CHANNEL, pack(answer)))


def _context(data: bytes) -> dict[str, object]:
    value = unpack_json(data, max_bytes=limits.FRAME_BYTES)
    if not isinstance(value, dict):
        raise DecodeError("the context of a request must be a json object")
    return value
