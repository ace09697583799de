"""A least-recently-used map bounded by the weight of what it holds, not only by how many things."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from govraft.errors import require

__all__ = ["BoundedCache"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class BoundedCache(Generic[K, V]):
    """Holds at most `count_max` values of at most `weight_max` together."""

    __slots__ = ("_count_max", "_items", "_weight", "_weight_max")

    def __init__(self, *, count_max: int, weight_max: int) -> None:
        require(count_max > 0 and weight_max > 0, "a cache needs room")
        self._items: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._count_max = count_max
        self._weight_max = weight_max
        self._weight = 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def weight(self) -> int:
        """Sum of the weights held."""
        return self._weight

    def get(self, key: K) -> V | None:
        """The value under a key, which becomes the most recently used; else None."""
        item = self._items.get(key)
        if item is None:
            return None
        self._items.move_to_end(key)
        return item[0]

    def put(self, key: K, value: V, *, weight: int) -> None:
        """Hold a value, if it fits at all, and let go of the least recently used until the bounds hold."""
        self.forget(key)
        if weight > self._weight_max:
            return
        self._items[key] = (value, weight)
        self._weight += weight
        while len(self._items) > self._count_max or self._weight > self._weight_max:
            self.forget(next(iter(self._items)))

    def forget(self, key: K) -> None:
        """Let go of a key, if it is held."""
        _, weight = self._items.pop(key, (None, 0))
        self._weight -= weight
