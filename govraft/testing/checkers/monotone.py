"""What may never fall: the signed seq of a node, in all its lives; its seq, certified seq and term in each of them."""

from __future__ import annotations

from collections.abc import Iterator

from govraft.testing.checkers.run import Run
from govraft.testing.checkers.violation import Violation, seconds
from govraft.testing.history import NodeState

__all__ = ["monotone"]

_ACROSS_LIVES = ("life", "signed_seq")
_WITHIN_A_LIFE = ("seq", "certified_seq", "term")
"""A node may show a term before it is durable, and lose it with its process: nothing left in that term either."""


def monotone(run: Run) -> Iterator[Violation]:
    """Numbers of a node that fell."""
    before: dict[str, NodeState] = {}
    for state in run.states:
        if state.standing == "down":
            continue
        last = before.setdefault(state.node, state)
        before[state.node] = state
        fields: tuple[str, ...] = _ACROSS_LIVES
        if state.life == last.life:
            fields += _WITHIN_A_LIFE
        for field in fields:
            was, now = getattr(last, field), getattr(state, field)
            if now < was:
                message = f"the {field} of {state.node} fell from {was} to {now} by {seconds(state.at)}"
                yield Violation.of("monotone", message, last, state)
