"""Attestations at the moment of a decision: do attestors disagree, and is what a policy demands attested?"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from govraft.core.decision.finding import Finding, denied
from govraft.core.machine.attestations import counts, disagreeing
from govraft.core.machine.machine import Machine
from govraft.core.model.authority import Role
from govraft.core.model.reasons import Reason

__all__ = ["check_attestation", "find_disagreement"]


def find_disagreement(machine: Machine, entities: Iterable[str], wall: int) -> Finding | None:
    """The first disagreement about one of these entities; None if there is none.

    Only a new statement can begin one, so nothing expires into a disagreement.

    Args:
        machine: The state.
        entities: Canonical uids: what the request is about, not the groups above it.
        wall: WallMs of the decision.
    """
    state = machine.state
    for entity in entities:
        for predicate_type in sorted(state.attestations.by_entity.get(entity, ())):
            found = disagreeing(state, entity, predicate_type, wall)
            if found:
                names = ", ".join(f"`{item.attestor}`" for item in found)
                message = f"{names} disagree on `{entity}`, predicate type `{predicate_type}`"
                ends = min(item.expires for item in found)
                return denied(Reason.ATTESTATION_DISAGREEMENT, message)._replace(expires=ends)
    return None


def check_attestation(
    machine: Machine,
    entity: str,
    predicate_type: str,
    *,
    path: Collection[str],
    digest: str | None,
    max_age_ms: int | None,
    wall: int,
) -> Finding:
    """Whether an attestor's word about an entity is there and counts.

    Args:
        machine: The state.
        entity: Canonical uid.
        predicate_type: URI.
        path: The domain in which it is demanded, and all above it: whose attestors are trusted there.
        digest: SHA-256 that must be among the subjects, 64 hexadecimal digits; None: any subject.
        max_age_ms: It must have been recorded less than this ago; None: any age.
        wall: WallMs of the decision.

    Returns:
        An allow whose `expires` says until when, `attestation_expired` if only time is against it, else
        `attestation_missing`.
    """
    state = machine.state
    heads = state.attestations.heads(entity, predicate_type)
    authorities = state.authorities.by_id
    fitting = [
        item
        for item in heads.values()
        if (digest is None or digest in item.subjects)
        # SAFETY: a domain does not trust the attestors of another one, whose entity the principal may be.
        # test_decision_attestations.test_attestors_of_another_domain_are_not_trusted
        and authorities[item.attestor].holds(Role.ATTESTOR, path)
    ]
    ends = [
        item.expires if max_age_ms is None else min(item.expires, item.issued + max_age_ms)
        for item in fitting
        if counts(state, item, wall)
    ]
    what = f"`{predicate_type}` of `{entity}`" + ("" if digest is None else f" with sha256 {digest}")
    # SAFETY: its time is looked at in each decision. test_decision_attestations.test_time_table
    if ends and wall < max(ends):
        return Finding(None, expires=max(ends))
    # What would count if it were fresh: its own time is left out by asking for the moment before it was over.
    if any(counts(state, item, min(wall, item.expires - 1)) for item in fitting):
        return denied(Reason.ATTESTATION_EXPIRED, f"the attestation {what} is too old, attest again")
    return denied(Reason.ATTESTATION_MISSING, f"there is no attestation {what} that counts")
