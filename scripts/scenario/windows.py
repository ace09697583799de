"""How long each node did not allow in each step, from the record of what clients and observers saw."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TypeGuard

import msgspec

from govraft.testing.history import Check, CommandTried, Event, FaultEnded, FaultStarted, NodeState

__all__ = ["StepWindows", "deny_windows", "longest_gap"]

_NS_PER_MS = 1_000_000


class StepWindows(msgspec.Struct, frozen=True):
    """One step.

    Attributes:
        name: Of the step.
        took_ms: Milliseconds from its start to its end.
        denied_ms: By node, the longest time without an allow, of those nodes that it does not concern and that had
            allowed before.
        command_ms: The longest time in which no command became effective.
    """

    name: str
    took_ms: float
    denied_ms: dict[str, float]
    command_ms: float


def deny_windows(events: Iterable[Event]) -> list[StepWindows]:
    """The steps of a record, in their order."""
    allows: dict[str, list[int]] = {}
    commands: list[int] = []
    steps: list[FaultStarted] = []
    ended: dict[int, int] = {}
    for event in events:
        if _allows(event):
            allows.setdefault(event.node, []).append(event.at)
        elif isinstance(event, CommandTried) and event.outcome == "effective":
            commands.append(event.at)
        elif isinstance(event, FaultStarted):
            steps.append(event)
        elif isinstance(event, FaultEnded):
            ended[event.fault] = event.at
    for moments in (*allows.values(), commands):
        moments.sort()
    gone: set[str] = set()
    found = []
    for step in steps:
        end = ended[step.fault]
        serving = [
            node
            for node, moments in sorted(allows.items())
            if node not in step.nodes and node not in gone and moments[0] < step.at
        ]
        denied = {node: longest_gap(allows[node], step.at, end) for node in serving}
        found.append(StepWindows(step.kind, (end - step.at) / _NS_PER_MS, denied, longest_gap(commands, step.at, end)))
        if step.kind.startswith("remove"):
            gone |= set(step.nodes)
    return found


def _allows(event: Event) -> TypeGuard[Check | NodeState]:
    return event.allowed if isinstance(event, Check) else isinstance(event, NodeState) and event.standing == "allow"


def longest_gap(moments: Sequence[int], start: int, end: int) -> float:
    """The longest time, ms, between two of the sorted moments within a stretch; its ends count as moments."""
    edges = [start, *moments[bisect_left(moments, start) : bisect_right(moments, end)], end]
    return max(after - before for before, after in pairwise(edges)) / _NS_PER_MS
