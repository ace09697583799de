"""Commands at the wrong node, and too many of them: what a script that is in a hurry does to a cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from govraft.core.model.units import NS_PER_MS
from govraft.testing.simulation.clients import Clients
from govraft.testing.simulation.link_faults import End
from govraft.testing.simulation.plan import Fault, Submission, stream

if TYPE_CHECKING:
    from govraft.testing.simulation.world import World

__all__ = ["CommandFaults"]

_PATIENCE_MS = 4_000


class CommandFaults:
    """Of one run.

    Args:
        clients: Hand the commands in, and write down what they learn.
        isolate: Cuts off one node.

    Attributes:
        starts: By kind.
    """

    def __init__(self, world: World, clients: Clients, isolate: Callable[[Fault, str], End | None]) -> None:
        self._world, self._clients, self._isolate = world, clients, isolate
        self.starts: dict[str, Callable[[Fault], End | None]] = {
            "cut_off_submit": self._cut_off_submit,
            "flood": self._flood,
        }

    def _cut_off_submit(self, fault: Fault) -> End | None:
        """A mark is made, one node cut off, the mark ended by the others; then that node is asked to make it again."""
        cut = fault.nodes[0]
        others = [name for name in self._world.hosts if name != cut]
        if not others:
            return None
        lease_ms = self._world.plan.configuration.lease_ms
        other = stream(fault.salt, "other").choice(others)
        target, ends = f'Agent::"cut-{fault.number}"', list[End]()
        self._hand_in(fault, other, "quarantine", target, "mark")

        over: list[bool] = []

        def isolate() -> None:
            end = self._isolate(fault, cut)
            ends.extend([] if end is None else [end])

        def unless_over(step: Callable[[], None]) -> None:
            # All is healed before the run is judged: nothing of this begins after that.
            if not over:
                step()

        steps: list[tuple[float, Callable[[], None]]] = [
            (0.7, isolate),
            (0.8, lambda: self._hand_in(fault, other, "release", target, "free")),
            (1.0, lambda: self._hand_in(fault, cut, "quarantine", target, "early")),
            (2.4, lambda: self._hand_in(fault, cut, "quarantine", target, "again")),
            (2.5, lambda: self._hand_in(fault, cut, "release", target, "late")),
        ]
        for leases, step in steps:
            if leases * lease_ms < fault.for_ms:
                self._world.agenda.after(int(leases * lease_ms) * NS_PER_MS, unless_over, step)

        def end() -> None:
            over.append(True)
            while ends:
                ends.pop()()

        return end

    def _flood(self, fault: Fault) -> End | None:
        """Many commands at once, at a few nodes."""
        for number in range(fault.amount):
            name = fault.nodes[number % len(fault.nodes)]
            self._hand_in(fault, name, "put", f'Agent::"flood-{number}"', str(number))
        return lambda: None

    def _hand_in(self, fault: Fault, node: str, kind: str, target: str, label: str) -> None:
        command_id = f"{fault.kind}-{fault.number}-{label}"
        item = Submission(0, node, kind, target, command_id, _PATIENCE_MS)
        self._clients.hand_in(item, self._clients.book.envelope(command_id, kind, target))
