"""What an adversary in the place of Raft does: it names leaders, splits, lets the last one usurp, and forks a log."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from govraft.testing.simulation.adversary import Adversary
from govraft.testing.simulation.plan import Fault

if TYPE_CHECKING:
    from govraft.testing.simulation.world import World

__all__ = ["Script"]

End = Callable[[], None]


def _nothing() -> None:
    """An act that stays as it is until the next one."""


class Script:
    """The adversary's acts, as kinds of fault.

    Attributes:
        starts: By kind.
    """

    def __init__(self, world: World, adversary: Adversary, partition: Callable[[Fault], End | None]) -> None:
        self._world, self._adversary, self._partition = world, adversary, partition
        self._part: End = _nothing
        self.starts: dict[str, Callable[[Fault], End | None]] = {
            "reign": self._reign,
            "split": self._split,
            "usurp": self._usurp,
            "amnesia": self._amnesia,
            "fork": self._fork,
        }

    def _reign(self, fault: Fault) -> End:
        """One leader, for all who are named and at times for everybody; all at one seq."""
        self._part()
        names = fault.nodes if fault.salt % 3 else (*fault.nodes, *self._rest(fault))
        self._adversary.advance(*names)
        self._adversary.lead(*names)
        return _nothing

    def _split(self, fault: Fault) -> End | None:
        """Some are cut off with what they believe; the others move on, or the other way round."""
        end = self._cut(fault)
        for number in range(1 + fault.salt % 2):
            self._adversary.commit(b"unreadable %d of fault %d" % (number, fault.number), 0)
        movers = fault.nodes if fault.salt % 4 < 2 else self._rest(fault)
        if movers:
            self._adversary.advance(*movers)
            self._adversary.lead(*movers)
        return end

    def _cut(self, fault: Fault) -> End | None:
        """Only the latest act's partition stands: with several on top of each other nothing would ever be certified."""
        self._part()
        end = self._partition(fault)
        self._part = _nothing if end is None else end
        return end

    def _usurp(self, fault: Fault) -> End | None:
        """Whoever is furthest behind leads some others."""
        self._part()
        last = self._adversary.furthest_behind()
        if last is None:
            return None
        self._adversary.lead(last, *[name for name in fault.nodes if name != last])
        return self._cut(fault) if fault.salt % 2 else _nothing

    def _amnesia(self, fault: Fault) -> End | None:
        """One is cut off with the lease it holds; all who granted it are restarted, remember nothing, and move on."""
        end = self._cut(fault)
        rest = self._rest(fault)
        for name in rest:
            host = self._world.hosts[name]
            if not host.is_paused and host.core is not None:
                host.crash(lands=fault.salt % 2 == 0)
                host.start()
        self._adversary.commit(b"unreadable, of fault %d" % fault.number, 0)
        self._adversary.advance(*rest)
        self._adversary.lead(*rest)
        return end

    def _fork(self, fault: Fault) -> End | None:
        """From now on one node is given the other log. Never more than the cluster can spare."""
        distrusted, name = self._world.distrusted, fault.nodes[0]
        electorate = self._world.cast.genesis.electorate()
        is_spare = len(electorate.voters) > electorate.quorum_count
        if not is_spare or (distrusted and name not in distrusted):
            return None
        distrusted.add(name)
        view = self._adversary.views[name]
        view.log = 1 - view.log
        return _nothing

    def _rest(self, fault: Fault) -> tuple[str, ...]:
        return tuple(name for name in self._world.cast.names if name not in fault.nodes)
