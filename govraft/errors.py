"""The exceptions of govraft.

::

    GovraftError                     everything a caller may handle
    ├── ConfigError                  a configuration file is unusable; names file and key
    ├── InputError                   what the caller handed in is unusable
    │   ├── DecodeError              bytes or text that cannot be decoded
    │   └── LimitExceededError       larger, longer or deeper than a limit in `core/model/limits.py`
    ├── VerificationError            evidence does not hold; never retried
    │   ├── SignatureError           a signature is missing, invalid or made by an unknown key
    │   ├── ThresholdError           too few distinct keys signed
    │   ├── CertificateError         a quorum certificate or lease does not prove what it claims
    │   ├── LineageError             a leaf, root or proof differs from the lineage
    │   └── ExpiredError             valid once, not now
    ├── AvailabilityError            could not be done now; `definite` tells whether nothing happened
    ├── StorageError                 the disk failed
    │   └── CorruptionError          stored bytes are damaged or foreign; stops the node
    ├── RejectedError                the machine refused a command; `code` is the rejection code
    └── Denied                       raised by `Client.require`; carries the `Deny`

    InvariantViolation               outside the tree on purpose: no handler may swallow it; halts the node
"""

from __future__ import annotations

__all__ = [
    "AvailabilityError",
    "CertificateError",
    "ConfigError",
    "CorruptionError",
    "DecodeError",
    "Denied",
    "ExpiredError",
    "GovraftError",
    "InputError",
    "InvariantViolation",
    "LimitExceededError",
    "LineageError",
    "RejectedError",
    "SignatureError",
    "StorageError",
    "ThresholdError",
    "VerificationError",
    "require",
]


class GovraftError(Exception):
    """Base of every error that govraft raises on purpose.

    Attributes:
        code: Stable snake_case name of the failure.
        definite: True when the failed operation is known to have had no effect.
    """

    default_code = "error"

    def __init__(self, message: str, *, code: str | None = None, definite: bool = True, **details: object) -> None:
        super().__init__(message)
        self.code = code or self.default_code
        self.definite = definite
        self._details = details

    def diagnostics(self) -> dict[str, object]:
        """Everything known about the failure, for logs and `-o json`."""
        return {"code": self.code, "message": str(self), "definite": self.definite, **self._details}


class ConfigError(GovraftError):
    """A configuration file cannot be used. `file` and `key` say where."""

    default_code = "config_invalid"

    def __init__(self, message: str, *, file: str, key: str = "") -> None:
        where = f"{file}: `{key}`: " if key else f"{file}: "
        super().__init__(where + message, file=file, key=key)
        self.file = file
        self.key = key


class InputError(GovraftError):
    """What the caller handed in cannot be used."""

    default_code = "input_invalid"


class DecodeError(InputError):
    """Bytes or text that do not decode."""

    default_code = "malformed"


class LimitExceededError(InputError):
    """Over a limit of `core/model/limits.py`."""

    default_code = "limit_exceeded"


class VerificationError(GovraftError):
    """Evidence does not hold. Never retried."""

    default_code = "verification_failed"


class SignatureError(VerificationError):
    """A signature is missing, invalid, or of an unknown key."""

    default_code = "signature_invalid"


class ThresholdError(VerificationError):
    """Too few distinct keys signed."""

    default_code = "threshold_unmet"


class CertificateError(VerificationError):
    """A quorum certificate or a lease does not prove what it claims."""

    default_code = "certificate_invalid"


class LineageError(VerificationError):
    """A leaf, root or proof differs from the lineage."""

    default_code = "lineage_inconsistent"


class ExpiredError(VerificationError):
    """Was valid once, is not now."""

    default_code = "expired"


class AvailabilityError(GovraftError):
    """Could not be done now. `definite=False` means that the outcome is unknown: retry only the same command id."""

    default_code = "unavailable"


class StorageError(GovraftError):
    """The disk failed or refused. The node stops: going on after a failed sync would acknowledge lost bytes."""

    default_code = "storage_failed"


class CorruptionError(StorageError):
    """Stored bytes are damaged, foreign or inconsistent with each other."""

    default_code = "storage_corrupt"


class RejectedError(GovraftError):
    """The machine, or a node on its behalf, refused a command. `code` is its rejection code."""

    default_code = "rejected"


class Denied(GovraftError):  # noqa: N818 - the name users write in `except Denied`
    """Execution is denied. `verdict` is the `Deny`; `denial` the file of a signed one, empty if no node gave one."""

    default_code = "denied"

    def __init__(self, verdict: object, denial: bytes = b"") -> None:
        reason = getattr(verdict, "reason", "internal_error")
        super().__init__(f"denied: {reason}", code=str(reason))
        self.verdict = verdict
        self.denial = denial


class InvariantViolation(BaseException):
    """A guarantee of the design is broken in this process. The node halts; nothing may handle it."""


def require(condition: object, message: str) -> None:
    """Halt unless `condition` holds.

    Raises:
        InvariantViolation: The condition is falsy.
    """
    if not condition:
        raise InvariantViolation(message)
