"""Checks and commands of each target are linearizable: some order of the effective commands explains every answer.

The object is a target's marks, with the rules of the machine:

    action          possible if                    then                an answer that reads the marks
    quarantine      neither mark                   quarantined         allow             neither mark
    release         quarantined                    not quarantined     `quarantined`     quarantined, not revoked
    revoke          not revoked                    revoked, for ever   `revoked`         revoked

Other denials read nothing. An `effective` command took effect between its call and its receipt, one of `unknown`
outcome at any time after its call, or never; a rejection may be one node's opinion on an older state and is taken for
`unknown` too, unless it names its seq. A `refused` command never took effect. Tries of one command id are one
operation, from its first call to its first receipt.

Targets are taken to begin without marks. Answers of a node that was itself marked read nothing: it denies whatever
is asked. Nor does `revoked` of a node that became a member or ceased to be one.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator

from govraft.testing.checkers.linearization import BUDGET, Model, Operation, linearize
from govraft.testing.checkers.run import Run
from govraft.testing.checkers.violation import Violation, seconds
from govraft.testing.history import Check, CommandTried

__all__ = ["BUDGET_FOR_EACH", "MARKS_OF_A_TARGET", "linearizability"]

BUDGET_FOR_EACH = 20
"""Extensions of the search that each operation adds to the budget of its target."""

_WRITES = frozenset({"quarantine", "release", "revoke"})
_FREE, _QUARANTINED, _REVOKED, _BOTH = "free", "quarantined", "revoked", "quarantined and revoked"
_STEPS: dict[tuple[Hashable, Hashable], str] = {
    (_FREE, "quarantine"): _QUARANTINED,
    (_FREE, "revoke"): _REVOKED,
    (_FREE, "allow"): _FREE,
    (_QUARANTINED, "release"): _FREE,
    (_QUARANTINED, "revoke"): _BOTH,
    (_QUARANTINED, "quarantined"): _QUARANTINED,
    (_REVOKED, "revoked"): _REVOKED,
    (_BOTH, "release"): _REVOKED,
    (_BOTH, "revoked"): _BOTH,
}


def _step(state: Hashable, action: Hashable) -> Hashable:
    return _STEPS.get((state, action))


MARKS_OF_A_TARGET = Model(_FREE, _step)


def linearizability(run: Run, *, budget: int = BUDGET) -> Iterator[Violation]:
    """Targets about which no order of commands explains all answers, and those that could not be decided."""
    checks = _answers(run)
    commands = _commands(run)
    for target in sorted(checks.keys() | commands.keys()):
        asked, tried = checks.get(target, []), commands.get(target, [])
        operations = [operation for operation, _ in tried]
        operations += [Operation(item.began, item.at, "allow" if item.allowed else item.reason, True) for item in asked]
        finding = linearize(operations, MARKS_OF_A_TARGET, budget=budget + BUDGET_FOR_EACH * len(operations))
        if finding.ok:
            continue
        stuck = finding.stuck_at
        event = tried[stuck][1] if stuck < len(tried) else asked[stuck - len(tried)]
        if finding.ok is None:
            message = f"whether the answers about `{target}` are linearizable was not decided within the budget"
            yield Violation.of("undecided", message, event)
            continue
        nearby = [item for operation, item in tried if operation.called <= event.at][-4:]
        yield Violation.of("linearizability", _unexplained(event, finding.states), event, *nearby)


def _unexplained(event: Check | CommandTried, states: tuple[Hashable, ...]) -> str:
    possible = " or ".join(sorted(f"{state}" for state in states))
    if isinstance(event, CommandTried):
        message = f"`{event.kind}` of `{event.target}`, `{event.command_id}`, was effective"
    else:
        message = f"{event.node} answered `{'allow' if event.allowed else event.reason}` about `{event.target}`"
    return f"{message} between {seconds(event.began)} and {seconds(event.at)}; it can only have been {possible}"


def _answers(run: Run) -> dict[str, list[Check]]:
    """The checks that read marks, by target."""
    found: dict[str, list[Check]] = {}
    for check in run.checks:
        if check.allowed or run.reads_marks(check):
            found.setdefault(check.target, []).append(check)
    return found


def _commands(run: Run) -> dict[str, list[tuple[Operation, CommandTried]]]:
    """The operation of each command id that may have taken effect, by target, in the order of their calls."""
    tries: dict[str, list[CommandTried]] = {}
    for item in run.commands:
        if item.kind in _WRITES:
            tries.setdefault(item.command_id, []).append(item)
    found: dict[str, list[tuple[Operation, CommandTried]]] = {}
    for items in tries.values():
        told = next((item for item in items if item.outcome == "effective"), None)
        if told is None and not any(_may_have_worked(item) for item in items):
            continue
        shown = told or items[0]
        called = min(item.began for item in items)
        operation = Operation(called, None if told is None else told.at, shown.kind, is_read=False)
        found.setdefault(shown.target, []).append((operation, shown))
    for commands in found.values():
        commands.sort(key=lambda pair: pair[0].called)
    return found


def _may_have_worked(item: CommandTried) -> bool:
    if item.outcome == "rejected":
        return item.seq == 0 or item.code == "duplicate_command"
    return item.outcome != "refused"
