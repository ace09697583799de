"""What a node's clocks show, as a function of the simulation's true time.

The boot-time clock runs at its own rate and never steps. Leases rest on one promise only, that the rates of any two
clocks differ by less than the genesis allows: a holder serves for L(1-ρ) by its own clock, which is L(1-ρ)/r of true
time at rate r, and a voter waits L(1+ρ)/r'. No stale allow needs (1-ρ)/r ≤ (1+ρ)/r', so r' (1-ρ) ≤ r (1+ρ).

Three kinds of seed follow:

`within`   every rate lies within ±ρ of true time, and changes now and then; all is promised.
`unison`   all clocks are wrong together, by much more than ρ, but within ±ρ of each other; all is still promised.
`beyond`   rates differ by more than ρ allows. A stale allow is possible and not judged; that no state forks, no
           effective command is lost and no signed seq falls does not rest on time, and is judged as ever.

The wall clock steps freely in all of them: no guarantee but that of expiries rests on it.
"""

from __future__ import annotations

from govraft.core.model.units import NS_PER_MS, BoottimeNs, WallMs
from govraft.testing.sample import CREATED

__all__ = ["TrueTime", "VirtualClock"]


class TrueTime:
    """The simulation's own time, nanoseconds since its begin."""

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now = 0


class VirtualClock:
    """One node's `ports.Clock`.

    Attributes:
        wall_step_ms: By how much the wall clock is off.
        stepped_at: True time at which that changed last.
    """

    def __init__(self, true_time: TrueTime, rate: float, *, wall_rate: float = 1.0) -> None:
        self._true_time = true_time
        self._wall_rate = wall_rate
        self._since = 0
        self._base = 10**9
        self.rate = rate
        self._wall_step_ms = 0
        self.stepped_at = 0

    @property
    def wall_step_ms(self) -> int:
        """As the attribute."""
        return self._wall_step_ms

    @wall_step_ms.setter
    def wall_step_ms(self, value: int) -> None:
        self._wall_step_ms, self.stepped_at = value, self._true_time.now

    def boottime(self) -> BoottimeNs:
        """As `ports.Clock`."""
        return BoottimeNs(self._base + int((self._true_time.now - self._since) * self.rate))

    def wall(self) -> WallMs:
        """As `ports.Clock`. Time servers keep it with all others' but for its step."""
        return WallMs(CREATED + 1_000 + int(self._true_time.now * self._wall_rate) // NS_PER_MS + self.wall_step_ms)

    def set_rate(self, rate: float) -> None:
        """Run at another rate from now on, without a step."""
        self._base, self._since = self.boottime(), self._true_time.now
        self.rate = rate
