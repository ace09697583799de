"""Same request, same seq: same verdict, on every node.

Only what follows from the replicated state is compared. `LOCAL` names the reasons that follow from where and when
a node was asked; what is no reason at all is a violation.
"""

from __future__ import annotations

from collections.abc import Iterator

from govraft.core.model.reasons import About, Reason
from govraft.testing.checkers.run import MARKS, Run
from govraft.testing.checkers.violation import Violation, seconds
from govraft.testing.history import Check

__all__ = ["LOCAL", "REPLICATED", "same_verdict"]

REPLICATED = frozenset(reason for reason in Reason if reason.about is not About.NODE and not reason.varies)
"""Follow from the state at a seq and the request alone."""

LOCAL = frozenset(Reason) - REPLICATED
"""Depend on the node's standing (leases, leader, clocks, isolation) or on the time (expiries, rates)."""


def same_verdict(run: Run) -> Iterator[Violation]:
    """Two different verdicts on one request at one seq."""
    verdicts: dict[tuple[str, int], Check] = {}
    for check in run.checks:
        if not check.allowed:
            if check.reason in LOCAL or (check.reason in MARKS and not run.reads_marks(check)):
                continue
            if check.reason not in REPLICATED:
                message = f"{check.node} denied at {seconds(check.at)} with the unknown reason `{check.reason}`"
                yield Violation.of("same_verdict", message, check)
                continue
        if not check.seq:
            continue
        known = verdicts.setdefault((check.request, check.seq), check)
        if (known.allowed, known.reason) != (check.allowed, check.reason):
            message = (
                f"at seq {check.seq} {known.node} answered `{_verdict(known)}` and {check.node} `{_verdict(check)}` "
                f"to one request about `{check.target}`"
            )
            yield Violation.of("same_verdict", message, known, check)


def _verdict(check: Check) -> str:
    return "allow" if check.allowed else check.reason
