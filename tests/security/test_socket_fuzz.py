"""Malformed bytes on the Unix socket, in both directions: no crash, no growth of memory, no allow.

An independent reading of each input (with another msgpack library) says whether it was a well-formed question. The
service behind the socket allows everything, so an allow for anything else would show.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import socket
import struct
import time
import tracemalloc
from pathlib import Path
from typing import Any

import msgpack
import pytest

from govraft.api.peer_credentials import PeerRules
from govraft.api.socket_connection import ClientConnection
from govraft.api.socket_office import Office, SocketLimits
from govraft.api.wire import request_digest
from govraft.client import Client
from govraft.client.questions import ask_check
from govraft.client.verdicts import Allow
from govraft.errors import GovraftError
from govraft.testing.node_stub import NodeStub, StubService

INPUTS = 100_000
SOCKET_INPUTS = 1_500
ANSWERS = 20_000
SEED = 20_240_607

REQUEST = {"principal": "p", "action": "a", "resource": "r", "context": {"env": "prod", "n": [1, {"x": None}]}}
CALLS: list[dict[str, Any]] = [
    {"op": "check", "id": 1, "request": REQUEST, "at_least": 0, "explain": False},
    {"op": "check_many", "id": 2, "requests": [REQUEST, REQUEST]},
    {"op": "read", "id": 3, "what": "status", "params": {}},
    {"op": "submit", "id": 4, "envelope": b"{}", "timeout_ms": 10, "wait": "none"},
    {"op": "hello", "id": 5},
]
RULES = PeerRules(frozenset({os.getuid()}))


def _frame(payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + payload


def _spoil(data: bytes, rng: random.Random) -> bytes:
    """One of several ways to break `data`."""
    spoiled, way = bytearray(data), rng.randrange(6)
    place = rng.randrange(len(spoiled))
    if way == 0:
        spoiled[place] ^= 1 << rng.randrange(8)
    elif way == 1:
        del spoiled[place:]
    elif way == 2:
        spoiled[place:place] = rng.randbytes(rng.randrange(1, 9))
    elif way == 3:
        spoiled[place : place + rng.randrange(1, 9)] = rng.randbytes(rng.randrange(9))
    elif way == 4:
        spoiled = bytearray(rng.randbytes(rng.randrange(1, 64)))
    else:
        spoiled[place] = rng.choice(b"\x00\x7f\x80\x90\xa0\xc0\xc1\xc3\xc6\xc9\xcf\xd9\xdc\xdd\xdf\xff")
    return bytes(spoiled)


def _malformed_input(rng: random.Random) -> bytes:
    payload = msgpack.packb(rng.choice(CALLS))
    if rng.random() < 0.8:
        return _frame(_spoil(payload, rng))
    return _spoil(_frame(payload), rng)


def _is_request(value: object) -> bool:
    if not isinstance(value, dict) or not set(value) <= {"principal", "action", "resource", "context"}:
        return False
    context = value.get("context", {})
    return (
        all(isinstance(value.get(name), str) for name in ("principal", "action", "resource"))
        and isinstance(context, dict)
        and all(isinstance(key, str) for key in context)
    )


def _questions(data: bytes) -> int:
    """How many well-formed requests `data` asks, as another library reads it."""
    count = 0
    while len(data) >= 4:
        (length,) = struct.unpack(">I", data[:4])
        payload, data = data[4 : 4 + length], data[4 + length :]
        try:
            call = msgpack.unpackb(payload, strict_map_key=False, use_list=False)
        except Exception:  # noqa: BLE001 - whatever it dislikes about it
            return count
        if not isinstance(call, dict):
            return count
        if call.get("op") == "check":
            count += _is_request(call.get("request"))
        elif call.get("op") == "check_many" and isinstance(call.get("requests"), tuple):
            count += sum(map(_is_request, call["requests"]))
    return count


class _Wire(asyncio.Transport):
    """A transport that ends in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.closed = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self

    def getsockopt(self, level: int, optname: int, buflen: int, /) -> bytes:
        return struct.pack("iII", 1, os.getuid(), 0) if buflen == 12 else b""

    def write(self, data: Any) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0


