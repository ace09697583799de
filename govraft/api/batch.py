"""Many requests decided as one: a few a turn of the loop, and all of them still true when they leave."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from govraft.api.decisions import Decisions
from govraft.api.socket_office import Office
from govraft.core.model.reasons import Reason
from govraft.core.model.verdict import Allow, Deny, Verdict

__all__ = ["Batch"]

REDECISIONS = 2


class Batch:
    """One `check_many` of one client."""

    def __init__(
        self, decisions: Decisions, office: Office, requests: Sequence[msgspec.Raw], *, at_least: int, explain: bool
    ) -> None:
        self._decisions = decisions
        self._office = office
        self._requests = requests
        self._at_least = at_least
        self._explain = explain

    async def decide(self) -> list[Verdict]:
        """The verdicts, in the order of the requests. What is returned must be sent in the same turn of the loop."""
        verdicts = await self._decide(self._requests)
        for _ in range(REDECISIONS):
            stale = self._stale(verdicts)
            if not stale:
                break
            again = await self._decide([self._requests[place] for place in stale])
            for place, verdict in zip(stale, again, strict=True):
                verdicts[place] = verdict
        # SAFETY: deciding a batch takes many turns of the loop. What leaves is what the node would say at this moment
        # (test_socket_server.py::test_a_batch_holds_no_allow_that_the_node_no_longer_gives).
        for place in self._stale(verdicts):
            message = "the state changed while the batch was decided; ask again"
            verdicts[place] = Deny(Reason.SYNCHRONIZING, message, node=self._office.node)
        return verdicts

    def _stale(self, verdicts: Sequence[Verdict]) -> list[int]:
        """Places of the allows that the node does not give any more."""
        holds = self._office.service.holds
        return [place for place, verdict in enumerate(verdicts) if isinstance(verdict, Allow) and not holds(verdict)]

    async def _decide(self, requests: Sequence[msgspec.Raw]) -> list[Verdict]:
        verdicts: list[Verdict | asyncio.Future[Verdict]] = []
        try:
            for index, request in enumerate(requests, start=1):
                verdicts.append(self._decisions.decide(request, self._at_least, explain=self._explain))
                if index % self._office.limits.turn_calls == 0:
                    await asyncio.sleep(0)
            waiting = [verdict for verdict in verdicts if isinstance(verdict, asyncio.Future)]
            if waiting:
                await asyncio.wait(waiting)
        finally:
            for verdict in verdicts:
                if isinstance(verdict, asyncio.Future):
                    verdict.cancel()
        settle = self._decisions.settle
        return [settle(verdict) if isinstance(verdict, asyncio.Future) else verdict for verdict in verdicts]
