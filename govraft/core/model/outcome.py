"""What applying an entry gives: `Applied` or `Rejected(code)`. Replicated, so codes are append-only."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

import msgspec

__all__ = ["ABOUT_TARGET", "Applied", "Ground", "Outcome", "Rejected", "Rejection"]


class Ground(StrEnum):
    """What a rejection rests on: whether another node, or the same one later, may say otherwise."""

    FORM = "form"
    """The bytes and signatures, and what the genesis says: every node refuses it."""
    STATE = "state"
    """The state or a clock: a node that lags, or whose clock is wrong, refuses what the cluster would apply."""


class Rejection(StrEnum):
    """Why the machine refused an entry. The same on every node.

    `ground` says what the refusal rests on. A code for which nothing is said rests on the state: a node then needs a
    live lease to give it as final.
    """

    ground: Ground

    def __new__(cls, code: str, ground: Ground = Ground.STATE) -> Self:
        """A code, and what it rests on."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.ground = ground
        return member

    # The entry or its envelope cannot be read.
    ENTRY_MALFORMED = "entry_malformed", Ground.FORM
    ENVELOPE_MALFORMED = "envelope_malformed", Ground.FORM
    ENVELOPE_TOO_LARGE = "envelope_too_large", Ground.FORM
    PAYLOAD_TYPE_UNKNOWN = "payload_type_unknown", Ground.FORM
    PAYLOAD_MALFORMED = "payload_malformed", Ground.FORM
    PAYLOAD_NOT_CANONICAL = "payload_not_canonical", Ground.FORM
    # The envelope is not authorised.
    ENVELOPE_UNSIGNED = "envelope_unsigned", Ground.FORM
    SIGNATURE_INVALID = "signature_invalid", Ground.FORM
    KEY_DUPLICATE = "key_duplicate", Ground.FORM
    THRESHOLD_UNMET = "threshold_unmet"
    WRONG_CLUSTER = "wrong_cluster", Ground.FORM
    EXPIRED = "expired"
    VALIDITY_TOO_LONG = "validity_too_long"
    DUPLICATE_COMMAND = "duplicate_command"
    LIMIT_EXCEEDED = "limit_exceeded"
    # The command does not fit the state.
    POLICY_VERSION_CONFLICT = "policy_version_conflict"
    POLICY_DIGEST_CONFLICT = "policy_digest_conflict"
    POLICY_HAZARDOUS = "policy_hazardous"
    POLICY_INVALID = "policy_invalid"
    POLICY_UNKNOWN = "policy_unknown"
    ENTITY_INVALID = "entity_invalid"
    ENTITY_UNKNOWN = "entity_unknown"
    ENTITY_CYCLE = "entity_cycle"
    TARGET_INVALID = "target_invalid"
    TARGET_UNKNOWN = "target_unknown"
    ALREADY_QUARANTINED = "already_quarantined"
    NOT_QUARANTINED = "not_quarantined"
    ALREADY_REVOKED = "already_revoked"
    TARGET_STATE = "target_state"
    DOMAIN_UNKNOWN = "domain_unknown"
    DOMAIN_EXISTS = "domain_exists"
    DOMAIN_INVALID = "domain_invalid"
    DOMAIN_IN_USE = "domain_in_use"
    AUTHORITY_UNKNOWN = "authority_unknown"
    AUTHORITY_EXISTS = "authority_exists"
    AUTHORITY_STATE = "authority_state"
    AUTHORITY_INVALID = "authority_invalid"
    THRESHOLD_INVALID = "threshold_invalid"
    KEY_IN_USE = "key_in_use"
    KEY_INVALID = "key_invalid"
    POSSESSION_UNPROVEN = "possession_unproven"
    ROLE_UNABLE = "role_unable"
    PROPOSAL_UNKNOWN = "proposal_unknown"
    PROPOSAL_INVALID = "proposal_invalid"
    PROPOSAL_CLOSED = "proposal_closed"
    BALLOT_REPLAYED = "ballot_replayed"
    BALLOT_INVALID = "ballot_invalid"
    WRONG_EPOCH = "wrong_epoch"
    MEMBER_UNKNOWN = "member_unknown"
    MEMBER_EXISTS = "member_exists"
    MEMBER_STATE = "member_state"
    MEMBER_INVALID = "member_invalid"
    QUORUM_AT_RISK = "quorum_at_risk"
    LAST_VOTER = "last_voter"
    EVIDENCE_INVALID = "evidence_invalid"
    ATTESTATION_INVALID = "attestation_invalid"
    ATTESTATION_UNKNOWN = "attestation_unknown"
    ATTESTATION_CONTINUITY = "attestation_continuity"
    GRANT_INVALID = "grant_invalid"
    GRANT_UNKNOWN = "grant_unknown"
    GRANT_EXISTS = "grant_exists"
    GRANT_WIDER = "grant_wider"
    GRANT_REVOKED = "grant_revoked"
    GRANT_ENDED = "grant_ended"
    BOUNDARY_INVALID = "boundary_invalid"
    BOUNDARY_UNKNOWN = "boundary_unknown"
    ANCHOR_INCONSISTENT = "anchor_inconsistent"
    PERMIT_VOID = "permit_void"
    PERMIT_USED = "permit_used"
    PARENT_OUTSIDE = "parent_outside"
    ENTITY_CLAIMED = "entity_claimed"
    RULES_CONFLICT = "rules_conflict"
    # A defect of govraft itself, contained: the state is unchanged.
    INTERNAL_ERROR = "internal_error"


ABOUT_TARGET = frozenset(
    {
        Rejection.TARGET_INVALID,
        Rejection.TARGET_UNKNOWN,
        Rejection.TARGET_STATE,
        Rejection.ALREADY_QUARANTINED,
        Rejection.ALREADY_REVOKED,
    }
)
"""What a command that stops something may come to because of its target, once its signatures are found sufficient."""


class Applied(msgspec.Struct, frozen=True):
    """The entry changed the state."""

    @property
    def code(self) -> str:
        return "applied"


class Rejected(msgspec.Struct, frozen=True):
    """The entry took its place in the lineage and changed nothing else.

    `detail` explains to people; it is not replicated and never enters a digest.
    """

    reason: Rejection
    detail: str = ""

    @property
    def code(self) -> str:
        return self.reason.value


Outcome = Applied | Rejected
