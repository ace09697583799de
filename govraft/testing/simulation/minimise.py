"""From a failing seed to the few faults that it takes: delta debugging over the plan.

A fault left out changes what comes after it, so nothing guarantees the smallest plan; but what remains fails, and each
of what remains is needed as long as the others are there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from govraft.testing.simulation.plan import Fault, Plan
from govraft.testing.simulation.run import Outcome, simulate

__all__ = ["Minimal", "keep_faults", "minimise", "replay_command"]

RUNS_MAX = 200


class Minimal(msgspec.Struct, frozen=True):
    """The smallest failing plan that was found, what it breaks, and how many runs it took to find."""

    plan: Plan
    outcome: Outcome
    runs: int


class _Search:
    """Runs variants of a plan, as long as the budget lasts."""

    def __init__(self, plan: Plan, rule: str, run: Callable[[Plan], Outcome]) -> None:
        self.best = plan
        self.runs = 0
        self._rule = rule
        self._run = run

    def fails(self, candidate: Plan) -> bool:
        """Whether the candidate breaks the same rule; it is the best one then."""
        if self.runs >= RUNS_MAX:
            return False
        self.runs += 1
        outcome = self._run(candidate)
        broken = [finding for finding in outcome.findings if finding.rule == self._rule]
        if broken:
            self.best = candidate
        return bool(broken)


def keep_faults(plan: Plan, numbers: Sequence[int] | None = None, until_s: float | None = None) -> Plan:
    """The same plan with these faults only, and healed at that time."""
    faults = plan.faults if numbers is None else tuple(fault for fault in plan.faults if fault.number in set(numbers))
    configuration = plan.configuration
    if until_s is not None:
        configuration = msgspec.structs.replace(configuration, seconds=until_s)
        faults = tuple(fault for fault in faults if fault.at_ms < until_s * 1_000)
    return msgspec.structs.replace(plan, configuration=configuration, faults=faults)


def minimise(plan: Plan, outcome: Outcome, *, run: Callable[[Plan], Outcome] = simulate) -> Minimal:
    """Find fewer faults and a shorter run that still break the rule which `outcome` broke first.

    Args:
        plan: A plan whose run broke a rule.
        outcome: Of that run.
        run: Runs a plan.
    """
    first = outcome.findings[0]
    search = _Search(plan, first.rule, run)
    # Nothing after the finding can have caused it. Rules of the whole run are found at its end and gain nothing.
    until_s = round(first.at / 1e9 + 0.1, 1)
    if until_s < plan.configuration.seconds:
        search.fails(keep_faults(plan, None, until_s))
    size = max(1, len(search.best.faults) // 2)
    while search.best.faults and search.runs < RUNS_MAX:
        if not _drop_a_chunk(search, size):
            if size == 1:
                break
            size = max(1, size // 2)
    return Minimal(search.best, run(search.best), search.runs)


def _drop_a_chunk(search: _Search, size: int) -> bool:
    """Leave out `size` neighbouring faults wherever that still fails. Whether it did anywhere."""
    start, dropped = 0, False
    while start < len(search.best.faults):
        faults: tuple[Fault, ...] = search.best.faults
        numbers = [fault.number for fault in faults[:start] + faults[start + size :]]
        if search.fails(keep_faults(search.best, numbers)):
            dropped = True
        else:
            start += size
    return dropped


def replay_command(plan: Plan, whole: Plan) -> str:
    """The command that repeats `plan`, a part of `whole`."""
    configuration = whole.configuration
    words = ["scripts/sim", f"--seed {configuration.seed}", f"--profile {configuration.profile}"]
    words.append(f"--seconds {configuration.seconds:g}")
    if len(plan.faults) < len(whole.faults):
        numbers = ",".join(str(fault.number) for fault in plan.faults)
        words.append(f"--only-faults {numbers or 'none'}")
    if plan.configuration.seconds != configuration.seconds:
        words.append(f"--until {plan.configuration.seconds:g}")
    return " ".join(words)
