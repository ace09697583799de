"""No lost and no doubled command.

A command that was reported effective at a seq stands there, applied, in every lineage that reaches so far; it works at
one seq only; and a command whose every try was refused, which means that it was definitely not done, never works. A try
of outcome `unknown` promises nothing, and neither does a rejection without a seq: one node's opinion of its own state.
"""

from __future__ import annotations

from collections.abc import Iterator

from govraft.testing.checkers.run import Run
from govraft.testing.checkers.violation import Violation, seconds
from govraft.testing.history import CommandTried, Lineage

__all__ = ["commands", "commands_reach_all", "stale_refusals"]

_APPLIED = "applied"
_STOPPING = frozenset({"quarantine", "isolate", "revoke", "invalidate"})
_OWN_TARGETS = 'Agent::"cut-'
_KNOWN_ALREADY = "duplicate_command"
"""The rejection of a second try: the seq that comes with it is that of the first, which may well have been applied."""


def commands(run: Run) -> Iterator[Violation]:
    """Effective commands that are missing, commands that worked twice, and refused ones that worked."""
    effective, refused = _promises(run)
    yield from _two_receipts(run)
    applied: dict[str, tuple[int, Lineage]] = {}
    for lineage in run.trusted_lineages():
        yield from _lost(lineage, effective)
        for seq, (command_id, outcome) in enumerate(lineage.commands, lineage.first):
            if outcome != _APPLIED or not command_id:
                continue
            known, witness = applied.setdefault(command_id, (seq, lineage))
            if known != seq:
                message = f"`{command_id}` worked twice: at seq {known} on {witness.node}, at {seq} on {lineage.node}"
                yield Violation.of("doubled_command", message, witness, lineage)
            if command_id in refused:
                message = f"`{command_id}` was refused as definitely not done, and worked at seq {seq}"
                yield Violation.of("refused_command", message, refused[command_id], lineage)


def stale_refusals(run: Run) -> Iterator[Violation]:
    """Refusals by a node's own state, told as final, that the cluster's state did not give.

    A node never refuses to stop something because it is stopped already: the log says so, with its seq. And whoever
    wants to release what is quarantined is not told as final that it is not.
    """
    for item in run.commands:
        if item.outcome != "rejected" or item.seq > 0:
            continue
        if item.kind in _STOPPING and (item.code.startswith("already_") or item.code == "target_state"):
            message = f"{item.node} refused `{item.command_id}` by its own state as final: {item.code}"
            yield Violation.of("stale_refusal", message, item)
        elif item.kind == "release" and item.code == "not_quarantined":
            held = _held_quarantine(run, item)
            if held is not None:
                message = f"{item.node} told {item.target} as not quarantined, which it was since seq {held.seq}"
                yield Violation.of("stale_refusal", message, held, item)


def _held_quarantine(run: Run, refusal: CommandTried) -> CommandTried | None:
    """A quarantine of the same target that was effective before, and that nothing can have ended since."""
    same = [item for item in run.commands if item.target == refusal.target and item.began < refusal.at]
    marked = [item for item in same if item.kind == "quarantine" and item.outcome == "effective"]
    held = max((item for item in marked if item.at < refusal.began), key=lambda item: item.seq, default=None)
    if held is None:
        return None
    freed = [item for item in same if item.kind == "release" and item.outcome in ("effective", "unknown")]
    # Whatever else may touch a target is not told apart here: only what belongs to one fault is looked at.
    is_own = refusal.target.startswith(_OWN_TARGETS)
    return held if is_own and not [item for item in freed if not 0 < item.seq < held.seq] else None


def _promises(run: Run) -> tuple[dict[int, CommandTried], dict[str, CommandTried]]:
    """Effective commands by seq, and commands that must never work by id."""
    effective = {item.seq: item for item in run.commands if item.outcome == "effective"}
    never: dict[str, CommandTried] = {}
    open_ids: set[str] = set()
    for item in run.commands:
        rejected = item.outcome == "rejected" and item.seq > 0 and item.code != _KNOWN_ALREADY
        if rejected:
            never[item.command_id] = item
        elif item.outcome == "refused":
            never.setdefault(item.command_id, item)
        else:
            open_ids.add(item.command_id)
    # A rejection with a seq is final for the id, whatever other tries say: the machine lets each id decide once.
    for command_id in open_ids:
        if command_id in never and never[command_id].outcome != "rejected":
            del never[command_id]
    return effective, never


def _two_receipts(run: Run) -> Iterator[Violation]:
    receipts: dict[str, CommandTried] = {}
    places: dict[int, CommandTried] = {}
    for item in run.commands:
        if item.outcome != "effective":
            continue
        known = receipts.setdefault(item.command_id, item)
        if known.seq != item.seq:
            message = f"`{item.command_id}` has receipts for seq {known.seq} and for seq {item.seq}"
            yield Violation.of("doubled_command", message, known, item)
        other = places.setdefault(item.seq, item)
        if other.command_id != item.command_id:
            message = f"`{other.command_id}` and `{item.command_id}` both have a receipt for seq {item.seq}"
            yield Violation.of("lost_command", message, other, item)


def _lost(lineage: Lineage, effective: dict[int, CommandTried]) -> Iterator[Violation]:
    last = lineage.first + len(lineage.commands) - 1
    for seq, command in effective.items():
        if not lineage.first <= seq <= last:
            continue
        held = lineage.commands[seq - lineage.first]
        if held != (command.command_id, _APPLIED):
            message = (
                f"{lineage.node} at {seconds(lineage.at)} holds `{held[0]}` ({held[1]}) at seq {seq}, "
                f"where `{command.command_id}` was effective"
            )
            yield Violation.of("lost_command", message, command, lineage)


def commands_reach_all(run: Run) -> Iterator[Violation]:
    """After healing, the last lineage of each node that runs reaches every effective command."""
    effective = [item for item in run.commands if item.outcome == "effective"]
    standings = {item.node: item.standing for item in run.states}
    last = {item.node: item for item in run.trusted_lineages() if standings.get(item.node) != "down"}
    if not effective:
        return
    newest = max(effective, key=lambda item: item.seq)
    if not last:
        yield Violation.of("undecided", "no lineage was recorded: a lost command could not be noticed", newest)
    for lineage in last.values():
        reached = lineage.first + len(lineage.commands) - 1
        if reached < newest.seq:
            message = f"{lineage.node} ends at seq {reached}; `{newest.command_id}` was effective at seq {newest.seq}"
            yield Violation.of("lost_command", message, newest, lineage)
