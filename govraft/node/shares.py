"""Places in a queue, of which no author may have more than a part: who signs thousands delays only itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

__all__ = ["Shares"]


class Shares:
    """How many places each author has. A command that several signed counts for each of them."""

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()

    def has_room(self, authors: Iterable[str], most: int) -> bool:
        """Whether each of the authors has fewer than `most` places."""
        return all(self._held[author] < most for author in authors)

    def take(self, authors: Iterable[str]) -> None:
        """Give a place to a command of these authors."""
        self._held.update(authors)

    def give_back(self, authors: Iterable[str]) -> None:
        """Take the place back."""
        self._held.subtract(authors)
        # Only those who hold something are kept: the names are as many as the authorities there ever were.
        for author in authors:
            if self._held[author] <= 0:
                del self._held[author]

    def clear(self) -> None:
        """Take all places back."""
        self._held.clear()
