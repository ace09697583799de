"""Puts the head of this node's decision log on record in the lineage, from time to time.

Only what is durable is anchored: a log that forgot an anchored record could never be anchored again. One anchor is
under way at a time; one that fails is tried again at the next occasion, with whatever the log holds by then.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from govraft.core.codec.envelope import pae, seal
from govraft.core.machine.machine import Machine
from govraft.core.model.commands import AuditAnchor, encode_command, payload_type
from govraft.errors import GovraftError
from govraft.node.decision_keeper import DecisionKeeper
from govraft.ports.clock import Clock
from govraft.ports.decisions import LogHead, StoredAnchor

__all__ = ["Anchoring", "Signer", "anchor_envelope"]

VALIDITY_MS = 10 * 60 * 1000
SUBMIT_TIMEOUT_MS = 30_000
STOP_S = 1.0

Submit = Callable[[bytes, int], Awaitable[dict[str, Any]]]
"""Hands in an envelope, with a time-out in ms, and waits until it is effective; raises `GovraftError`."""


class Signer(Protocol):
    """The node's own key."""

    @property
    def public_key(self) -> bytes:
        """32 bytes."""
        ...

    def sign(self, message: bytes) -> bytes:
        """An Ed25519 signature."""
        ...


class Anchoring:
    """Anchors one node's log.

    Args:
        keeper: Of the log.
        machine: Says what is anchored already.
        node: This node's id.
        signer: Signs the anchors.
        clock: For their validity.
        submit: Brings them into the lineage.
        period_s: How often to look whether there is anything new.
        report: Told of each anchor that failed.
    """

    def __init__(
        self,
        *,
        keeper: DecisionKeeper,
        machine: Machine,
        node: str,
        signer: Signer,
        clock: Clock,
        submit: Submit,
        period_s: float,
        report: Callable[[str], None],
    ) -> None:
        self._keeper = keeper
        self._machine = machine
        self._node = node
        self._signer = signer
        self._clock = clock
        self._submit = submit
        self._period_s = period_s
        self._report = report
        self._task: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()
        self.anchored = 0
        self.failures = 0

    def start(self) -> None:
        """Begin to anchor, one period from now."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Anchor what is new if that is quick, and end.

        A node that has not anchored in this life leaves it to the next one.
        """
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self.anchored:
            try:
                await asyncio.wait_for(self.anchor(), STOP_S)
            except TimeoutError:
                self._report("the last records of the decision log are not anchored: there was no time")

    async def anchor(self) -> bool:
        """Anchor the head of the log if it has grown. Whether it was; a failure is reported, not raised."""
        async with self._lock:
            try:
                return await self._anchor()
            except Exception as error:  # noqa: BLE001 - an anchor that fails costs nothing but itself
                self.failures += 1
                self._report(f"the decision log could not be anchored: {error}")
                return False

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._period_s)
            await self.anchor()

    async def _anchor(self) -> bool:
        head, last = self._keeper.head, self._machine.anchors.get(self._node)
        if head is None or head.size == 0:
            return False
        proof: Sequence[bytes] = ()
        if last is not None and last.log == head.log:
            if (last.size, last.root) == (head.size, head.root):
                return False
            if last.size >= head.size:
                message = f"it has {head.size} records, {last.size} are anchored: the file went back in time, move it"
                raise GovraftError(f"{message} away to begin another log", code="anchor_inconsistent")
            size = last.size
            proof = await self._keeper.run(lambda store: store.consistency(size, head.size))
        envelope = anchor_envelope(
            head, proof, cluster=self._machine.cluster_id, node=self._node, signer=self._signer, wall=self._clock.wall()
        )
        receipt = await self._submit(envelope, SUBMIT_TIMEOUT_MS)
        self.anchored += 1
        anchor = StoredAnchor(head.size, head.root, int(receipt["seq"]))
        await self._keeper.run(lambda store: store.keep_anchor(anchor))
        return True


def anchor_envelope(
    head: LogHead, proof: Sequence[bytes], *, cluster: str, node: str, signer: Signer, wall: int
) -> bytes:
    """The signed command that anchors a head.

    Args:
        head: Durable.
        proof: That it extends the node's last anchor of the same log; empty if there is none.
        cluster: Cluster id.
        node: Whose log it is.
        signer: The key of that node.
        wall: WallMs, now.
    """
    command = AuditAnchor(
        cluster=cluster,
        command_id=f"anchor-{node}-{head.log[:8]}-{head.size}-{wall}",
        not_after=wall + VALIDITY_MS,
        node=node,
        log=head.log,
        size=head.size,
        root=head.root.hex(),
        proof=tuple(base64.b64encode(item).decode("ascii") for item in proof),
    )
    kind, payload = payload_type(command), encode_command(command)
    return seal(kind, payload, [(signer.public_key, signer.sign(pae(kind, payload)))])
