"""Faults of links: cut in every shape, clogged, flapping, and bad weather."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from govraft.core.model.units import NS_PER_MS
from govraft.testing.simulation.host import Host
from govraft.testing.simulation.plan import Fault, stream

if TYPE_CHECKING:
    from govraft.testing.simulation.world import World

__all__ = ["End", "LinkFaults"]

End = Callable[[], None]


def _nothing() -> None:
    """A fault that ends by itself."""


class LinkFaults:
    """Starts faults of links; each start gives what ends it, or None if it cannot happen here.

    Args:
        strike: Told when a fault that waited for its moment begins.
        is_on: Whether a fault goes on.

    Attributes:
        starts: By kind.
    """

    def __init__(
        self,
        world: World,
        strike: Callable[[Fault, tuple[str, ...], End], None],
        is_on: Callable[[Fault], bool],
    ) -> None:
        self._world = world
        self._network, self._hosts = world.network, world.hosts
        self._strike, self._is_on = strike, is_on
        self.starts: dict[str, Callable[[Fault], End | None]] = {
            "partition": self.partition,
            "isolate_leader": self._isolate_leader,
            "isolate_after_append": self._isolate_after_append,
            "one_way": self._one_way,
            "half_deaf": lambda fault: self._block(fault, [(name, fault.nodes[0]) for name in self._others(fault)]),
            "half_mute": lambda fault: self._block(fault, [(fault.nodes[0], name) for name in self._others(fault)]),
            "bridge": self._bridge,
            "clog": self._clog,
            "swizzle": self._swizzle,
            "flap": self._flap,
            "loss": self._weather,
            "delay": self._weather,
            "duplication": self._weather,
            "reordering": self._weather,
            "late_frames": self._late_frames,
        }

    def _others(self, fault: Fault) -> tuple[str, ...]:
        return tuple(name for name in self._hosts if name not in fault.nodes)

    def _block(self, fault: Fault, pairs: list[tuple[str, str]], *, is_noticed: bool = True) -> End | None:
        if not pairs:
            return None
        self._network.block(fault.number, pairs, is_noticed=is_noticed)
        return lambda: self._network.unblock(fault.number)

    def partition(self, fault: Fault) -> End | None:
        return self._block(fault, self._network.pairs(fault.nodes, self._others(fault)))

    def isolate(self, fault: Fault, name: str) -> End | None:
        others = tuple(other for other in self._hosts if other != name)
        return self._block(fault, self._network.pairs((name,), others))

    def _isolate_leader(self, fault: Fault) -> End | None:
        leader = self._world.leader
        return None if leader is None else self.isolate(fault, leader.name)

    def _isolate_after_append(self, fault: Fault) -> End | None:
        """Armed: the next leader that appends is cut off before anybody hears of it."""

        def strike(host: Host) -> None:
            end = self.isolate(fault, host.name)
            if end is not None:
                self._strike(fault, (host.name,), end)

        self._world.on_append.append(strike)
        return None

    def _one_way(self, fault: Fault) -> End | None:
        return self._block(fault, [(fault.nodes[0], fault.nodes[-1])]) if len(fault.nodes) > 1 else None

    def _bridge(self, fault: Fault) -> End | None:
        """Two halves; one node sees both."""
        others = self._others(fault)
        return self._block(fault, self._network.pairs(fault.nodes, others[1:]))

    def _clog(self, fault: Fault) -> End | None:
        """Nobody notices; what is sent waits, and comes all at once."""
        if len(fault.nodes) < 2:
            return None
        return self._block(fault, self._network.pairs(fault.nodes[:1], fault.nodes[1:]), is_noticed=False)

    def _swizzle(self, fault: Fault) -> End | None:
        """Links of several nodes are cut one after another, and healed in another order."""
        rng = stream(fault.salt, "swizzle")
        half = max(1, fault.for_ms // 2)
        if len(self._hosts) == 1:
            return None
        for place, name in enumerate(fault.nodes):
            number = -(fault.number * 64 + place + 1)
            others = tuple(other for other in self._hosts if other != name)
            pairs = self._network.pairs((name,), others)
            self._world.agenda.after(rng.randrange(half) * NS_PER_MS, self._swizzle_cut, fault, number, pairs)
            self._world.agenda.after((half + rng.randrange(half)) * NS_PER_MS, self._network.unblock, number)

        def end() -> None:
            for place in range(len(fault.nodes)):
                self._network.unblock(-(fault.number * 64 + place + 1))

        return end

    def _swizzle_cut(self, fault: Fault, number: int, pairs: list[tuple[str, str]]) -> None:
        if self._is_on(fault):
            self._network.block(number, pairs)

    def _flap(self, fault: Fault) -> End | None:
        """Links fall and are dialled again at once; what is under way belongs to the session before."""
        if len(fault.nodes) < 2:
            return None
        links = [self._network.links[pair] for pair in self._network.pairs(fault.nodes[:1], fault.nodes[1:])]
        rng = stream(fault.salt, "flap")

        def flap() -> None:
            if self._is_on(fault):
                for link in links:
                    self._network.fall(link, rng.randint(0, 40))
                self._world.agenda.after(rng.randint(20, 200) * NS_PER_MS, flap)

        self._world.agenda.after(0, flap)
        return _nothing

    def _weather(self, fault: Fault) -> End | None:
        if len(self._hosts) == 1 or (self._network.is_stream and fault.kind in ("duplication", "reordering")):
            return None
        weather = self._network.weather
        name = {"loss": "loss", "delay": "delay_ms", "duplication": "duplication", "reordering": "reorder_ms"}
        setattr(weather, name[fault.kind], fault.amount)
        return lambda: setattr(weather, name[fault.kind], 0)

    def _late_frames(self, fault: Fault) -> End | None:
        """Frames of a session that has fallen come in after that.

        On a stream only until the next session is admitted; otherwise at any time.
        """
        if len(self._hosts) == 1:
            return None
        if not self._network.is_stream:
            weather = self._network.weather
            weather.late = fault.amount
            return lambda: setattr(weather, "late", 0)
        rng = stream(fault.salt, "late")
        links = [link for link in self._network.links.values() if rng.random() < 0.5]
        for link in links:
            link.lag_ms = fault.amount * 20
            fall_ms, redial_ms = fault.amount * 10, fault.amount * 20 + rng.randrange(200)
            self._world.agenda.after(fall_ms * NS_PER_MS, self._network.fall, link, redial_ms)

        def end() -> None:
            for link in links:
                link.lag_ms = 0

        return end
