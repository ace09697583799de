"""Liveness after healing: once the last fault is over, every node that runs allows again within a bound.

Kept apart from safety: a node that denies for ever is safe. A run that ends before the bound decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from govraft.testing.checkers.run import Run
from govraft.testing.checkers.violation import Violation, seconds

__all__ = ["liveness"]


def liveness(run: Run, within_ns: int) -> Iterator[Violation]:
    """Nodes that run and never allowed from the end of the last fault until `within_ns` later."""
    over = {item.fault for item in run.ended}
    lasting = [item for item in run.started if item.fault not in over]
    for fault in lasting:
        yield Violation.of("undecided", f"fault {fault.fault} ({fault.kind}) never ended", fault)
    if lasting:
        return
    healed = max((item.at for item in run.ended), default=run.began)
    allowed = {item.node for item in run.checks if item.allowed and healed <= item.began <= healed + within_ns}
    allowed |= {
        item.node for item in run.states if item.standing == "allow" and healed <= item.at <= healed + within_ns
    }
    last = {item.node: item for item in run.states}
    if not last:
        yield Violation.of("undecided", "no state of any node was recorded")
    silent = [item for item in last.values() if item.node not in allowed and item.node not in run.distrusted]
    for state in silent:
        if state.standing == "down":
            continue
        if run.ended_at < healed + within_ns:
            message = f"the run ended at {seconds(run.ended_at)}, before {state.node} had the time to allow again"
            yield Violation.of("undecided", message, state)
            continue
        message = f"{state.node} did not allow again within {seconds(within_ns)} of {seconds(healed)}: {state.standing}"
        yield Violation.of("liveness", message, state)
