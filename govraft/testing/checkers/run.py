"""The events of a run, sorted once for all checkers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any, get_args

import msgspec

from govraft.testing.checkers.violation import Violation, seconds
from govraft.testing.history import (
    Certificate,
    Check,
    CommandTried,
    Event,
    FaultEnded,
    FaultStarted,
    Lineage,
    NodeState,
)

__all__ = ["MARKS", "Run", "malformed"]

MARKS = frozenset({"quarantined", "revoked"})
_OUTCOMES = frozenset({"effective", "rejected", "refused", "unknown"})
_MARKING = frozenset({"quarantine", "revoke"})
_MOVING = frozenset({"member.add", "member.remove", "member.rotate", "member.evict"})
_at = attrgetter("at")


class Run(msgspec.Struct, frozen=True):
    """The events of one run by type, each in the order of `at`.

    Attributes:
        distrusted: Nodes whose engine was made to lie. What they hold proves nothing; what they answer still counts.
        marked_nodes: Nodes that were themselves quarantined or revoked, or removed from the electorate: they deny with
            those reasons whatever is asked.
        moved_nodes: Nodes that became or ceased to be members: while they are none they deny everything as `revoked`.
    """

    checks: list[Check]
    commands: list[CommandTried]
    certificates: list[Certificate]
    states: list[NodeState]
    started: list[FaultStarted]
    ended: list[FaultEnded]
    lineages: list[Lineage]
    distrusted: frozenset[str]
    marked_nodes: frozenset[str]
    moved_nodes: frozenset[str]

    @classmethod
    def of(cls, events: Iterable[Event], distrusted: Collection[str] = ()) -> Run:
        """Sort `events`, which may come in any order."""
        by_type: dict[type, list[Any]] = {kind: [] for kind in get_args(Event)}
        for event in events:
            by_type[type(event)].append(event)
        for found in by_type.values():
            found.sort(key=_at)
        nodes = {item.node for item in by_type[Check]} | {item.node for item in by_type[NodeState]}
        commands: list[CommandTried] = by_type[CommandTried]
        return cls(
            by_type[Check],
            commands,
            by_type[Certificate],
            by_type[NodeState],
            by_type[FaultStarted],
            by_type[FaultEnded],
            by_type[Lineage],
            frozenset(distrusted),
            frozenset(
                {item.target for item in commands if item.kind in _MARKING and item.target in nodes}
                | {item.node for item in by_type[NodeState] if item.standing in MARKS}
            ),
            frozenset(item.target for item in commands if item.kind in _MOVING),
        )

    def reads_marks(self, check: Check) -> bool:
        """Whether a denial is about the marks of its target, and not about the node that gives it."""
        if check.reason not in MARKS or check.node in self.marked_nodes:
            return False
        return check.reason != "revoked" or check.node not in self.moved_nodes

    @property
    def began(self) -> int:
        """When the first event was."""
        return min((found[0].at for found in self._all if found), default=0)

    @property
    def ended_at(self) -> int:
        """When the last event was."""
        return max((found[-1].at for found in self._all if found), default=0)

    @property
    def _all(self) -> tuple[Sequence[Event], ...]:
        lasting = (self.certificates, self.states, self.started, self.ended, self.lineages)
        return (self.checks, self.commands, *lasting)

    def trusted_lineages(self) -> Iterator[Lineage]:
        """Those of nodes whose engine was honest."""
        return (item for item in self.lineages if item.node not in self.distrusted)


def malformed(run: Run) -> Iterator[Violation]:
    """The record itself must be sound: what a checker cannot read, it cannot judge."""
    name = "malformed"
    for check in run.checks:
        if check.at < check.began:
            yield Violation.of(name, f"a check of {check.node} was answered before it was asked", check)
        if check.allowed and (check.reason or check.seq < 1 or not check.state_root):
            message = f"{check.node} allowed at {seconds(check.at)} without a seq and a state root, or with a reason"
            yield Violation.of(name, message, check)
        if not check.allowed and not check.reason:
            yield Violation.of(name, f"{check.node} denied at {seconds(check.at)} without a reason", check)
    for command in run.commands:
        if command.at < command.began:
            yield Violation.of(name, f"`{command.command_id}` had its outcome before it was handed in", command)
        if command.outcome not in _OUTCOMES:
            yield Violation.of(name, f"`{command.command_id}` has the outcome `{command.outcome}`", command)
        if command.outcome == "effective" and not 0 < command.seq <= command.certified_seq:
            message = (
                f"`{command.command_id}` is called effective at seq {command.seq}, certified {command.certified_seq}"
            )
            yield Violation.of(name, message, command)
    for lineage in run.lineages:
        if len(lineage.leaves) != len(lineage.commands) or lineage.first < 1:
            message = f"the lineage of {lineage.node} at {seconds(lineage.at)} has not one command for each leaf"
            yield Violation.of(name, message, lineage)
