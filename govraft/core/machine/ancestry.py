"""Keeps the graph of parents free of cycles and of long chains.

Every chain that a change makes longer runs through a changed entity, up to its ancestors and down to its descendants.
So it is enough to measure both ways from each changed entity. Each entity is visited at most once per command and
direction; an entity without children, the usual case, costs only its ancestors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from govraft.core.machine.records import Entity
from govraft.core.machine.views import EntitiesView
from govraft.core.model.limits import ENTITY_PARENT_CHAIN
from govraft.core.model.outcome import Rejected, Rejection

__all__ = ["check_ancestry", "with_ancestors"]


class _Cycle(Exception):  # noqa: N818 - a finding
    """An entity is its own ancestor."""


def check_ancestry(view: EntitiesView, changed: Mapping[str, tuple[str, ...]]) -> Rejected | None:
    """Whether the graph stays sound when the entities of `changed` get these parents; None when it does.

    Args:
        view: The entities before the change.
        changed: New parents by uid.
    """

    def parents_of(uid: str) -> Iterable[str]:
        if uid in changed:
            return changed[uid]
        entity = view.entities.get(uid)
        return () if entity is None else entity.parents

    def children_of(uid: str) -> Iterable[str]:
        # Changed children are measured for themselves: the lowest changed entity of a chain sees all of it.
        return (child for child in view.children.get(uid, ()) if child not in changed)

    above: dict[str, int] = {}
    below: dict[str, int] = {}
    for uid in changed:
        if not changed[uid]:
            continue  # Without a parent it ends every chain: none became longer, none can be a cycle.
        try:
            # SAFETY: the native engine walks this graph on every check. test_ancestry.py
            chain = _height(uid, parents_of, above) + _height(uid, children_of, below)
        except _Cycle:
            return Rejected(Rejection.ENTITY_CYCLE, f"`{uid}` would be its own ancestor")
        if chain > ENTITY_PARENT_CHAIN:
            return Rejected(Rejection.LIMIT_EXCEEDED, f"`{uid}` would stand in a chain of {chain} parents")
    return None


class _Frame:
    """An entity on the way: neighbours still to visit, and the longest way found below it so far."""

    __slots__ = ("height", "rest", "uid")

    def __init__(self, uid: str, rest: Iterable[str]) -> None:
        self.uid = uid
        self.rest = iter(rest)
        self.height = 0


def _height(start: str, neighbours: Callable[[str], Iterable[str]], heights: dict[str, int]) -> int:
    """The longest way from `start`, in edges. `heights` keeps what is known; raises `_Cycle`."""
    if start in heights:
        return heights[start]
    open_uids = {start}
    stack = [_Frame(start, neighbours(start))]
    while stack:
        frame = stack[-1]
        other = next(frame.rest, None)
        if other is None:
            stack.pop()
            open_uids.discard(frame.uid)
            heights[frame.uid] = frame.height
            if stack:
                stack[-1].height = max(stack[-1].height, frame.height + 1)
        elif other in open_uids:
            raise _Cycle
        elif other in heights:
            frame.height = max(frame.height, heights[other] + 1)
        else:
            open_uids.add(other)
            stack.append(_Frame(other, neighbours(other)))
    return heights[start]


def with_ancestors(entities: Mapping[str, Entity], uid: str) -> Iterator[str]:
    """A canonical uid and all groups above it, each once."""
    seen, todo = {uid}, [uid]
    while todo:
        current = todo.pop()
        yield current
        entity = entities.get(current)
        for parent in entity.parents if entity is not None else ():
            if parent not in seen:
                seen.add(parent)
                todo.append(parent)
