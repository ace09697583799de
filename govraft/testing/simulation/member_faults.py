"""Changes of the electorate as kinds of fault, and faults that wait for the moment at which one is being certified."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from govraft.testing.simulation.host import Host
from govraft.testing.simulation.link_faults import End
from govraft.testing.simulation.plan import Fault, stream
from govraft.testing.simulation.registrar import Registrar, Undertaking

if TYPE_CHECKING:
    from govraft.testing.simulation.world import World

__all__ = ["MemberFaults"]

_POINTS = (
    "crash_before_turn",
    "crash_before_write",
    "crash_in_write",
    "crash_after_write",
    "crash_between_sends",
    "crash_before_answers",
)


def _nothing() -> None:
    """What ends by itself."""


class MemberFaults:
    """Of one run.

    Args:
        registrar: Carries the changes out.
        strike: Told when a fault that waited for its moment begins.
        partition, start_again: As other faults do it.

    Attributes:
        starts: By kind.
    """

    def __init__(
        self,
        world: World,
        registrar: Registrar,
        strike: Callable[[Fault, tuple[str, ...], End], None],
        partition: Callable[[Fault], End | None],
        start_again: Callable[..., End],
    ) -> None:
        self._world, self._registrar = world, registrar
        self._strike, self._partition, self._start_again = strike, partition, start_again
        self.starts: dict[str, Callable[[Fault], End | None]] = {
            "observe": lambda _: self._begin(self._with_spare(registrar.observe)),
            "join": lambda _: self._begin(self._with_spare(registrar.join)),
            "promote": lambda _: self._begin(self._promotion()),
            "leave": lambda _: self._begin(registrar.leave(registrar.voter())),
            "leader_leaves": lambda _: self._begin(self._of_leader(registrar.leave)),
            "rotate": lambda _: self._begin(registrar.rotate(registrar.voter())),
            "leader_rotates": lambda _: self._begin(self._of_leader(registrar.rotate)),
            "replace": lambda _: self._begin(self._replacement()),
            "change_without": lambda _: self._begin(self._change_without()),
            "evict": lambda _: self._begin(registrar.evict(registrar.voter())),
            "grow": self._grow,
            "shrink": self._shrink,
            "two_changes": self._two_changes,
            "crash_around_change": self._crash_around,
            "cut_around_change": self._cut_around,
            "leader_dies_changing": self._leader_dies,
        }

    def _begin(self, undertaking: Undertaking | None) -> End | None:
        return _nothing if self._registrar.undertake(undertaking) else None

    def _with_spare(self, make: Callable[[str], Undertaking]) -> Undertaking | None:
        name = self._registrar.spare()
        return None if name is None else make(name)

    def _of_leader(self, make: Callable[[str], Undertaking]) -> Undertaking | None:
        leader = self._world.leader
        return None if leader is None else make(leader.name)

    def _promotion(self) -> Undertaking | None:
        name = self._registrar.observer()
        return None if name is None else self._registrar.promote(name)

    def _replacement(self) -> Undertaking | None:
        registrar = self._registrar
        by, electorate = registrar.spare(), registrar.electorate
        running = [voter.id for voter in electorate.voters if self._world.hosts[voter.id].core is not None]
        # A quorum must be left, or nobody could be put in its place.
        if by is None or len(running) - 1 < max(electorate.quorum_count, len(electorate.voters) // 2 + 1):
            return None
        return registrar.replace(running[len(running) // 2], by)

    def _change_without(self) -> Undertaking | None:
        """As many machines go for good as the others can do without, and not one more."""
        registrar = self._registrar
        electorate, running = registrar.electorate, list[str]()
        for voter in electorate.voters:
            host = self._world.hosts[voter.id]
            if host.core is not None and not host.is_paused:
                running.append(voter.id)
        spared = len(running) - electorate.quorum_count
        if not 0 < spared <= 2 or registrar.under_way:
            return None
        return registrar.without(running[-spared:], running[0])

    def _grow(self, fault: Fault) -> End | None:
        join = [lambda: self._with_spare(self._registrar.join)] * (1 + fault.salt % 4)
        return self._begin(self._registrar.in_turn(join))

    def _shrink(self, fault: Fault) -> End | None:
        leave = [lambda: self._registrar.leave(self._registrar.voter())] * (1 + fault.salt % 6)
        return self._begin(self._registrar.in_turn(leave))

    def _two_changes(self, fault: Fault) -> End | None:
        first = self._begin(self._any(fault.salt))
        return self._begin(self._any(fault.salt // 8)) if first is not None else None

    def _any(self, salt: int) -> Undertaking | None:
        registrar = self._registrar
        made: list[Callable[[], Undertaking | None]] = [
            lambda: self._with_spare(registrar.observe),
            lambda: self._with_spare(registrar.join),
            lambda: registrar.leave(registrar.voter()),
            lambda: registrar.rotate(registrar.voter()),
            lambda: self._of_leader(registrar.leave),
            self._promotion,
        ]
        return made[salt % len(made)]()

    # Faults that wait for the moment.

    def _armed(self, fault: Fault, strike: Callable[[Host], None]) -> End | None:
        """Struck when the next change has been applied somewhere; one is begun, if there is time for it."""
        self._world.on_change.append(strike)
        self._begin(self._any(fault.salt))
        return None

    def _crash_around(self, fault: Fault) -> End | None:
        """Several nodes die, each at some step of persistence, when they come to it next."""

        def strike(host: Host) -> None:
            rng = stream(fault.salt, "points")
            names = tuple(dict.fromkeys((host.name, *fault.nodes)))
            self._strike(fault, names, self._start_again(*names))
            for name in names:
                self._world.hosts[name].armed[rng.choice(_POINTS)] = rng.randrange(3)

        return self._armed(fault, strike)

    def _cut_around(self, fault: Fault) -> End | None:
        def strike(host: Host) -> None:
            del host
            end = self._partition(fault)
            if end is not None:
                self._strike(fault, fault.nodes, end)

        return self._armed(fault, strike)

    def _leader_dies(self, fault: Fault) -> End | None:
        def strike(host: Host) -> None:
            leader = self._world.leader or host
            self._strike(fault, (leader.name,), self._start_again(leader.name))
            # In the next moment: the host that noticed is in the middle of its turn.
            self._world.agenda.after(fault.salt % 20_000_000, leader.crash)

        return self._armed(fault, strike)
