"""What a review of the socket found, kept: each of these failed before its cause was removed."""

from __future__ import annotations

import asyncio
import os
import struct
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from security.test_socket_fuzz import _Wire as Wire
from unit.api.test_socket_server import ASK, Peer, wait_until

from govraft.api import batch as batch_module
from govraft.api.peer_credentials import PeerRules
from govraft.api.socket_connection import ClientConnection
from govraft.api.socket_office import Office, SocketLimits
from govraft.api.wire import frame
from govraft.core.model.request import Request
from govraft.testing.node_stub import NodeStub, StubService, allow
from govraft.turns import Turns

ME = PeerRules(frozenset({os.getuid()}))


def test_a_turn_that_fails_does_not_end_the_turns_of_the_others() -> None:
    """Otherwise nobody would be served ever again: the line stands, and who comes stands in line."""

    async def scenario() -> tuple[list[str], list[str]]:
        turns, served, failures = Turns(0.005, 4), [], []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(str(context["exception"])))

        def fail() -> None:
            raise OSError("no space left to log the error")

        turns.request(fail)
        turns.request(lambda: served.append("next"))
        for _ in range(5):
            await asyncio.sleep(0)
        assert turns.has_room()
        turns.request(lambda: served.append("later"))
        await asyncio.sleep(0)
        return served, failures

    served, failures = asyncio.run(scenario())
    assert served == ["next", "later"]
    assert failures == ["no space left to log the error"]


def test_a_client_whose_call_cannot_be_answered_is_dropped() -> None:
    """Left open, it would wait for ever for an answer, or for being read from."""

    async def scenario() -> None:
        def fail(error: Exception) -> None:
            raise OSError("no space left to log the error")

        service = StubService()
        service.found = lambda what, params: 1 / 0
        office = Office(service, ME, "n", "c", SocketLimits(), fail, lambda _: None)
        connection, wire = ClientConnection(office), Wire()
        connection.connection_made(wire)
        with pytest.raises(OSError, match="no space"):
            connection.data_received(frame(msgspec.msgpack.encode({"op": "read", "id": 1, "what": "status"})))
        assert connection not in office.connections
        assert connection._transport is None

    asyncio.run(scenario())


@pytest.mark.parametrize("later", ["a future", "a coroutine"])
def test_an_allow_that_waited_is_still_given_when_it_leaves(tmp_path: Path, later: str) -> None:
    """Between the decision and the answer lies a turn of the loop, or more: the node may have stopped serving."""
    held: list[asyncio.Future[Any]] = []

    def decide(request: Request) -> Any:
        held.append(asyncio.get_running_loop().create_future())
        return held[-1] if later == "a future" else wait_for(held[-1])

    async def wait_for(future: asyncio.Future[Any]) -> Any:
        return await future

    service = StubService(decide)
    with NodeStub(tmp_path / "s", service, rules=ME) as stub, Peer(stub) as peer:
        peer.send({"op": "check", "id": 1, "request": ASK})
        wait_until(lambda: held)

        def decided_and_then_stopped() -> None:
            held[0].set_result(allow())
            service.serving = lambda _: False

        held[0].get_loop().call_soon_threadsafe(decided_and_then_stopped)
        answer = (peer.receive() or {})["result"]
        assert (answer["verdict"], answer["reason"]) == ("deny", "synchronizing")


@pytest.mark.parametrize("count", [1_001, 70_000])
def test_a_batch_that_is_too_long_is_not_cut_into_its_items(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """A million items in a frame take tens of milliseconds to cut apart, and two such batches start at a time."""

    class NeverDecodes:
        def decode(self, data: object) -> object:
            raise AssertionError("it was cut into its items")

    monkeypatch.setattr(batch_module, "_decoder", NeverDecodes())
    with NodeStub(tmp_path / "s", rules=ME) as stub, Peer(stub) as peer:
        peer.send({"op": "check_many", "id": 1, "requests": [None] * count})
        answer = peer.receive() or {}
        assert answer["error"]["code"] == "limit_exceeded"
        assert str(count) in answer["error"]["message"]
        assert not stub.errors


@pytest.mark.parametrize("requests", [b"\xc0", b"\xdc", b"\xdd\x00\x00", b"\x81\x01\x02", b""])
def test_a_batch_that_is_no_array_is_refused_in_words(tmp_path: Path, requests: bytes) -> None:
    with NodeStub(tmp_path / "s", rules=ME) as stub, Peer(stub) as peer:
        head = b"\x83" + b"".join(map(msgspec.msgpack.encode, ("op", "check_many", "id", 1, "requests")))
        peer.socket.sendall(struct.pack(">I", len(head + requests)) + head + requests)
        answer = peer.receive() or {}
        assert not answer["ok"]
        assert answer["error"]["kind"] == "input"
        assert not stub.errors


def test_a_million_items_hold_nobody_up(tmp_path: Path) -> None:
    body = msgspec.Raw(b"\xdd" + struct.pack(">I", 1_000_000) + b"\xc0" * 1_000_000)
    with NodeStub(tmp_path / "s", rules=ME) as stub, Peer(stub) as peer:
        began = time.process_time()
        for number in range(1, 6):
            peer.send({"op": "check_many", "id": number, "requests": body})
            assert (peer.receive() or {})["error"]["code"] == "limit_exceeded"
        assert (time.process_time() - began) / 5 < 0.03


def test_a_read_ends_with_its_client_even_if_it_never_began() -> None:
    """A client that asks and is gone in the same turn of the loop leaves nothing running."""

    async def scenario() -> None:
        async def page() -> object:
            return await asyncio.Event().wait()

        service = StubService()
        service.found = lambda what, params: page()
        office = Office(service, ME, "n", "c", SocketLimits(), lambda _: None, lambda _: None)
        connection = ClientConnection(office)
        connection.connection_made(Wire())
        for number in range(1, 6):
            connection.data_received(frame(msgspec.msgpack.encode({"op": "read", "id": number, "what": "lineage"})))
        connection.connection_lost(None)
        for _ in range(5):
            await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scenario())
