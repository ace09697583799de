"""Whose turn it is: how clients, or peers, share the node's one loop, and leave time for everything else.

One object stands for one kind of guest: all clients of the socket, or all members that send. Rules:

1. In one turn of the loop the guests get `loop_s`, however many they are; then the rest of the node has its turn.
2. Within that time they take turns, first come, first served. Who has more to do goes to the end of the line.
3. While there is time left, whoever arrives with nothing waiting is served at once, before the line: one that asks now
   and then does not wait for those that ask without end.
4. What starts work that cannot be cut into pieces is *charged*, and only so many of these start in one turn.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import perf_counter

__all__ = ["Turns"]


class Turns:
    """One line for all guests of a kind."""

    def __init__(self, loop_s: float, charges: int) -> None:
        """`loop_s` is the time of all guests together in one turn of the loop, `charges` how many charged calls."""
        self._loop_s = loop_s
        self._charges_max = charges
        self._line: deque[Callable[[], None]] = deque()
        self._is_open = False
        self._end = 0.0
        self._charges = 0

    @property
    def waiting(self) -> int:
        """How many stand in line."""
        return len(self._line)

    def has_room(self) -> bool:
        """Whether somebody may be served now, out of line."""
        self._open()
        return self._charges < self._charges_max and perf_counter() < self._end

    def charge(self) -> None:
        """Note that work was started that cannot be cut into pieces."""
        self._charges += 1

    def request(self, turn: Callable[[], None]) -> None:
        """Stand in line. `turn` must be short; what it raises goes to the loop's handler."""
        self._line.append(turn)
        self._open()

    def work(self, step: Callable[[], bool]) -> asyncio.Future[None]:
        """Call `step` once a turn until it returns True.

        Returns:
            Done with the last step; holds what a step raised. Cancelled, it takes no more turns.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def turn() -> None:
            if done.done():
                return
            try:
                is_finished = step()
            except BaseException as error:  # noqa: BLE001 - whoever waits for the future meets it
                done.set_exception(error)
                return
            if is_finished:
                done.set_result(None)
            else:
                self.request(turn)

        self.request(turn)
        return done

    def _open(self) -> None:
        """Begin the time of this turn of the loop, if it has not begun."""
        if not self._is_open:
            self._is_open = True
            self._begin()
            asyncio.get_running_loop().call_soon(self._serve)

    def _begin(self) -> None:
        self._end = perf_counter() + self._loop_s
        self._charges = 0

    def _serve(self) -> None:
        self._begin()
        try:
            while self._line and self._charges < self._charges_max and perf_counter() < self._end:
                self._line.popleft()()
        finally:
            # SAFETY: a turn that raises all the same ends itself, not those of everybody else;
            # test_review_of_turns.py::test_a_turn_that_fails_does_not_end_the_turns_of_the_others
            self._is_open = False
            if self._line:
                self._open()
