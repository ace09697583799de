"""The verdicts an application holds. No I/O but the clock that says whether an allow still holds."""

from __future__ import annotations

import time

from govraft.api.wire import one_line
from govraft.core.model import verdict as model
from govraft.core.model.reasons import Reason
from govraft.core.model.units import NS_PER_MS
from govraft.core.model.verdict import Deny
from govraft.errors import AvailabilityError, Denied, GovraftError, InputError

__all__ = ["Allow", "Deny", "ForeignClockError", "Verdict", "deny_for", "insist", "now_ns"]


def now_ns() -> int:
    """CLOCK_BOOTTIME of this host, ns: the clock of `valid_until`, which goes on while the host sleeps."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Allow(model.Allow, frozen=True, tag="allow", tag_field="verdict", forbid_unknown_fields=True):
    """Execution may start now, and only now: true until `valid_until`, false from then on."""

    def __bool__(self) -> bool:
        """Whether it still holds, by this host's clock at this moment."""
        return self.is_valid_at(now_ns())

    @property
    def reason(self) -> Reason | None:
        """Why it is false, as a `Deny` has it; None while it holds."""
        return None if self else Reason.LEASE_EXPIRED

    @property
    def message(self) -> str:
        """The same for people; empty while it holds."""
        return "" if self else "the allow has run out: ask again"

    def __repr__(self) -> str:
        left_ms = (self.valid_until - now_ns()) // NS_PER_MS
        return f"<Allow seq={self.seq} node={self.node} {f'for {left_ms} ms' if left_ms > 0 else 'has run out'}>"


Verdict = Allow | Deny


class ForeignClockError(AvailabilityError):
    """The node's clock is not this process's: what it says about time means nothing here. Nothing was asked."""

    default_code = Reason.CLOCK_UNSAFE.value


def deny_for(error: Exception) -> Deny:
    """The denial that stands for a failure of the library or of the node.

    Only messages of govraft's own errors are passed on: asking a foreign exception for its text could raise again.
    """
    if isinstance(error, InputError):
        return Deny(Reason.REQUEST_INVALID, one_line(str(error)))
    if isinstance(error, ForeignClockError):
        return Deny(Reason.CLOCK_UNSAFE, one_line(str(error)))
    if isinstance(error, AvailabilityError):
        return Deny(Reason.NODE_UNREACHABLE, one_line(str(error)))
    if isinstance(error, OSError):
        return Deny(Reason.NODE_UNREACHABLE, f"the node's socket failed: {type(error).__name__}")
    if isinstance(error, GovraftError):
        return Deny(Reason.INTERNAL_ERROR, one_line(str(error)))
    return Deny(Reason.INTERNAL_ERROR, f"the client library failed: {type(error).__name__}")


def insist(verdict: Verdict) -> Allow:
    """The verdict, if it is an allow that still holds.

    Raises:
        Denied: It is a deny, or has run out meanwhile.
    """
    if isinstance(verdict, Deny):
        raise Denied(verdict)
    if not verdict:
        raise Denied(Deny(Reason.LEASE_EXPIRED, verdict.message, seq=verdict.seq))
    return verdict
