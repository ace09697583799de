"""How clients share the loop, the places of waiting checks and the budget of bytes: the rules, one by one."""

from __future__ import annotations

import asyncio
import os
import struct
import time
from pathlib import Path
from typing import Any

import pytest
from security.test_socket_fuzz import _Wire as Wire
from unit.api.test_socket_server import ASK, Peer, wait_until

from govraft.api.peer_credentials import PeerRules
from govraft.api.socket_connection import ClientConnection
from govraft.api.socket_office import Office, SocketLimits
from govraft.api.waits import Waits, was_crowded_out
from govraft.core.model.request import Request
from govraft.errors import AvailabilityError
from govraft.testing.node_stub import NodeStub, StubService, allow
from govraft.turns import Turns

ME = PeerRules(frozenset({os.getuid()}))


def busy(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def test_the_guests_never_keep_the_loop_for_long() -> None:
    """A hundred guests that each want 1 ms, over and over: five of them have their turn, then the rest of the node."""

    async def scenario() -> None:
        turns, served = Turns(0.005, 4), [0] * 100

        def turn(guest: int) -> None:
            busy(0.001)
            served[guest] += 1
            turns.request(lambda: turn(guest))

        for guest in range(100):
            turns.request(lambda guest=guest: turn(guest))
        for _ in range(60):
            before = sum(served)
            await asyncio.sleep(0)
            assert 1 <= sum(served) - before <= 5
        assert max(served) - min(served) <= 1, "turns are not taken in order"

    asyncio.run(scenario())


def test_what_is_charged_starts_a_few_at_a_time() -> None:
    async def scenario() -> int:
        turns, started = Turns(10.0, 4), []

        def start() -> None:
            started.append(1)
            turns.charge()

        for _ in range(20):
            turns.request(start)
        await asyncio.sleep(0)
        first = len(started)
        while turns.waiting:
            await asyncio.sleep(0)
        assert len(started) == 20
        return first

    assert asyncio.run(scenario()) == 4


def test_work_ends_with_its_last_step_its_error_or_its_owner() -> None:
    async def scenario() -> None:
        turns, steps = Turns(0.005, 4), []

        def step() -> bool:
            steps.append(1)
            return len(steps) == 3

        await turns.work(step)
        assert len(steps) == 3

        def fail() -> bool:
            raise RuntimeError("no")

        with pytest.raises(RuntimeError):
            await turns.work(fail)
        endless = turns.work(lambda: bool(steps.append(1)))
        await asyncio.sleep(0)
        endless.cancel()
        count = len(steps)
        for _ in range(5):
            await asyncio.sleep(0)
        assert (len(steps) - count, turns.waiting) in {(0, 0), (1, 0)}

    asyncio.run(scenario())


def test_whoever_holds_most_waiting_checks_gives_way() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        waits = Waits(calls_max=10, bytes_max=1_000)
        greedy = [loop.create_future() for _ in range(10)]
        for check in greedy:
            waits.add("greedy", check, 10)
        polite: asyncio.Future[Any] = loop.create_future()
        waits.add("polite", polite, 10)
        assert was_crowded_out(greedy[-1]) and not polite.done()
        large: asyncio.Future[Any] = loop.create_future()
        waits.add("large", large, 950)
        assert was_crowded_out(large) and not polite.done()
        greedy[0].set_result(None)
        polite.cancel()
        await asyncio.sleep(0)
        assert not was_crowded_out(polite)
        assert waits.calls == 8

    asyncio.run(scenario())


def test_a_crowded_out_check_is_denied_as_one_that_waited_in_vain(tmp_path: Path) -> None:
    async def never() -> Any:
        await asyncio.Event().wait()

    def decide(request: Request) -> Any:
        return never()

    limits = SocketLimits(waiting_calls=3)
    with NodeStub(tmp_path / "s", StubService(decide), rules=ME, limits=limits) as stub, Peer(stub) as peer:
        peer.send(*({"op": "check", "id": number, "request": ASK} for number in range(1, 6)))
        answers = [peer.receive() or {} for _ in range(2)]
        assert {answer["result"]["reason"] for answer in answers} == {"synchronizing"}
        assert not stub.errors


def test_the_budget_is_paid_by_whoever_uses_most_of_it(tmp_path: Path) -> None:
    """The polite client's bytes are the last drop; the one that filled the barrel is refused."""
    limits = SocketLimits(buffered_bytes=100_000)
    with NodeStub(tmp_path / "s", rules=ME, limits=limits) as stub, Peer(stub) as greedy, Peer(stub) as polite:
        greedy.socket.sendall(struct.pack(">I", 1_000_000) + b"x" * 99_000)
        wait_until(lambda: stub.stats()["inbound_bytes"] >= 99_000)
        polite.socket.sendall(struct.pack(">I", 1_000_000) + b"x" * 2_000)
        assert (greedy.receive() or {})["error"]["code"] == "node_busy"
        wait_until(lambda: stub.stats()["inbound_bytes"] == 2_004)
        assert stub.stats()["refused_busy"] == 1


def test_a_refused_client_leaves_no_bytes_behind() -> None:
    """Its connection is part of a cycle, and may live on until the next collection."""

    async def scenario() -> None:
        office = Office(StubService(), ME, "n", "c", SocketLimits(), lambda _: None, lambda _: None)
        connection = ClientConnection(office)
        connection.connection_made(Wire())
        connection.data_received(struct.pack(">I", 1_000_000) + b"x" * 500_000)
        assert office.inbound_bytes == 500_004
        connection.refuse(AvailabilityError("enough"))
        assert (office.inbound_bytes, connection._reader.buffered_bytes) == (0, 0)

    asyncio.run(scenario())


def test_calls_under_way_hold_their_bytes(tmp_path: Path) -> None:
    """Thirty batches of 100,000 bytes: reading stops with two under way, and goes on when they are answered."""
    release: list[asyncio.Future[Any]] = []

    def decide(request: Request) -> Any:
        release.append(asyncio.get_running_loop().create_future())
        return release[-1]

    fat = {**ASK, "context": {"filler": "x" * 50_000}}
    with NodeStub(tmp_path / "s", StubService(decide), rules=ME) as stub, Peer(stub) as peer:
        peer.socket.settimeout(0.3)
        try:
            for number in range(1, 31):
                peer.send({"op": "check_many", "id": number, "requests": [fat, fat]})
        except TimeoutError:
            pass
        wait_until(lambda: len(release) == 4)
        assert stub.stats()["calls"] == 2
        assert stub.stats()["inbound_bytes"] < 1_000_000
        peer.socket.settimeout(5)
        for future in release[:4]:
            future.get_loop().call_soon_threadsafe(future.set_result, allow())
        assert (peer.receive() or {})["ok"]
        wait_until(lambda: stub.stats()["calls"] > 2)


def test_watches_are_few_and_are_given_back(tmp_path: Path) -> None:
    limits = SocketLimits(client_watches=2, watches=3)
    with NodeStub(tmp_path / "s", rules=ME, limits=limits) as stub:
        with Peer(stub) as one, Peer(stub) as two:
            said = []
            for peer in (one, two):
                peer.send(*({"op": "watch", "id": number} for number in (1, 2, 3)))
                answers = sorted(((peer.receive() or {}) for _ in range(3)), key=lambda answer: answer["id"])
                said.append([answer["ok"] or answer["error"]["code"] for answer in answers])
            assert said == [[True, True, "watches_full"], [True, "watches_full", "watches_full"]]
        wait_until(lambda: stub.stats()["open"] == 0)
        with Peer(stub) as three:
            three.send({"op": "watch", "id": 1})
            assert (three.receive() or {})["ok"]
