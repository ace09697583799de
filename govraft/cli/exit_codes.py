"""How a program ends, for the scripts that call it. Reasons carry theirs (`Reason.exit_code`).

0  allowed, done, proven
1  denied, rejected, not proven
2  used wrongly, or bad input
3  unavailable: no node answered, or what became of it is unknown
"""

from __future__ import annotations

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
    """0 for an allow, else by the reason."""
    return verdict.reason.exit_code if isinstance(verdict, Deny) else DONE


def exit_code_of_error(error: GovraftError) -> int:
    """By the error's family. An answer that is not usable is no answer."""
    return next((code for family, code in ERROR_EXIT_CODES if isinstance(error, family)), UNAVAILABLE)
