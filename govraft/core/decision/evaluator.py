"""Does this state allow this request? The part of the gate that is the same wherever it is asked.

The gate asks it under a lease, each cosigner of a permit for itself, and an audit again years later. It depends on the
state, the request, the node and the time that are given, and on nothing else. The first step that holds denies:

====  =====================================================================  ====================================
step  denies when                                                            with
====  =====================================================================  ====================================
1     principal, action or resource is not a uid                             `request_invalid`
2     the node, the domain or one above it, the action or a group of it,     `revoked`, `quarantined`, …
      the principal, the resource, or a group above them is stopped;
      attestors disagree on the principal or the resource                    `attestation_disagreement`
3     no policy is active in the resource's domain, or what is active there  `policy_denied`, `policy_error`
      and above does not compile
4     the policies deny, or report any error                                 `policy_denied`, `policy_error`, …
5     of the permits that determined it, all are marked                      `revoked`, `quarantined`, …
      or none of the others has its conditions met                           `grant_missing`, `grant_expired`, …
6     a boundary of the resource's domain, or of one above it, is exceeded   `boundary_exceeded`
====  =====================================================================  ====================================
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from govraft.core.decision.attestations import find_disagreement
from govraft.core.decision.boundaries import check_boundaries
from govraft.core.decision.conditions import check_conditions
from govraft.core.decision.finding import Finding, denied
from govraft.core.decision.grants import Reach
from govraft.core.decision.marks import find_mark, without_marked
from govraft.core.decision.policy_shelf import PolicyShelf
from govraft.core.machine.ancestry import with_ancestors
from govraft.core.machine.machine import Machine
from govraft.core.machine.records import Entity
from govraft.core.model.ids import canonical_uid
from govraft.core.model.reasons import Reason
from govraft.core.model.request import Request
from govraft.core.policy.compiled import CompiledPolicies
from govraft.core.policy.demands import NO_DEMANDS
from govraft.errors import DecodeError

__all__ = ["ask_policies", "domain_of", "evaluate"]


def domain_of(machine: Machine, resource: str) -> str:
    """The domain in which a request is decided: that of its resource, the root for one that was never registered.

    Args:
        machine: The state.
        resource: Canonical uid.
    """
    return machine.state.entities.domain(resource)


def evaluate(machine: Machine, shelf: PolicyShelf, request: Request, *, node_id: str, wall: int) -> Finding:
    """Decide a request on the machine's state.

    Args:
        machine: The state.
        shelf: Gives its policies, compiled.
        request: Not believed in anything.
        node_id: The node that answers; it may be stopped itself.
        wall: WallMs at which to decide: what has expired by then does not count.
    """
    # SAFETY: entries are dated by a clock that a quorum agreed with: a node whose own is behind does not let what has
    # expired count again. test_decision_conditions.test_a_clock_behind_the_machine_brings_nothing_back
    wall = max(wall, machine.time)
    try:
        principal, action, resource = (canonical_uid(x) for x in (request.principal, request.action, request.resource))
    except DecodeError as error:
        return denied(Reason.REQUEST_INVALID, str(error))
    compiled, reason, defect = shelf.of(machine, domain_of(machine, resource))
    stopped = find_mark(machine, _targets(machine, compiled, node_id, principal, action, resource))
    if stopped is None:
        stopped = find_disagreement(machine, (principal, resource), wall)
    if stopped is not None:
        return stopped
    if compiled is None:
        return denied(reason, defect)
    finding = without_marked(machine, ask_policies(compiled, request, machine.entities))
    if not finding.is_allow:
        return finding
    permits = [(policy_id, compiled.demands(policy_id)) for policy_id in finding.policies]
    if permits and not machine.state.boundaries and all(demands == NO_DEMANDS for _, demands in permits):
        return finding  # What most requests come to: there is nothing to look up.
    reach = _reach_of(machine, compiled, principal, action, resource)
    conditions = check_conditions(machine, permits, reach, resource, wall=wall)
    if not conditions.is_allow:
        return conditions
    bounds = check_boundaries(machine, reach, request.context, wall=wall)
    ends = [end for end in (conditions.expires, bounds.expires) if end is not None]
    return bounds._replace(policies=conditions.policies, expires=min(ends, default=None))


def _reach_of(machine: Machine, compiled: CompiledPolicies, principal: str, action: str, resource: str) -> Reach:
    return Reach(
        tuple(with_ancestors(machine.entities, principal)),
        frozenset((action, *compiled.action_groups(action))),
        frozenset(with_ancestors(machine.entities, resource)),
        machine.state.domains.path(domain_of(machine, resource)),
    )


def ask_policies(compiled: CompiledPolicies, request: Request, entities: Mapping[str, Entity]) -> Finding:
    """What the policies alone say: whether their permits count is not asked.

    Args:
        compiled: The effective set of the resource's domain.
        request: Not believed in anything.
        entities: By canonical uid.
    """
    decision = compiled.evaluate(request, entities)
    policies, errors = tuple(decision.policies), tuple(decision.errors)
    if decision.effect == "invalid":
        return Finding(Reason.REQUEST_INVALID, "; ".join(errors)[:512], policies, errors)
    if decision.effect == "deny":
        message = "a policy forbids it" if policies else "no policy permits it"
        return Finding(Reason.POLICY_DENIED, message, policies, errors)
    if decision.effect != "allow" or errors:
        return Finding(Reason.POLICY_ERROR, "; ".join(errors)[:512], policies, errors)
    return Finding(None, "", policies)


def _targets(
    machine: Machine, compiled: CompiledPolicies | None, node_id: str, principal: str, action: str, resource: str
) -> Iterator[tuple[str, str]]:
    """What a mark on would stop the request. Marks are kept by canonical uid, so no other spelling evades one.

    test_gate.py::test_another_spelling_of_a_revoked_subject_is_revoked
    """
    yield "node", node_id
    for domain in machine.state.domains.path(domain_of(machine, resource)):
        yield "domain", domain
    yield "action", action
    # SAFETY: stopping a group of actions stops each of them
    # (test_gate.py::test_a_mark_on_an_action_group_denies_its_actions). Without policies nothing is allowed anyway.
    for group in compiled.action_groups(action) if compiled is not None else ():
        yield "action", group
    for uid in with_ancestors(machine.entities, principal):
        yield "subject", uid
    for uid in with_ancestors(machine.entities, resource):
        yield "resource", uid
