"""Acts of an adversary that need several steps, each at its moment.

An act struck at random rarely meets a node that serves, and a lease arithmetic that is a little too generous shows for
a few milliseconds only. So a scheme first brings the cluster to where a missing rule would matter, then strikes there:

=================  ====================================================================================================
scheme             the cluster is brought to, and then
=================  ====================================================================================================
`amnesia`          one node serves; it is cut off, all who granted that are restarted, and move on
`late_lease`       one node has just acked, and its ack passes; the leases that answer it come to it late, when the
                   others have moved on and their grants are nearly over
`slow_holder`      one node serves under a grant as young as its nonce, its clock as slow and all others' as fast as
                   is permitted; it is cut off, and the others move on in the moment in which their grants are over
`careless_leader`  one node serves; it is cut off, and a leader that does not wait for it makes leases for the others
=================  ====================================================================================================

While a scheme is under way the adversary's other acts wait for another time. Faults of links, clocks and processes do
not: a scheme whose moment does not come is given up, and has not happened.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from govraft.core.model.units import NS_PER_MS, BoottimeNs
from govraft.node.core import NodeCore
from govraft.testing.simulation.adversary import Adversary
from govraft.testing.simulation.link_faults import End
from govraft.testing.simulation.plan import Fault, stream

if TYPE_CHECKING:
    from govraft.testing.simulation.world import World

__all__ = ["Schemes"]

LOOK_EVERY_MS = 5
WAITED_LEASES = 1.5
"""How long a scheme waits for its moment: a restarted voter acks nothing for a lease."""
HOLD_PLACE = 63
"""Of the numbers under which a fault may close links, the one for leases on their way."""
RESTLESS_TERMS = 6


class Schemes:
    """Of one run.

    Args:
        strike: Told when the moment has come.
        part: Ends whatever partition an earlier act left.

    Attributes:
        starts: By kind.
    """

    def __init__(
        self,
        world: World,
        adversary: Adversary,
        strike: Callable[[Fault, tuple[str, ...], End], None],
        part: Callable[[], None],
    ) -> None:
        self._world, self._adversary = world, adversary
        self._network, self._hosts = world.network, world.hosts
        self._strike, self._part = strike, part
        self._configuration = world.plan.configuration
        self._under_way: int | None = None
        self._leader = ""
        self.starts: dict[str, Callable[[Fault], None]] = {
            "amnesia": self._amnesia,
            "late_lease": self._late_lease,
            "slow_holder": self._slow_holder,
            "careless_leader": self._careless_leader,
        }

    @property
    def is_under_way(self) -> bool:
        """Whether the adversary is busy."""
        return self._under_way is not None

    # Steps.

    def _begin(self, fault: Fault, leader: str) -> bool:
        """One leader for everybody, all at one new seq; False if nothing can come of it."""
        electorate = self._world.cast.genesis.electorate()
        if self.is_under_way or len(electorate.voters) == electorate.quorum_count:
            return False
        self._part()
        self._under_way, self._leader = fault.number, leader
        # What clients propose would take the nodes past the seq at which the moment is to come.
        self._adversary.quiet = frozenset(self._hosts)
        self._adversary.commit(b"unreadable, of fault %d" % fault.number, 0)
        self._adversary.advance(*self._hosts)
        self._reign(leader, *self._hosts)
        return True

    def _is_on(self, fault: Fault) -> bool:
        return self._under_way == fault.number and not self._adversary.is_honest

    def _give_up(self, fault: Fault) -> None:
        if self._under_way == fault.number:
            self._under_way = None
            self._adversary.quiet = frozenset()

    def _struck(self, fault: Fault, more: End | None = None) -> None:
        """Cut links are whole again when the fault ends."""

        def end() -> None:
            if more is not None:
                more()
            self._network.unblock(fault.number)
            self._network.unblock(_hold_number(fault))
            self._give_up(fault)

        self._strike(fault, fault.nodes[:1], end)

    def _reign(self, leader: str, *believers: str) -> None:
        self._adversary.lead(leader, *[name for name in believers if name != leader])

    def _after(self, ms: float, fault: Fault, step: Callable[[], object]) -> None:
        """Do something later, if the scheme is still under way by then."""

        def take() -> None:
            if self._is_on(fault):
                step()

        self._world.agenda.after(int(ms * NS_PER_MS), take)

    def _once_serving(self, fault: Fault, step: Callable[[], None]) -> None:
        """As soon as the victim could allow at the newest seq; or give up."""
        deadline = self._world.now + int(WAITED_LEASES * self._configuration.lease_ms * NS_PER_MS)

        def look() -> None:
            core = self._hosts[fault.nodes[0]].core
            lease = None if core is None else core.gate.standing().lease
            if lease is not None and not self._hosts[fault.nodes[0]].is_paused:
                step()
            elif self._world.now < deadline:
                self._after(LOOK_EVERY_MS, fault, look)
            else:
                self._give_up(fault)

        look()

    def _move_on(self, fault: Fault) -> str:
        """All but the victim go one seq further, under a leader that has not lately heard of the victim's nonces."""
        rest = self._rest(fault)
        leader = self._successor(fault)
        # A victim that leads stays quiet: what it proposed would end its own lease.
        self._adversary.quiet = frozenset(fault.nodes[:1])
        self._adversary.commit(b"unreadable, of fault %d, later" % fault.number, 0)
        self._adversary.advance(*rest)
        self._reign(leader, *rest)
        return leader

    def _successor(self, fault: Fault) -> str:
        return next(name for name in self._rest(fault) if name != self._leader)

    def _cut_off(self, fault: Fault, *, but: tuple[tuple[str, str], ...] = ()) -> None:
        pairs = self._network.pairs(fault.nodes[:1], self._rest(fault))
        self._network.block(fault.number, [pair for pair in pairs if pair not in but])

    def _rest(self, fault: Fault) -> tuple[str, ...]:
        return tuple(name for name in self._hosts if name != fault.nodes[0])

    def _restless(self, fault: Fault, first_ms: float, gap_ms: float, count: int, *names: str) -> None:
        """A leader that begins term after term probes each time: hardly any time lies between a nonce and its grant."""
        for place in range(count):
            self._after(first_ms + place * gap_ms, fault, lambda: self._reign(*names))

    def _trip_ms(self) -> float:
        """What a frame takes at most, in good weather."""
        return self._configuration.delay_us[1] / 1_000

    # Schemes.

    def _amnesia(self, fault: Fault) -> None:
        """At times the victim itself leads until then."""
        if self._begin(fault, fault.nodes[fault.salt % 2]):
            self._once_serving(fault, lambda: self._forget(fault))

    def _forget(self, fault: Fault) -> None:
        self._struck(fault)
        self._cut_off(fault)
        for name, host in self._hosts.items():
            if name != fault.nodes[0] and not host.is_paused and host.core is not None:
                host.crash(lands=fault.salt % 4 < 2)
                host.start()
        self._move_on(fault)

    def _late_lease(self, fault: Fault) -> None:
        victim, leader = fault.nodes
        if self._begin(fault, leader):
            self._world.on_sign[victim] = lambda: self._hold_leases(fault, victim, leader)
            self._after(WAITED_LEASES * self._configuration.lease_ms, fault, lambda: self._give_up_signing(fault))

    def _give_up_signing(self, fault: Fault) -> None:
        if self._world.on_sign.pop(fault.nodes[0], None) is not None:
            self._give_up(fault)

    def _hold_leases(self, fault: Fault, victim: str, leader: str) -> None:
        """What the leader sends to the victim waits from now on, so that the victim falls silent after this ack."""
        if not self._is_on(fault):
            return
        rng, lease_ms, heartbeat_ms = stream(fault.salt, "late"), self._configuration.lease_ms, self._heartbeat_ms
        self._struck(fault)
        self._network.block(_hold_number(fault), [(leader, victim)], is_noticed=False)
        # The ack is written, then sent; a term that begins after that grants its nonce at once.
        arrived_ms = self._configuration.write_us[1] / 1_000 + 3 * self._trip_ms()
        self._after(arrived_ms, fault, lambda: self._reign(leader, *self._hosts))
        moves_on_ms = arrived_ms + heartbeat_ms * rng.uniform(0.6, 2.2)
        self._after(moves_on_ms, fault, lambda: self._cut_off(fault, but=((leader, victim),)))
        self._after(moves_on_ms, fault, lambda: self._move_on(fault))
        late_ms = max(moves_on_ms, lease_ms * rng.uniform(0.4, 1.0))
        self._after(late_ms, fault, lambda: self._network.unblock(_hold_number(fault)))

    def _slow_holder(self, fault: Fault) -> None:
        victim, leader = fault.nodes[0], fault.nodes[fault.salt % 2]
        if not self._begin(fault, leader):
            return
        middle, drift = self._configuration.wall_rate, self._configuration.drift_ppm / 1_000_000
        for name, host in self._hosts.items():
            host.clock.set_rate(middle * (1 - drift if name == victim else 1 + drift))
        self._once_serving(fault, lambda: self._hurry(fault, leader))

    def _hurry(self, fault: Fault, leader: str) -> None:
        rng, gap_ms = stream(fault.salt, "slow"), 3 * self._trip_ms() + 1
        count = rng.randint(2, RESTLESS_TERMS)
        self._restless(fault, 0, gap_ms, count, leader, *self._hosts)
        wait_ms = count * gap_ms + rng.uniform(1.0, 3.0) * self._trip_ms()
        self._after(wait_ms, fault, lambda: self._once_serving(fault, lambda: self._race(fault, gap_ms)))

    def _race(self, fault: Fault, gap_ms: float) -> None:
        """Grants of the fast clocks are over before the lease of the slow one only if nobody allowed for that."""
        self._struck(fault)
        self._cut_off(fault)
        rest, lease_ms, drift = self._rest(fault), self._configuration.lease_ms, self._configuration.drift_ppm / 1e6
        successor = self._move_on(fault)
        # From when a grant of L(1-ρ) would be over for the fast until a lease of L(1+ρ) would be for the slow.
        first_ms, last_ms = lease_ms * (1 - drift) / (1 + drift), lease_ms * (1 + drift) / (1 - drift)
        gap_ms = max(gap_ms, self._heartbeat_ms / 5)
        self._restless(fault, first_ms, gap_ms, int((last_ms - first_ms) / gap_ms), successor, *rest)

    def _careless_leader(self, fault: Fault) -> None:
        if self._begin(fault, fault.nodes[fault.salt % 2]):
            self._once_serving(fault, lambda: self._hasten(fault))

    def _hasten(self, fault: Fault) -> None:
        leader = self._successor(fault)
        core = self._hosts[leader].core
        if core is None:
            self._give_up(fault)
            return
        restore = _make_careless(core)
        self._world.careless.add(leader)

        def end() -> None:
            restore()
            self._world.careless.discard(leader)

        self._struck(fault, end)
        self._cut_off(fault)
        self._move_on(fault)

    @property
    def _heartbeat_ms(self) -> int:
        return self._configuration.heartbeat_ms


def _make_careless(core: NodeCore) -> End:
    """Let a node's leader complete rounds without waiting for outstanding holders, until told otherwise."""
    leading: Any = core.convergence.leading
    honest = leading._evidence  # noqa: SLF001 - no honest node offers to lie

    def evidence(opened: Any, now: BoottimeNs) -> Any:
        acks = opened.acks
        opened.acks = {
            node: (signed, msgspec.structs.replace(ack, outstanding=())) for node, (signed, ack) in acks.items()
        }
        try:
            return honest(opened, now)
        finally:
            opened.acks = acks

    def restore() -> None:
        leading._evidence = honest  # noqa: SLF001 - as above

    leading._evidence = evidence  # noqa: SLF001 - as above
    return restore


def _hold_number(fault: Fault) -> int:
    return -(fault.number * 64 + HOLD_PLACE + 1)
