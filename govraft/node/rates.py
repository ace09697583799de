"""This node's share of the rates that boundaries set: how many allows it has given, counted without asking anybody.

    share     the whole divided by the number of members, rounded down: more members than the whole, and all deny
    window    what was allowed in the last `seconds`; the clock may be off, so a little longer
    unknown   what this node was not there to count is taken for used up: after it started, joined, or missed a change
              of the members, it denies for `seconds`
    change    after the members change, the largest number of them within the window divides the whole: those that have
              left may have used their shares in it

All members together therefore never exceed the whole. Time is boot time: it does not jump.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable

from govraft.core.decision.finding import Charge
from govraft.core.model.electorate import Electorate
from govraft.core.model.limits import RATE_COUNTS

__all__ = ["Rates"]

_SLOTS = 64
"""Into which a window is cut. One that has begun counts whole, so a window is in effect up to a 64th longer."""
_PPM = 1_000_000
_NS = 1_000_000_000
_SIZES_KEPT_NS = 2 * 86_400 * _NS
"""Longer than any window."""


class _Count:
    """Allows of one key, by slot; the oldest first."""

    __slots__ = ("slots", "total")

    def __init__(self) -> None:
        self.slots: deque[list[int]] = deque()
        self.total = 0

    @property
    def newest(self) -> int:
        """The last slot in which there was one. Whatever is kept has at least one."""
        return self.slots[-1][0]

    def forget(self, before: int) -> None:
        while self.slots and self.slots[0][0] < before:
            self.total -= self.slots.popleft()[1]

    def add(self, slot: int) -> None:
        if self.slots and self.slots[-1][0] >= slot:
            self.slots[-1][1] += 1
        else:
            self.slots.append([slot, 1])
        self.total += 1


class Rates:
    """Counts allows. One thread."""

    def __init__(self, *, node_id: str, electorate: Electorate, drift_ppm: int, now: int) -> None:
        """Nothing is known of what came before.

        Args:
            node_id: This node.
            electorate: The members as this node knows them now.
            drift_ppm: By how much a clock's rate may be off.
            now: CLOCK_BOOTTIME, ns.
        """
        self._node_id = node_id
        self._electorate = electorate
        self._drift_ppm = drift_ppm
        self._since = now
        self._sizes: deque[tuple[int, int]] = deque()
        """Until when there were how many members, the oldest first."""
        self._tables: dict[int, OrderedDict[str, _Count]] = {}
        """Counts by length of the window and by key, the least recently used first."""
        self._held = 0

    def watch(self, electorate: Electorate, now: int) -> None:
        """Learn who the members are; cheap while they stay the same."""
        before, self._electorate = self._electorate, electorate
        if electorate is before or electorate == before:
            return
        # SAFETY: others may have used a larger share than is known here. test_rates.test_a_missed_change_counts_as_used
        if electorate.epoch != before.epoch + 1 or before.find(self._node_id) is None:
            self._since = now
        self._sizes.append((now, len(before.members)))
        while self._sizes[0][0] < now - _SIZES_KEPT_NS:
            self._sizes.popleft()

    def take(self, charges: Iterable[Charge], electorate: Electorate, now: int) -> Charge | None:
        """Count one allow against all of these rates, or against none.

        Args:
            charges: Of the finding.
            electorate: The members now.
            now: CLOCK_BOOTTIME, ns.

        Returns:
            The first charge that has no room, or None: the allow may be given, and is counted.
        """
        self.watch(electorate, now)
        places: list[tuple[str, int, _Count]] = []
        for charge in charges:
            slot_ns = self._slot_ns(charge.seconds)
            found = self._find(charge.key, slot_ns, now)
            # SAFETY: what has no room is denied. test_rates.test_a_share_is_never_exceeded
            if found is None or found.total >= self._share(charge.most, slot_ns * _SLOTS, now):
                return charge
            places.append((charge.key, slot_ns, found))
        for key, slot_ns, found in places:
            table = self._tables.setdefault(slot_ns, OrderedDict())
            self._held += key not in table
            table[key] = found
            table.move_to_end(key)
            found.add(now // slot_ns)
        return None

    def explain(self, charge: Charge, now: int) -> str:
        """Why a charge that `take` has just returned has no room."""
        whole = f"{charge.most} in {charge.seconds} s for `{charge.key}`"
        window_ns = self._slot_ns(charge.seconds) * _SLOTS
        if now - self._since <= window_ns:
            left_s = -(-(self._since + window_ns - now) // _NS)
            return f"this node was not there to count its share of {whole}: it allows none of it for another {left_s} s"
        sharers = self._sharers(window_ns, now)
        share = charge.most // sharers
        if share == 0:
            return f"{sharers} nodes share {whole}, which leaves none for each: set a rate of {sharers} or more"
        return f"this node's share is used up: {share} of {whole}, which {sharers} nodes share"

    def _share(self, most: int, window_ns: int, now: int) -> int:
        return 0 if now - self._since <= window_ns else most // self._sharers(window_ns, now)

    def _sharers(self, window_ns: int, now: int) -> int:
        """Among how many the whole is divided: the most members that there were within the window."""
        past = (size for until, size in self._sizes if until >= now - window_ns)
        return max(len(self._electorate.members), *past, 1)

    def _slot_ns(self, seconds: int) -> int:
        # Rounded up: a window that is too long only denies more.
        return -(-seconds * _NS * (_PPM + self._drift_ppm) // (_PPM * _SLOTS))

    def _find(self, key: str, slot_ns: int, now: int) -> _Count | None:
        """The count of a key, up to date; a new one is not kept yet; None if there is no room for it."""
        self._sweep(slot_ns, now)
        table = self._tables.get(slot_ns)
        found = None if table is None else table.get(key)
        if found is None:
            if self._held >= RATE_COUNTS:
                for other in list(self._tables):
                    self._sweep(other, now)
            return _Count() if self._held < RATE_COUNTS else None
        found.forget(now // slot_ns - _SLOTS)
        return found

    def _sweep(self, slot_ns: int, now: int) -> None:
        """Drop what no window reaches back to any more."""
        table, first = self._tables.get(slot_ns, OrderedDict[str, _Count]()), now // slot_ns - _SLOTS
        # Those at the front were used longest ago: once one of them still counts, so do all behind it.
        while table and table[key := next(iter(table))].newest < first:
            del table[key]
            self._held -= 1
        if not table:
            self._tables.pop(slot_ns, None)
