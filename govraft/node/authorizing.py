"""Permits and signed answers for the clients of this host: waits, records, and looks once more before it answers."""

from __future__ import annotations

import asyncio
from typing import Protocol

from govraft.core.evidence.permit import permit_statement
from govraft.core.model.reasons import Reason
from govraft.core.model.request import Request
from govraft.core.model.units import NS_PER_MS, BoottimeNs
from govraft.core.model.verdict import Allow, Deny, Verdict
from govraft.errors import InputError, VerificationError
from govraft.node.authorization import Authorization, Denied, Granted
from govraft.node.core import NodeCore
from govraft.ports.clock import Clock

__all__ = ["Authorizer", "Runtime"]

_GRACE_S = 1.0
_REDEEM_VALID_MS = 60_000


class Runtime(Protocol):
    """The part of `NodeRuntime` that is needed here."""

    @property
    def core(self) -> NodeCore: ...
    @property
    def is_halted(self) -> bool: ...
    def wake(self) -> None: ...
    def keep(
        self, request: Request, verdict: Verdict, *, time: int, began: BoottimeNs
    ) -> Verdict | asyncio.Future[Verdict]:
        """Have a decision recorded; see `DecisionKeeper.keep`."""
        ...


class Authorizer:
    """Brings clients their permits."""

    def __init__(self, runtime: Runtime, clock: Clock, node_id: str) -> None:
        self._runtime = runtime
        self._clock = clock
        self._node_id = node_id

    async def authorize(self, asked: Authorization, timeout_s: float) -> Granted | Denied:
        """Collect signatures, and have the decision recorded before anything of it leaves.

        Raises:
            InputError: As `Permits.authorize`.
            AvailabilityError: Too many are being collected.
        """
        began = self._clock.boottime()
        deadline = began + int(timeout_s * 1000) * NS_PER_MS
        while True:
            left_ms = max(1, (deadline - self._clock.boottime()) // NS_PER_MS)
            answer = await self._collect(asked, left_ms)
            kept = await self._kept(asked.request, answer, began)
            # SAFETY: recording takes time, in which the agent may be revoked
            # (test_authorizing.py::test_a_permit_that_was_recorded_too_late_does_not_leave).
            if isinstance(kept, Denied) or self._still_holds(kept):
                return kept
            if self._clock.boottime() >= deadline:
                message = "the state changed while the permit was recorded; ask again"
                return self._denied(asked.request, Deny(Reason.SYNCHRONIZING, message, node=self._node_id))

    async def _collect(self, asked: Authorization, timeout_ms: int) -> Granted | Denied:
        if self._runtime.is_halted:
            return Denied(Deny(Reason.NODE_UNREACHABLE, "the node has halted", node=self._node_id), None)
        future: asyncio.Future[Granted | Denied] = asyncio.get_running_loop().create_future()

        def done(answer: Granted | Denied) -> None:
            if not future.done():
                future.set_result(answer)

        give_up = self._runtime.core.permits.authorize(asked, timeout_ms, done)
        self._runtime.wake()
        try:
            return await asyncio.wait_for(future, timeout_ms / 1000 + _GRACE_S)
        except TimeoutError:
            message = "the node did not decide in time"
            return self._denied(asked.request, Deny(Reason.INTERNAL_ERROR, message, node=self._node_id))
        finally:
            give_up()

    async def _kept(self, request: Request, answer: Granted | Denied, began: BoottimeNs) -> Granted | Denied:
        """The answer once it is recorded; a denial in place of what cannot be."""
        if isinstance(answer, Denied):
            self._runtime.keep(request, answer.deny, time=self._clock.wall(), began=began)
            return answer
        statement = answer.statement
        allow = Allow(
            seq=statement.seq,
            state_root=statement.state_root,
            valid_until=0,
            policies=list(statement.policies),
            decision=statement.decision,
            node=self._node_id,
        )
        kept = self._runtime.keep(request, allow, time=statement.issued, began=began)
        verdict = await kept if isinstance(kept, asyncio.Future) else kept
        return self._denied(request, verdict) if isinstance(verdict, Deny) else answer

    def _still_holds(self, granted: Granted) -> bool:
        return not self._runtime.is_halted and self._runtime.core.permits.still_holds(granted)

    def _denied(self, request: Request, deny: Deny) -> Denied:
        return self._runtime.core.permits.deny(request, deny)

    def sign(self, request: Request, verdict: Verdict) -> bytes:
        """The file of a signed denial; empty for an allow, and from a node that is no member."""
        if isinstance(verdict, Allow):
            return b""
        return self._denied(request, verdict).file or b""

    def redeem_envelope(self, permit: bytes, command_id: str) -> bytes:
        """The command, signed by this node, that uses up a permit.

        Raises:
            InputError: It is no permit for a single use, or this node is no member.
        """
        try:
            statement = permit_statement(permit)
        except VerificationError as error:
            raise InputError(str(error), code=error.code) from error
        if not statement.single_use:
            message = "the permit is not for a single use: it need not be redeemed"
            raise InputError(message, code="permit_void")
        not_after = self._clock.wall() + _REDEEM_VALID_MS
        return self._runtime.core.permits.sign_redemption(permit, command_id=command_id, not_after=not_after)
