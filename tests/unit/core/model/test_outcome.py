"""Each rejection says what it rests on, and which of them stop commands are never refused for."""

from govraft.core.model.outcome import ABOUT_TARGET, Ground, Rejection
from govraft.core.model.units import time_text

FORM = """
    entry_malformed envelope_malformed envelope_too_large payload_type_unknown payload_malformed
    payload_not_canonical envelope_unsigned signature_invalid key_duplicate wrong_cluster
"""
STATE = """
    threshold_unmet expired validity_too_long duplicate_command limit_exceeded policy_version_conflict
    policy_digest_conflict policy_hazardous policy_invalid policy_unknown entity_invalid entity_unknown
    entity_cycle target_invalid target_unknown already_quarantined not_quarantined already_revoked target_state
    domain_unknown domain_exists domain_invalid domain_in_use authority_unknown authority_exists authority_state
    authority_invalid threshold_invalid key_in_use key_invalid possession_unproven role_unable proposal_unknown
    proposal_invalid proposal_closed ballot_replayed ballot_invalid wrong_epoch member_unknown member_exists
    member_state member_invalid quorum_at_risk last_voter evidence_invalid attestation_invalid
    attestation_unknown attestation_continuity grant_invalid grant_unknown grant_exists grant_wider
    grant_revoked grant_ended boundary_invalid boundary_unknown anchor_inconsistent permit_void
    permit_used parent_outside entity_claimed rules_conflict internal_error
"""


def test_each_rejection_is_classified_on_purpose():
    """Whoever adds one says here what it rests on: as `FORM`, a node that is cut off tells it as final."""
    assert {item.value for item in Rejection if item.ground is Ground.FORM} == set(FORM.split())
    assert {item.value for item in Rejection if item.ground is Ground.STATE} == set(STATE.split())


def test_what_is_said_of_a_target_rests_on_the_state():
    assert {item.ground for item in ABOUT_TARGET} == {Ground.STATE}


def test_a_time_is_told_whatever_it_is():
    """An entry carries any time; apply must not fail on it."""
    assert time_text(1_700_000_000_123) == "2023-11-14T22:13:20.123Z"
    assert time_text(2**63) == f"{2**63} ms"
    assert time_text(-(2**63)) == f"{-(2**63)} ms"
