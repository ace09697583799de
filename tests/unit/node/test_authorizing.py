"""Between the permit that was collected and the client that gets it: recording, and one more look."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from permit_cluster import REQUEST, PermitCluster

from govraft.core.codec.envelope import decode_envelope
from govraft.core.evidence.denial import prove_denial
from govraft.core.evidence.permit_file import envelope_in
from govraft.core.model.commands import decode_command
from govraft.core.model.reasons import Reason
from govraft.core.model.verdict import Allow, Deny
from govraft.errors import InputError
from govraft.node.authorization import Authorization, Denied, Granted
from govraft.node.authorizing import Authorizer


class Runtime:
    """Turns the whole cluster while anybody waits; `recording` stands for the decision log."""

    def __init__(self, sim: PermitCluster) -> None:
        self.sim = sim
        self.core = sim.core("node-1")
        self.is_halted = False
        self.recorded: list[Any] = []
        self.recording = lambda verdict: verdict
        self._turning: asyncio.Task | None = None

    def wake(self) -> None:
        if self._turning is None or self._turning.done():
            self._turning = asyncio.create_task(self._turn())

    async def _turn(self) -> None:
        while self.core.permits._pending:
            self.sim.step()
            await asyncio.sleep(0)

    def keep(self, request, verdict, *, time, began):
        self.recorded.append((verdict, time))
        return self.recording(verdict)


@pytest.fixture
def runtime() -> Runtime:
    return Runtime(PermitCluster())


def authorize(runtime: Runtime, timeout_s: float = 2.0, **options: Any) -> Granted | Denied:
    authorizer = Authorizer(runtime, runtime.sim.nodes["node-1"].clock, "node-1")
    asked = Authorization(**({"request": REQUEST} | options))

    async def ask() -> Granted | Denied:
        return await authorizer.authorize(asked, timeout_s)

    return asyncio.run(ask())


def test_a_permit_is_recorded_as_an_allow(runtime) -> None:
    granted = authorize(runtime)
    assert isinstance(granted, Granted)
    ((verdict, time),) = runtime.recorded
    assert isinstance(verdict, Allow)
    assert (verdict.seq, verdict.decision, time) == (
        granted.statement.seq,
        granted.statement.decision,
        granted.statement.issued,
    )


def test_a_permit_that_cannot_be_recorded_does_not_leave(runtime) -> None:
    runtime.recording = lambda verdict: Deny(Reason.INTERNAL_ERROR, "not recorded", node="node-1")
    answer = authorize(runtime)
    assert isinstance(answer, Denied)
    assert prove_denial(answer.file, runtime.sim.genesis).reason is Reason.INTERNAL_ERROR


def test_a_permit_that_was_recorded_too_late_does_not_leave(runtime) -> None:
    """While the disk is slow, the agent is revoked."""

    def slow(verdict):
        if isinstance(verdict, Deny):
            return verdict
        future = asyncio.get_running_loop().create_future()
        runtime.sim.govern(runtime.sim.revoke())
        future.set_result(verdict)
        return future

    runtime.recording = slow
    answer = authorize(runtime)
    assert isinstance(answer, Denied)
    assert answer.deny.reason is Reason.REVOKED


def test_another_state_meanwhile_means_another_permit(runtime) -> None:
    changes = iter(["once"])

    def slow(verdict):
        if next(changes, None):
            runtime.sim.govern(runtime.sim.quarantine("another"))
        return verdict

    runtime.recording = slow
    granted = authorize(runtime)
    assert isinstance(granted, Granted)
    assert granted.statement.seq == runtime.core.machine.seq


def test_a_halted_node_gives_nothing(runtime) -> None:
    runtime.is_halted = True
    assert authorize(runtime).deny.reason is Reason.NODE_UNREACHABLE


def test_a_denial_is_recorded_too(runtime) -> None:
    runtime.sim.govern(runtime.sim.revoke())
    assert authorize(runtime).deny.reason is Reason.REVOKED
    assert [type(verdict) for verdict, _ in runtime.recorded] == [Deny]


def test_whoever_goes_away_leaves_no_place(runtime) -> None:
    authorizer = Authorizer(runtime, runtime.sim.nodes["node-1"].clock, "node-1")
    runtime.wake = lambda: None

    async def ask() -> None:
        task = asyncio.create_task(authorizer.authorize(Authorization(REQUEST), 2.0))
        await asyncio.sleep(0)
        assert len(runtime.core.permits._pending) == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(ask())
    assert runtime.core.permits._pending == []


def test_only_single_use_permits_are_redeemed(runtime) -> None:
    authorizer = Authorizer(runtime, runtime.sim.nodes["node-1"].clock, "node-1")
    single = envelope_in(authorize(runtime, single_use=True).file)
    opened = decode_envelope(authorizer.redeem_envelope(single, "r-1"))
    command = decode_command("permit.redeem", opened.payload)
    assert (command.node, command.command_id, len(opened.signatures)) == ("node-1", "r-1", 1)
    for wrong in (envelope_in(authorize(runtime).file), b"", b"{}"):
        with pytest.raises(InputError):
            authorizer.redeem_envelope(wrong, "r-2")
