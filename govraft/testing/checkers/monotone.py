"""What may never fall: the signed seq of a node, in all its lives; its seq, certified seq and term."""

from __future__ import annotations

from collections.abc import Iterator

from govraft.testing.checkers.run import Run
from govraft.testing.checkers.violation import Violation, seconds
from govraft.testing.history import NodeState

__all__ = ["monotone"]

_ACROSS_LIVES = ("life", "signed_seq")
_ACROSS_LIVES_IF_TRUSTED = ("term",)
"""A journal that was made to forget has forgotten its term; what was signed is kept apart from it."""
_WITHIN_A_LIFE = ("seq", "certified_seq")


def monotone(run: Run) -> Iterator[Violation]:
    """Numbers of a node that fell."""
    before: dict[str, NodeState] = {}
    for state in run.states:
        if state.standing == "down":
            continue
        last = before.setdefault(state.node, state)
        before[state.node] = state
        fields: tuple[str, ...] = _ACROSS_LIVES
        if state.node not in run.distrusted:
            fields += _ACROSS_LIVES_IF_TRUSTED
        if state.life == last.life:
            fields += _WITHIN_A_LIFE
        for field in fields:
            was, now = getattr(last, field), getattr(state, field)
            if now < was:
                message = f"the {field} of {state.node} fell from {was} to {now} by {seconds(state.at)}"
                yield Violation.of("monotone", message, last, state)
