"""Same request, same seq: same verdict, on every node.

Only what follows from the replicated state is compared. `LOCAL` names the reasons that follow from where and when
a node was asked; a reason in neither table is a violation, so that a new one must be thought about.
"""

from __future__ import annotations

from collections.abc import Iterator

from govraft.core.model.reasons import Reason
from govraft.testing.checkers.run import MARKS, Run
from govraft.testing.checkers.violation import Violation, seconds
from govraft.testing.history import Check

__all__ = ["LOCAL", "REPLICATED", "same_verdict"]

REPLICATED = frozenset(
    {
        Reason.QUARANTINED,
        Reason.REVOKED,
        Reason.INVALIDATED,
        Reason.ATTESTATION_MISSING,
        Reason.GRANT_MISSING,
        Reason.POLICY_DENIED,
        Reason.POLICY_ERROR,
        Reason.REQUEST_INVALID,
    }
)
"""Follow from the state at a seq and the request alone."""

LOCAL = frozenset(
    {
        Reason.POLICY_DIVERGENCE,
        Reason.AUTHORIZATION_INCONSISTENT,
        Reason.RUNTIME_STATE_FRAGMENTED,
        Reason.GOVERNANCE_DESYNCHRONIZED,
        Reason.ATTESTATION_DISAGREEMENT,
        Reason.LINEAGE_INCONSISTENT,
        Reason.UNSIGNED_TRANSITION,
        Reason.AUTHORITY_CONFLICT,
        Reason.QUORUM_UNVERIFIABLE,
        Reason.PARTITION_AMBIGUOUS,
        Reason.LEASE_EXPIRED,
        Reason.LEADER_UNCONFIRMED,
        Reason.SYNCHRONIZING,
        Reason.CLOCK_UNSAFE,
        Reason.ISOLATED,
        Reason.NODE_UNREACHABLE,
        Reason.NODE_STARTING,
        Reason.INTERNAL_ERROR,
        Reason.ATTESTATION_EXPIRED,
        Reason.GRANT_EXPIRED,
        Reason.BOUNDARY_EXCEEDED,
    }
)
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