async def _feed(office: Office, data: bytes, *, bytewise: bool) -> bytes:
    wire, connection = _Wire(), ClientConnection(office)
    connection.connection_made(wire)
    for part in (data[i : i + 1] for i in range(len(data))) if bytewise else (data,):
        connection.data_received(part)
    while connection.is_busy:
        await asyncio.sleep(0)
    connection.connection_lost(None)
    return bytes(wire.written)


async def _fuzz_in_memory(rng: random.Random) -> None:
    errors: list[Exception] = []
    violations: list[BaseException] = []
    office = Office(StubService(), RULES, "n", "c", SocketLimits(), errors.append, violations.append)
    for index in range(INPUTS):
        data = _malformed_input(rng)
        written = await _feed(office, data, bytewise=index % 50 == 0)
        allows = written.count(b"\xa7verdict\xa5allow")
        if allows:
            assert allows <= _questions(data), data
        office.service.submitted.clear()  # type: ignore[attr-defined]
    assert not errors
    assert not violations
    assert not office.connections
    assert office.inbound_bytes == 0
    assert office.counts.malformed > INPUTS // 3


def test_malformed_calls_in_memory() -> None:
    asyncio.run(_fuzz_in_memory(random.Random(SEED)))


def test_malformed_calls_leave_no_memory_behind() -> None:
    async def measure() -> int:
        office = Office(StubService(), RULES, "n", "c", SocketLimits(), lambda _: None, lambda _: None)
        inputs = [_malformed_input(random.Random(seed)) for seed in range(2_000)]
        levels = []
        for _ in range(3):
            for data in inputs:
                await _feed(office, data, bytewise=False)
            office.service.submitted.clear()  # type: ignore[attr-defined]
            gc.collect()
            levels.append(tracemalloc.get_traced_memory()[0])
        return levels[-1] - levels[0]

    tracemalloc.start()
    try:
        assert asyncio.run(measure()) < 20_000
    finally:
        tracemalloc.stop()


def test_malformed_calls_on_the_socket(tmp_path: Path) -> None:
    rng = random.Random(SEED + 1)
    with NodeStub(tmp_path / "s", rules=RULES) as stub:
        for _ in range(SOCKET_INPUTS):
            data = _malformed_input(rng)
            with socket.socket(socket.AF_UNIX) as peer:
                peer.settimeout(5)
                peer.connect(os.fspath(tmp_path / "s"))
                peer.sendall(data)
                peer.shutdown(socket.SHUT_WR)
                received = b""
                try:
                    while part := peer.recv(65536):
                        received += part
                except ConnectionResetError:
                    pass
            assert received.count(b"\xa7verdict\xa5allow") <= _questions(data)
        assert Client(stub.endpoint).check("p", "a", "r")
        assert not stub.errors
        assert not stub.violations
        assert stub.stats()["inbound_bytes"] == 0


@pytest.mark.parametrize("seed", [SEED + 2])
def test_malformed_answers_to_a_client(seed: int) -> None:
    rng = random.Random(seed)
    question = ask_check("p", "a", "r", {"env": "prod"}, at_least=4, explain=False)
    digest = request_digest(
        msgpack.packb({"principal": "p", "action": "a", "resource": "r", "context": {"env": "prod"}})
    )
    now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    allow = {
        "verdict": "allow", "seq": 5, "state_root": "ab" * 32, "valid_until": now + 10**11,
        "policies": ["p"], "decision": "d", "node": "n",
    }  # fmt: skip
    good = msgpack.packb({"id": 7, "ok": True, "request": digest, "result": allow})
    assert isinstance(question.judge(good, 7), Allow)
    believed = 0
    for _ in range(ANSWERS):
        spoiled = _spoil(good, rng)
        try:
            verdict = question.judge(spoiled, 7)
        except GovraftError:
            continue
        if isinstance(verdict, Allow):
            believed += 1
            read = msgpack.unpackb(spoiled, strict_map_key=False)
            assert (read["id"], read["ok"], read["request"]) == (7, True, digest)
            assert read["result"]["seq"] >= 4
            assert len(read["result"]["state_root"]) == 64
            assert set(read) == {"id", "ok", "request", "result"}
            assert set(read["result"]) == set(allow)
    # Flipping a letter of a policy id leaves an allow an allow; nearly everything else must not.
    assert believed < ANSWERS // 10
