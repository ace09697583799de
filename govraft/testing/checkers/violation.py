"""What a checker finds."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from govraft.testing.history import Event

__all__ = ["Violation", "first_of_each", "seconds"]


class Violation(msgspec.Struct, frozen=True):
    """One property that a run broke, or that could not be decided.

    Attributes:
        property: Its name, as in `govraft.testing.checkers`.
        message: One line for people: which node, when, at which seq.
        events: Those of the history that show it, in the order of time.
    """

    property: str
    message: str
    events: tuple[Event, ...] = ()

    @classmethod
    def of(cls, name: str, message: str, *events: Event) -> Violation:
        """A violation that `events` show."""
        return cls(name, message, tuple(sorted(events, key=lambda event: event.at)))


def seconds(at: int) -> str:
    """A time of the history as people read it."""
    return f"{at / 1e9:.6f} s"


def first_of_each(found: Iterable[Violation], most: int) -> list[Violation]:
    """At most `most` of each property: a broken run breaks the same one a thousand times."""
    kept: list[Violation] = []
    counts: dict[str, int] = {}
    for violation in found:
        counts[violation.property] = counts.get(violation.property, 0) + 1
        if counts[violation.property] <= most:
            kept.append(violation)
    return kept
