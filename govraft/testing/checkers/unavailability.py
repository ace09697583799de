"""How long nodes did not allow because of faults: a report, not a judgement.

For each fault two numbers, both of the node that fared worst:

- `bystanders_ns`: the longest time from the fault's start until its end in which a node that was *not* hit did not
  allow. What a fault elsewhere costs those who ask their own, healthy node.
- `recovery_ns`: from the fault's end until a node that was hit allows again. None if it never did in this run.

A node allows at the moments at which it was seen to: an allow in a client's hand, or a state that says so. The numbers
are therefore never below the time between two questions. Moments outside of the fault count as its edges.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from itertools import pairwise
from statistics import median

import msgspec

from govraft.testing.checkers.run import Run
from govraft.testing.history import Event, FaultStarted

__all__ = ["FaultEffect", "KindEffect", "effects", "unavailability"]


class FaultEffect(msgspec.Struct, frozen=True):
    """What one fault did. `ended` is the end of the run for a fault that lasted."""

    fault: int
    kind: str
    nodes: tuple[str, ...]
    started: int
    ended: int
    bystanders_ns: int
    recovery_ns: int | None


class KindEffect(msgspec.Struct, frozen=True):
    """What the faults of one kind did. `unrecovered` counts those after which a node that was hit never allowed."""

    kind: str
    count: int
    bystanders_median_ns: int
    bystanders_worst_ns: int
    recovery_median_ns: int
    recovery_worst_ns: int
    unrecovered: int


def effects(events: Iterable[Event]) -> list[FaultEffect]:
    """The effect of each fault, in the order in which they started."""
    run = Run.of(events)
    allowing = _allowing(run)
    ended = {item.fault: item.at for item in run.ended}
    return [_effect(item, ended.get(item.fault, run.ended_at), allowing) for item in run.started]


def unavailability(events: Iterable[Event]) -> list[KindEffect]:
    """The table by kind of fault, in the order of the kinds' names."""
    kinds: dict[str, list[FaultEffect]] = {}
    for effect in effects(events):
        kinds.setdefault(effect.kind, []).append(effect)
    table = []
    for kind, found in sorted(kinds.items()):
        bystanders = [item.bystanders_ns for item in found]
        recovery = [item.recovery_ns for item in found if item.recovery_ns is not None]
        table.append(
            KindEffect(
                kind,
                len(found),
                int(median(bystanders)),
                max(bystanders),
                int(median(recovery or [0])),
                max(recovery, default=0),
                len(found) - len(recovery),
            )
        )
    return table


def _allowing(run: Run) -> dict[str, list[int]]:
    """When each node was seen to allow, sorted; nodes that never did included."""
    found: dict[str, list[int]] = {item.node: [] for item in run.states}
    for check in run.checks:
        moments = found.setdefault(check.node, [])
        if check.allowed:
            moments.append(check.at)
    for state in run.states:
        if state.standing == "allow":
            found[state.node].append(state.at)
    for moments in found.values():
        moments.sort()
    return found


def _effect(fault: FaultStarted, ended: int, allowing: dict[str, list[int]]) -> FaultEffect:
    gaps = [_longest_gap(seen, fault.at, ended) for node, seen in allowing.items() if node not in fault.nodes]
    waits = [_wait(allowing.get(node, []), ended) for node in fault.nodes]
    recovered = [wait for wait in waits if wait is not None]
    recovery = max(recovered, default=0) if len(recovered) == len(waits) else None
    return FaultEffect(fault.fault, fault.kind, fault.nodes, fault.at, ended, max(gaps, default=0), recovery)


def _longest_gap(seen: list[int], start: int, end: int) -> int:
    inside = seen[bisect_left(seen, start) : bisect_right(seen, end)]
    edges = [start, *inside, end]
    return max(after - before for before, after in pairwise(edges))


def _wait(seen: list[int], since: int) -> int | None:
    place = bisect_left(seen, since)
    return seen[place] - since if place < len(seen) else None
