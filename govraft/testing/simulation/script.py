"""What an adversary in the place of Raft does: it names leaders, splits, lets the last one usurp, and forks a log."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

from govraft.testing.simulation.adversary import Adversary
from govraft.testing.simulation.link_faults import End
from govraft.testing.simulation.plan import Fault
from govraft.testing.simulation.schemes import Schemes

if TYPE_CHECKING:
    from govraft.testing.simulation.world import World

__all__ = ["Script"]


def _nothing() -> None:
    """An act that stays as it is until the next one."""


class Script:
    """The adversary's acts, as kinds of fault.

    Attributes:
        starts: By kind.
    """

    def __init__(
        self,
        world: World,
        adversary: Adversary,
        strike: Callable[[Fault, tuple[str, ...], End], None],
        partition: Callable[[Fault], End | None],
    ) -> None:
        self._world, self._adversary, self._partition = world, adversary, partition
        self._part: End = _nothing
        self._schemes = Schemes(world, adversary, strike, self._make_whole)
        acts = {"reign": self._reign, "split": self._split, "usurp": self._usurp, "fork": self._fork}
        self.starts: dict[str, Callable[[Fault], End | None]] = {
            kind: functools.partial(self._act, act) for kind, act in acts.items()
        }
        self.starts |= self._schemes.starts

    def _act(self, act: Callable[[Fault], End | None], fault: Fault) -> End | None:
        return None if self._schemes.is_under_way else act(fault)

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

    def _make_whole(self) -> None:
        self._part()
        self._part = _nothing

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
