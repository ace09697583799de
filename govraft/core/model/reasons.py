"""Why a node denies. Append-only: a code, once published, never changes its meaning."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Reason"]


class Reason(StrEnum):
    """Exactly one goes with every `Deny`."""

    # The ten consensus failures of RFC-EG-028 clause 4.
    POLICY_DIVERGENCE = "policy_divergence"
    AUTHORIZATION_INCONSISTENT = "authorization_inconsistent"
    RUNTIME_STATE_FRAGMENTED = "runtime_state_fragmented"
    GOVERNANCE_DESYNCHRONIZED = "governance_desynchronized"
    ATTESTATION_DISAGREEMENT = "attestation_disagreement"
    LINEAGE_INCONSISTENT = "lineage_inconsistent"
    UNSIGNED_TRANSITION = "unsigned_transition"
    AUTHORITY_CONFLICT = "authority_conflict"
    QUORUM_UNVERIFIABLE = "quorum_unverifiable"
    PARTITION_AMBIGUOUS = "partition_ambiguous"
    # The state of this node.
    LEASE_EXPIRED = "lease_expired"
    LEADER_UNCONFIRMED = "leader_unconfirmed"
    SYNCHRONIZING = "synchronizing"
    CLOCK_UNSAFE = "clock_unsafe"
    ISOLATED = "isolated"
    NODE_UNREACHABLE = "node_unreachable"
    NODE_STARTING = "node_starting"
    INTERNAL_ERROR = "internal_error"
    # The state of what is asked about.
    QUARANTINED = "quarantined"
    REVOKED = "revoked"
    INVALIDATED = "invalidated"
    ATTESTATION_MISSING = "attestation_missing"
    ATTESTATION_EXPIRED = "attestation_expired"
    GRANT_MISSING = "grant_missing"
    GRANT_EXPIRED = "grant_expired"
    BOUNDARY_EXCEEDED = "boundary_exceeded"
    POLICY_DENIED = "policy_denied"
    POLICY_ERROR = "policy_error"
    REQUEST_INVALID = "request_invalid"
