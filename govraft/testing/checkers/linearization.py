"""Whether a concurrent history of one object has a linearization: Wing and Gong's search, just in time, memoized.

An operation takes effect at one instant between its call and its return. The search walks through calls and returns
in the order of time and keeps every *configuration* in which the object may be:

- the state of the object;
- the called operations that have taken effect already although they have not returned;
- how often each kind of operation of unknown outcome has taken effect. Such an operation never returns: it may take
  effect at any time after its call, or never. Two of the same kind are the same, so only their number counts;
- the reads that no state has satisfied yet.

Effects are put off until a return forces them: when an operation returns, each configuration in which it has not taken
effect is extended by pending operations, in every order, until it has; what cannot be extended is dropped. No
configuration left: not linearizable. A read takes effect as soon as any state satisfies it, for it changes nothing.

A configuration that could do all that another one can is kept, and the other one is dropped. Each extension costs a
unit of the budget. When the budget is spent, the answer is `None`: undecided.

Source: Wing, Gong, "Testing and verifying concurrent objects" (1993); Lowe, "Testing for linearizability" (2017).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from operator import le
from typing import NamedTuple

import msgspec

__all__ = ["BUDGET", "Finding", "Model", "Operation", "linearize"]

BUDGET = 200_000
_NOTHING: frozenset[int] = frozenset()


class Operation(NamedTuple):
    """One operation on the object.

    Attributes:
        called: When.
        returned: When; None if nobody knows whether it took effect. Equal times are no order.
        action: What it does, as the model understands it.
        is_read: It leaves every state in which it is possible unchanged.
    """

    called: int
    returned: int | None
    action: Hashable
    is_read: bool


class Model(msgspec.Struct, frozen=True):
    """The object, one operation at a time.

    Attributes:
        initial: Its first state, hashable.
        step: The state after an action, or None where the action is impossible. Never None for a possible one.
    """

    initial: Hashable
    step: Callable[[Hashable, Hashable], Hashable]


class Finding(msgspec.Struct, frozen=True):
    """The verdict.

    Attributes:
        ok: False: no linearization exists. None: the budget was spent.
        stuck_at: Index of the operation whose return no order explains, or at which the budget ended.
        states: In which the object may have been before that return.
    """

    ok: bool | None
    stuck_at: int = -1
    states: tuple[Hashable, ...] = ()


class _Configuration(NamedTuple):
    state: Hashable
    done: frozenset[int] = _NOTHING
    used: tuple[int, ...] = ()
    unread: frozenset[int] = _NOTHING


def linearize(operations: Sequence[Operation], model: Model, *, budget: int = BUDGET) -> Finding:
    """Search for an order in which each operation is possible and each return comes after its effect.

    Args:
        operations: In any order. Reads of unknown outcome are ignored: nobody learnt what they read.
        model: The object.
        budget: Extensions that may be tried.
    """
    search = _Search(operations, model, budget)
    for is_return, index in _timeline(operations):
        if not is_return:
            search.call(index)
        elif not search.settle(index):
            return Finding(None if search.budget <= 0 else False, index, search.states)
    return Finding(True)


def _timeline(operations: Sequence[Operation]) -> Iterator[tuple[bool, int]]:
    """Calls and returns in the order of time. At equal times calls come first: such operations are concurrent."""
    moments: list[tuple[int, bool, int]] = []
    for index, operation in enumerate(operations):
        if operation.returned is None and operation.is_read:
            continue
        moments.append((operation.called, False, index))
        if operation.returned is not None:
            moments.append((operation.returned, True, index))
    moments.sort()
    return ((is_return, index) for _, is_return, index in moments)


class _Search:
    def __init__(self, operations: Sequence[Operation], model: Model, budget: int) -> None:
        self.budget = budget
        self.states: tuple[Hashable, ...] = ()
        self._operations = operations
        self._step = model.step
        self._found: list[_Configuration] = []
        self._kinds: dict[Hashable, int] = {}
        for operation in operations:
            if operation.returned is None and not operation.is_read:
                self._kinds.setdefault(operation.action, len(self._kinds))
        self._available = [0] * len(self._kinds)
        self._pending: dict[int, None] = {}
        self._found.append(_Configuration(model.initial, used=(0,) * len(self._kinds)))
        self._unread: set[int] = set()
        """Reads that some configuration has not satisfied."""

    def call(self, index: int) -> None:
        """An operation begins."""
        operation = self._operations[index]
        if not operation.is_read:
            if operation.returned is None:
                self._available[self._kinds[operation.action]] += 1
            else:
                self._pending[index] = None
            return
        action, step = operation.action, self._step
        for place, configuration in enumerate(self._found):
            if step(configuration.state, action) != configuration.state:
                self._found[place] = configuration._replace(unread=configuration.unread | {index})
                self._unread.add(index)

    def settle(self, index: int) -> bool:
        """An operation has returned: keep what explains it. False if nothing does, or the budget is spent."""
        is_read = self._operations[index].is_read
        if is_read and index not in self._unread:
            return True
        kept = [self._returned(item, index) for item in self._extended(index)]
        if self.budget <= 0 or not kept:
            self.states = tuple(dict.fromkeys(item.state for item in self._found))
            return False
        self._pending.pop(index, None)
        self._unread.discard(index)
        self._found = _undominated(kept)
        return True

    def _returned(self, configuration: _Configuration, index: int) -> _Configuration:
        """Forget the operation: it can no longer make a difference."""
        if self._operations[index].is_read:
            return configuration
        return configuration._replace(done=configuration.done - {index})

    def _extended(self, index: int) -> Iterator[_Configuration]:
        """Configurations in which `index` has taken effect, reached by as few effects as possible."""
        is_read = self._operations[index].is_read
        front = _Front()
        todo = deque(item for item in self._found if front.add(item))
        while todo and self.budget > 0:
            configuration = todo.popleft()
            if index not in configuration.unread if is_read else index in configuration.done:
                yield configuration
                continue
            for following in self._effects(configuration):
                self.budget -= 1
                if front.add(following):
                    todo.append(following)

    def _effects(self, configuration: _Configuration) -> Iterator[_Configuration]:
        """What one more effect leads to."""
        step, operations = self._step, self._operations
        for index in self._pending:
            if index in configuration.done:
                continue
            state = step(configuration.state, operations[index].action)
            if state is not None:
                yield configuration._replace(
                    state=state,
                    done=configuration.done | {index},
                    unread=self._left_unread(configuration.unread, state),
                )
        for action, kind in self._kinds.items():
            if configuration.used[kind] == self._available[kind]:
                continue
            state = step(configuration.state, action)
            if state is not None and state != configuration.state:
                used = (*configuration.used[:kind], configuration.used[kind] + 1, *configuration.used[kind + 1 :])
                yield configuration._replace(
                    state=state, used=used, unread=self._left_unread(configuration.unread, state)
                )

    def _left_unread(self, unread: frozenset[int], state: Hashable) -> frozenset[int]:
        if not unread:
            return unread
        step, operations = self._step, self._operations
        return frozenset(index for index in unread if step(state, operations[index].action) != state)


class _Front:
    """Configurations of which none can do all that another one can."""

    def __init__(self) -> None:
        self._groups: dict[tuple[Hashable, frozenset[int]], list[_Configuration]] = {}

    def add(self, item: _Configuration) -> bool:
        """False if a known one of the same state and effects has used no more, and left no more unread."""
        group = self._groups.setdefault((item.state, item.done), [])
        for other in group:
            if other.unread <= item.unread and all(map(le, other.used, item.used)):
                return False
        group.append(item)
        return True


def _undominated(found: list[_Configuration]) -> list[_Configuration]:
    if len(found) == 1:
        return found
    front = _Front()
    return [item for item in sorted(found, key=_effort) if front.add(item)]


def _effort(item: _Configuration) -> tuple[int, int]:
    return sum(item.used), len(item.unread)
