"""The conditions of permits: after Cedar allows, at least one determining permit must have all of its own met.

The permits are looked at in the order of their ids. If none has its conditions met, the request is denied with the
first condition that is not: of the first permit, the grant before the attestation.
"""

from __future__ import annotations

from collections.abc import Iterable

from govraft.core.decision.attestations import check_attestation
from govraft.core.decision.finding import Finding, denied
from govraft.core.decision.grants import Reach, check_grant
from govraft.core.machine.machine import Machine
from govraft.core.model.reasons import Reason
from govraft.core.policy.demands import Demands

__all__ = ["check_conditions"]


def check_conditions(
    machine: Machine, permits: Iterable[tuple[str, Demands]], reach: Reach, resource: str, *, wall: int
) -> Finding:
    """Whether a permit's conditions are met.

    Args:
        machine: The state.
        permits: Ids and demands of the permits that determined an allow, sorted by id; at least one.
        reach: Of the request.
        resource: Canonical uid.
        wall: WallMs of the decision.

    Returns:
        An allow with those permits whose conditions are met, and until when one of them is; or the first unmet
        condition, with all of them.
    """
    met: list[tuple[str, int | None]] = []
    names: list[str] = []
    unmet: Finding | None = None
    for policy_id, demands in permits:
        names.append(policy_id)
        found = _check(machine, demands, reach, resource, wall)
        if found.is_allow:
            met.append((policy_id, found.expires))
        elif unmet is None:
            unmet = found
    # SAFETY: a permit whose conditions are not met is no permit. test_decision_conditions.test_table
    if not met:
        unmet = unmet or denied(Reason.POLICY_ERROR, "the policies allowed it, but no permit determined that")
        return unmet._replace(policies=tuple(names))
    # The allow ends with the last of its permits.
    ends = [end for _, end in met if end is not None]
    expires = max(ends) if len(ends) == len(met) else None
    return Finding(None, policies=tuple(name for name, _ in met), expires=expires)


def _check(machine: Machine, demands: Demands, reach: Reach, resource: str, wall: int) -> Finding:
    """Whether one permit's demands are met, and until when."""
    found: list[Finding] = []
    if demands.grant:
        found.append(check_grant(machine, reach, wall=wall))
    wanted = demands.attestation
    if wanted is not None:
        found.append(
            check_attestation(
                machine,
                reach.principals[0] if wanted.about == "principal" else resource,
                wanted.predicate_type,
                path=reach.path,
                digest=wanted.digest,
                max_age_ms=wanted.max_age_ms,
                wall=wall,
            )
        )
    for item in found:
        if not item.is_allow:
            return item
    return Finding(None, expires=min((item.expires for item in found if item.expires is not None), default=None))
