"""What a node offers to those who ask it, whatever the protocol they ask in.

The Unix-socket server, and later HTTP, translate bytes to these calls and back; they decide nothing themselves.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Mapping
from typing import Any, Protocol

from govraft.api.wire import Receipt
from govraft.core.model.request import Request
from govraft.core.model.verdict import Allow, Verdict

__all__ = ["Service"]


class Service(Protocol):
    """A node, seen from its API.

    Every method may raise a `GovraftError`, which reaches the caller with its code. Any other exception reaches the
    caller as `internal_error`, and for a check as a `Deny`.
    """

    def check(self, request: Request, *, at_least: int, explain: bool) -> Verdict | Awaitable[Verdict]:
        """Decide one request.

        The answer is best given at once: a verdict returned directly goes out in the same loop turn. An awaitable is
        for synchronize-before-execute only.

        Args:
            request: Well typed, within `REQUEST_BYTES`; uids and context values are not checked yet.
            at_least: The lowest seq that the caller accepts; 0 for any.
            explain: Fill in `policies` and `errors` of a `Deny` even where that costs time.
        """
        ...

    def holds(self, verdict: Allow) -> bool:
        """Whether the node would still give this allow now: it serves the same seq. Called just before it is sent."""
        ...

    async def submit(self, envelope: bytes, *, wait: str, timeout_s: float, retry: bool) -> Receipt | Mapping[str, Any]:
        """Propose a signed command and wait for `effective`, `committed` or `none`.

        With `retry`, a command that took its place before is answered with what became of it; without, it is refused
        as a replay.

        Returns:
            A `Receipt`, or a mapping with the fields of one. With `wait="effective"`, `certified_seq >= seq >= 1`.

        Raises:
            RejectedError: Refused by this node or by apply; `code` is the rejection code.
            AvailabilityError: Not done (`definite`), or the outcome is unknown (not `definite`).
        """
        ...

    def read(self, what: str, params: dict[str, Any]) -> object | Awaitable[object]:
        """Read governance state.

        Args:
            what: `status`, `certificate`, `policies`, `policy`, `entities`, `entity`, `authorities`, `marks`,
                `lineage` (`from`, `to`), `genesis` or `members`.
            params: What to select.

        Returns:
            Anything msgpack can carry, `msgspec.Struct` included, within `RESPONSE_BYTES`: page what can grow.

        Raises:
            InputError: Unknown `what`, or unusable `params`.
        """
        ...

    def subscribe(self) -> AsyncIterator[dict[str, Any]]:
        """Certificates, leases and health as they change. Ends, or is closed, with the subscriber."""
        ...
