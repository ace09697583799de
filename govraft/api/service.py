"""What a node offers to those who ask it, whatever the protocol they ask in.

The Unix-socket server, and later HTTP, translate bytes to these calls and back; they decide nothing themselves.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Mapping
from typing import Any, Protocol

from govraft.api.signed_answers import Authorized, Redeemed, SignedVerdict
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

    async def submit(
        self, envelope: bytes, *, wait: str, timeout_s: float, retry: bool, at_least: int
    ) -> Receipt | Mapping[str, Any]:
        """Propose a signed command and wait for `effective`, `committed` or `none`.

        With `retry`, a command that took its place before is answered with what became of it; without, it is refused
        as a replay. A refusal that rests on the state is given at the seq `at_least` or a later one only.

        Returns:
            A `Receipt`, or a mapping with the fields of one. With `wait="effective"`, `certified_seq >= seq >= 1`.

        Raises:
            RejectedError: Refused by this node or by apply; `code` is the rejection code.
            AvailabilityError: Not done (`definite`), or the outcome is unknown (not `definite`).
        """
        ...

    async def check_signed(self, request: Request, *, at_least: int) -> SignedVerdict | Mapping[str, Any]:
        """As `check`; a denial is signed with the node's key."""
        ...

    async def authorize(
        self,
        request: Request,
        *,
        ttl_ms: int,
        single_use: bool,
        audience: str | None,
        at_least: int,
        timeout_s: float,
    ) -> Authorized | Mapping[str, Any]:
        """Collect the signatures of a quorum for one request.

        Raises:
            AvailabilityError: Too many are being collected.
        """
        ...

    async def redeem(self, permit: bytes, *, timeout_s: float) -> Redeemed | Mapping[str, Any]:
        """Use up a single-use permit, given as its envelope.

        Raises:
            RejectedError: It is used already, or void; `code` says which.
            AvailabilityError: Not done, or, if not `definite`, the outcome is unknown.
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
