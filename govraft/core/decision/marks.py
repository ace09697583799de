"""Enforcement marks: is anything that a request touches stopped?"""

from __future__ import annotations

from collections.abc import Iterable

from govraft.core.decision.finding import Finding, denied
from govraft.core.machine.enforcement import INVALIDATED, ISOLATED, QUARANTINED, REVOKED
from govraft.core.machine.machine import Machine
from govraft.core.model.reasons import Reason

__all__ = ["find_mark", "without_marked"]

_REASONS = (
    (REVOKED, Reason.REVOKED),
    (ISOLATED, Reason.ISOLATED),
    (QUARANTINED, Reason.QUARANTINED),
    (INVALIDATED, Reason.INVALIDATED),
)


def find_mark(machine: Machine, targets: Iterable[tuple[str, str]]) -> Finding | None:
    """The first mark on one of these (kind, target) pairs; None if nothing is stopped.

    Raises:
        DecodeError: A target that is not a uid.
    """
    if not machine.has_marks:
        return None
    for kind, target in targets:
        marks = machine.marks(kind, target)
        for name, reason in _REASONS:
            if name in marks:
                return denied(reason, f"{kind} `{target}` is {name}: {marks[name].reason}")
    return None


def without_marked(machine: Machine, finding: Finding) -> Finding:
    """What is left of an allow when permits that are marked do not count; any other finding as it is.

    Args:
        machine: The state.
        finding: Of the policies; if it allows, `policies` are the permits that make it do so.
    """
    if not finding.is_allow or not machine.has_marks:
        return finding
    marks = {policy: find_mark(machine, [("policy", policy)]) for policy in finding.policies}
    left = tuple(policy for policy, mark in marks.items() if mark is None)
    # SAFETY: an allow rests on at least one permit that nothing marks
    # (test_decision_marks.py::test_a_marked_permit_permits_nothing).
    if left:
        return finding._replace(policies=left)
    stopped = next((mark for mark in marks.values() if mark is not None), None)
    return (stopped or denied(Reason.POLICY_ERROR, "no policy determined it"))._replace(policies=finding.policies)
