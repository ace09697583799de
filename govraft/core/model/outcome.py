"""What applying an entry gives: `Applied` or `Rejected(code)`. Replicated, so codes are append-only."""

from __future__ import annotations

from enum import StrEnum

import msgspec

__all__ = ["Applied", "Outcome", "Rejected", "Rejection"]


class Rejection(StrEnum):
    """Why the machine refused an entry. The same on every node."""

    # The entry or its envelope cannot be read.
    ENTRY_MALFORMED = "entry_malformed"
    ENVELOPE_MALFORMED = "envelope_malformed"
    ENVELOPE_TOO_LARGE = "envelope_too_large"
    PAYLOAD_TYPE_UNKNOWN = "payload_type_unknown"
    PAYLOAD_MALFORMED = "payload_malformed"
    PAYLOAD_NOT_CANONICAL = "payload_not_canonical"
    # The envelope is not authorised.
    ENVELOPE_UNSIGNED = "envelope_unsigned"
    SIGNATURE_INVALID = "signature_invalid"
    KEY_DUPLICATE = "key_duplicate"
    THRESHOLD_UNMET = "threshold_unmet"
    WRONG_CLUSTER = "wrong_cluster"
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
    # A defect of govraft itself, contained: the state is unchanged.
    INTERNAL_ERROR = "internal_error"


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
