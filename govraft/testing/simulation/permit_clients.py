"""Clients that want permits, carry them away, and show some of them to two nodes at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from govraft.core.evidence.permit_file import envelope_in
from govraft.core.model.request import Request
from govraft.core.model.units import NS_PER_MS
from govraft.errors import GovraftError
from govraft.node.authorization import Authorization, Denied, Granted
from govraft.testing.simulation.commands import NOT_AFTER, REQUEST_ACTION, REQUEST_RESOURCE
from govraft.testing.simulation.host import Host
from govraft.testing.simulation.plan import PermitWish, Submission

if TYPE_CHECKING:
    from govraft.testing.simulation.clients import Clients
    from govraft.testing.simulation.world import World

__all__ = ["PermitClients"]

COLLECT_MS = 1_500
PATIENCE_MS = 5_000


class PermitClients:
    """Of one run.

    Attributes:
        granted: How many permits left a node.
    """

    def __init__(self, world: World, clients: Clients) -> None:
        self._world, self._clients = world, clients
        self._is_closed = False
        self.granted = 0

    def begin(self) -> None:
        """Put the plan on the agenda."""
        for wish in self._world.plan.permits:
            self._world.agenda.after(wish.at_ms * NS_PER_MS, self._ask, wish)

    def close(self) -> None:
        """Want nothing more."""
        self._is_closed = True

    def _ask(self, wish: PermitWish) -> None:
        host = self._world.hosts[wish.node]
        if self._is_closed or host.is_paused:
            return
        request = Request(wish.target, REQUEST_ACTION, REQUEST_RESOURCE)
        asked = Authorization(request, ttl_ms=wish.ttl_ms, single_use=wish.is_single_use)
        host.authorize(asked, COLLECT_MS, lambda answer: self._told(wish, host, answer))

    def _told(self, wish: PermitWish, host: Host, answer: Granted | Denied) -> None:
        core = host.core
        # As `node/authorizing.py`: what does not hold any more when it is about to leave, does not leave.
        if isinstance(answer, Denied) or core is None or not core.permits.still_holds(answer):
            return
        self.granted += 1
        self._world.watcher.permits.leaves(host, answer)
        self._world.trace.note(self._world.now, f"permit {answer.statement.seq}", host.name, answer.file)
        if wish.is_single_use and self._world.plan.configuration.real_keys:
            for number, node in enumerate(wish.shown_to):
                self._redeem(self._world.hosts[node], answer, f"redeem-{self.granted}-{number}")

    def _redeem(self, host: Host, granted: Granted, command_id: str) -> None:
        if host.core is None or self._is_closed:
            return
        permit = envelope_in(granted.file)
        try:
            envelope = host.core.permits.sign_redemption(permit, command_id=command_id, not_after=NOT_AFTER)
        except GovraftError:
            return  # That node is no member.
        item = Submission(0, host.name, "permit.redeem", "", command_id, PATIENCE_MS)
        # Not from within the turn of the node that gives the permit.
        self._world.agenda.after(NS_PER_MS, self._clients.hand_in, item, envelope)
