"""How a program ends, for the scripts that call it. The one table from codes to exit codes.

0  allowed, done, proven
1  denied, rejected, not proven
2  used wrongly, or bad input
3  unavailable: no node answered, or what became of it is unknown
"""

from __future__ import annotations

from govraft.core.model.reasons import Reason
from govraft.core.model.verdict import Deny, Verdict
from govraft.errors import (
    AvailabilityError,
    ConfigError,
    Denied,
    GovraftError,
    InputError,
    RejectedError,
    StorageError,
    VerificationError,
)

__all__ = [
    "DENIED",
    "DONE",
    "ERROR_EXIT_CODES",
    "INTERRUPTED",
    "MISUSED",
    "PIPE_CLOSED",
    "REASON_EXIT_CODES",
    "UNAVAILABLE",
    "exit_code_of_error",
    "exit_code_of_verdict",
]

DONE = 0
DENIED = 1
MISUSED = 2
UNAVAILABLE = 3
INTERRUPTED = 130
PIPE_CLOSED = 141
"""What a shell reports for a program that SIGINT or SIGPIPE ended."""

REASON_EXIT_CODES: dict[Reason, int] = {
    Reason.POLICY_DIVERGENCE: DENIED,
    Reason.AUTHORIZATION_INCONSISTENT: DENIED,
    Reason.RUNTIME_STATE_FRAGMENTED: DENIED,
    Reason.GOVERNANCE_DESYNCHRONIZED: DENIED,
    Reason.ATTESTATION_DISAGREEMENT: DENIED,
    Reason.LINEAGE_INCONSISTENT: DENIED,
    Reason.UNSIGNED_TRANSITION: DENIED,
    Reason.AUTHORITY_CONFLICT: DENIED,
    Reason.QUORUM_UNVERIFIABLE: DENIED,
    Reason.PARTITION_AMBIGUOUS: DENIED,
    Reason.LEASE_EXPIRED: DENIED,
    Reason.LEADER_UNCONFIRMED: DENIED,
    Reason.SYNCHRONIZING: DENIED,
    Reason.CLOCK_UNSAFE: DENIED,
    Reason.ISOLATED: DENIED,
    Reason.NODE_UNREACHABLE: UNAVAILABLE,
    Reason.NODE_STARTING: DENIED,
    Reason.INTERNAL_ERROR: DENIED,
    Reason.QUARANTINED: DENIED,
    Reason.REVOKED: DENIED,
    Reason.INVALIDATED: DENIED,
    Reason.ATTESTATION_MISSING: DENIED,
    Reason.ATTESTATION_EXPIRED: DENIED,
    Reason.GRANT_MISSING: DENIED,
    Reason.GRANT_EXPIRED: DENIED,
    Reason.BOUNDARY_EXCEEDED: DENIED,
    Reason.POLICY_DENIED: DENIED,
    Reason.POLICY_ERROR: DENIED,
    Reason.REQUEST_INVALID: MISUSED,
}

ERROR_EXIT_CODES: tuple[tuple[type[GovraftError], int], ...] = (
    (RejectedError, DENIED),
    (Denied, DENIED),
    (VerificationError, DENIED),
    (ConfigError, MISUSED),
    (InputError, MISUSED),
    (AvailabilityError, UNAVAILABLE),
    (StorageError, UNAVAILABLE),
)
"""The first family that an error belongs to decides."""


def exit_code_of_verdict(verdict: Verdict) -> int:
    """0 for an allow, else by the reason; a reason without an entry is a denial."""
    return REASON_EXIT_CODES.get(verdict.reason, DENIED) if isinstance(verdict, Deny) else DONE


def exit_code_of_error(error: GovraftError) -> int:
    """By the error's family. An answer that is not usable is no answer."""
    return next((code for family, code in ERROR_EXIT_CODES if isinstance(error, family)), UNAVAILABLE)
