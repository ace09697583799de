"""What a client asks first, and what it never asks of a node whose clock or version is not its own."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hostile_node import NOW, answer, good_answer

from govraft import AsyncClient, Client, Denied
from govraft.api import calls, host_clock
from govraft.client.async_connection import AsyncConnection
from govraft.client.connection import Connection, deadline_in
from govraft.client.questions import ask_read
from govraft.errors import AvailabilityError
from govraft.testing.node_stub import NodeStub

ASK = ('U::"p"', 'Action::"a"', 'U::"r"')
BOOT_ID = host_clock.read_boot_id()
OTHER_BOOT_ID = "01234567-89ab-4cde-8f01-23456789abcd"


def greeter(change: Callable[[], dict[str, object]]) -> Callable[[dict[str, Any], socket.socket], None]:
    """A node of protocol 2 that allows everything, and greets as `change` says."""

    def script(call: dict[str, Any], connection: socket.socket) -> None:
        if call["op"] != "hello":
            answer(connection, good_answer(call))
            return
        assert sorted(call["protocols"]) == [1, 2]
        hello = {"protocol": 2, "node": "n", "cluster": "c", "features": [], "boot_id": BOOT_ID, "time_ns": NOW()}
        fields = {name: value for name, value in {**hello, **change()}.items() if value is not None}
        answer(connection, {"id": call["id"], "ok": True, "result": fields})

    return script


def every_verdict(endpoint: str) -> list[Any]:
    """One verdict of each method that gives one, of both clients."""

    def authorized(error: Denied) -> Any:
        return error.verdict

    async def ask() -> list[Any]:
        async with AsyncClient(endpoint, timeout=5) as client:
            found = [
                await client.check(*ASK),
                *(await client.check_many([ASK])),
                (await client.check_signed(*ASK)).verdict,
            ]
            with pytest.raises(Denied) as caught:
                await client.authorize(*ASK)
            return [*found, authorized(caught.value)]

    with Client(endpoint, timeout=5) as client:
        found = [client.check(*ASK), *client.check_many([ASK]), client.check_signed(*ASK).verdict]
        with pytest.raises(Denied) as caught:
            client.authorize(*ASK)
        return [*found, authorized(caught.value), *asyncio.run(ask())]


def test_the_same_clock_is_believed(hostile: Any) -> None:
    """Without this, the tests below could pass for the wrong reason."""
    node = hostile(greeter(dict), greet=False)
    with Client(node.endpoint, timeout=5) as client:
        assert client.check(*ASK)
        assert client.check(*ASK)
    assert [call["op"] for call in node.calls] == ["hello", "check", "check"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda: {"boot_id": OTHER_BOOT_ID}, "boot ids differ"),
        (lambda: {"boot_id": ""}, "the node cannot read"),
        (lambda: {"time_ns": NOW() + 5 * 10**9}, "CLOCK_BOOTTIME differs, the node's is +"),
        (lambda: {"time_ns": NOW() - 5 * 10**9}, "CLOCK_BOOTTIME differs, the node's is -"),
        (lambda: {"time_ns": 0}, "CLOCK_BOOTTIME cannot be read"),
        (lambda: {"time_ns": -(1 << 62)}, "CLOCK_BOOTTIME differs"),
    ],
)
def test_another_clock_denies_every_verdict(hostile: Any, change: Callable[[], dict[str, object]], words: str) -> None:
    node = hostile(greeter(change), greet=False)
    for verdict in every_verdict(node.endpoint):
        assert verdict.reason == "clock_unsafe"
        assert words in verdict.message
        assert "mount" in verdict.message or "host's clock" in verdict.message
    assert {call["op"] for call in node.calls} == {"hello"}


def test_an_unreadable_boot_id_of_ones_own_denies(
    hostile: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(host_clock, "BOOT_ID_PATH", tmp_path / "none")
    node = hostile(greeter(dict), greet=False)
    for verdict in every_verdict(node.endpoint):
        assert (verdict.reason, "cannot be read here: mount" in verdict.message) == ("clock_unsafe", True)


@pytest.mark.parametrize("content", [b"", b"short\n", b"\xff" * 36, b"x" * 100])
def test_a_boot_id_that_is_none_is_unreadable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes) -> None:
    monkeypatch.setattr(host_clock, "BOOT_ID_PATH", tmp_path / "boot_id")
    (tmp_path / "boot_id").write_bytes(content)
    assert host_clock.read_boot_id() == ""


def test_what_is_not_a_verdict_is_still_asked(hostile: Any) -> None:
    """A stop command must get through, whatever the clocks are."""

    def script(call: dict[str, Any], connection: socket.socket) -> None:
        if call["op"] == "hello":
            greeter(lambda: {"boot_id": OTHER_BOOT_ID})(call, connection)
        else:
            answer(connection, {"id": call["id"], "ok": True, "request": b"", "result": {"standing": "allow"}})

    node = hostile(script, greet=False)
    with Client(node.endpoint, timeout=5) as client:
        assert client.status() == {"standing": "allow"}
        assert client.check(*ASK).reason == "clock_unsafe"


def test_a_host_that_is_put_right_is_believed_again(hostile: Any) -> None:
    right: list[bool] = []
    node = hostile(greeter(lambda: {} if right else {"boot_id": ""}), greet=False)

    async def ask(client: AsyncClient) -> list[Any]:
        async with client:
            before = await client.check(*ASK)
            right.append(True)
            return [before, await client.check(*ASK)]

    with Client(node.endpoint, timeout=5) as client:
        assert client.check(*ASK).reason == "clock_unsafe"
        right.append(True)
        assert client.check(*ASK)
    right.clear()
    before, after = asyncio.run(ask(AsyncClient(node.endpoint, timeout=5)))
    assert (before.reason, bool(after)) == ("clock_unsafe", True)


@pytest.mark.parametrize("missing", ["features", "boot_id", "time_ns"])
def test_protocol_2_without_one_of_its_fields_is_not_believed(hostile: Any, missing: str) -> None:
    node = hostile(greeter(lambda: {missing: None}), greet=False)
    for verdict in every_verdict(node.endpoint):
        assert verdict.reason == "internal_error"


def test_a_stub_and_a_node_name_their_features(stub: NodeStub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "FEATURES", ("b", "a"))

    async def open_async() -> frozenset[str]:
        connection = await AsyncConnection.open(stub.endpoint.removeprefix("unix://"), 5)
        connection.close()
        return connection.greeting.features

    connection = Connection(stub.endpoint.removeprefix("unix://"), deadline_in(5))
    connection.close()
    assert connection.greeting.features == asyncio.run(open_async()) == {"a", "b"}
    assert (connection.greeting.protocol, connection.greeting.clock_fault) == (2, "")


@pytest.mark.parametrize("features", [[], ["beta"], ["alpha", "unknown to all"]])
def test_new_fields_are_sent_only_to_a_node_that_named_them(hostile: Any, features: list[str]) -> None:
    def script(call: dict[str, Any], connection: socket.socket) -> None:
        if call["op"] == "hello":
            greeter(lambda: {"features": features})(call, connection)
        else:
            answer(connection, {"id": call["id"], "ok": True, "request": b"", "result": "known"})

    node = hostile(script, greet=False)
    question = replace(ask_read("status", {}), requires="alpha")

    async def ask() -> Any:
        connection = await AsyncConnection.open(node.endpoint.removeprefix("unix://"), 5)
        try:
            return await connection.ask(question, 5)
        finally:
            connection.close()

    def ask_blocking() -> Any:
        connection = Connection(node.endpoint.removeprefix("unix://"), deadline_in(5))
        try:
            return connection.ask(question, deadline_in(5))
        finally:
            connection.close()

    for attempt in (ask_blocking, lambda: asyncio.run(ask())):
        if "alpha" in features:
            assert attempt() == "known"
        else:
            with pytest.raises(AvailabilityError, match="upgrade") as caught:
                attempt()
            assert (caught.value.code, caught.value.definite) == ("feature_unsupported", True)
            assert {call["op"] for call in node.calls} == {"hello"}


def test_too_many_features_are_no_greeting(hostile: Any) -> None:
    node = hostile(greeter(lambda: {"features": ["x"] * 2_000}), greet=False)
    with Client(node.endpoint, timeout=5) as client:
        assert client.check(*ASK).reason == "internal_error"


@pytest.mark.parametrize("protocols", [[], [0], [3, 4], [-1]])
def test_a_node_refuses_a_client_with_no_protocol_in_common(stub: NodeStub, protocols: list[int]) -> None:
    found = _greet(stub, protocols)
    assert (found["ok"], found["error"]["code"]) == (False, "protocol_unsupported")


@pytest.mark.parametrize(("protocols", "chosen"), [([1], 1), ([2], 2), ([9, 2, 1], 2), ([1, 7], 1)])
def test_a_node_chooses_the_highest_protocol_in_common(stub: NodeStub, protocols: list[int], chosen: int) -> None:
    assert _greet(stub, protocols)["result"]["protocol"] == chosen


@pytest.mark.parametrize("protocols", ["2", [2.5], [None], list(range(100)), 2])
def test_protocols_that_are_none_are_refused(stub: NodeStub, protocols: Any) -> None:
    assert _greet(stub, protocols)["error"]["code"] == "malformed"


def _greet(stub: NodeStub, protocols: Any) -> dict[str, Any]:
    payload = msgspec.msgpack.encode({"id": 1, "op": "hello", "protocols": protocols})
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(10)
        peer.connect(stub.endpoint.removeprefix("unix://"))
        peer.sendall(len(payload).to_bytes(4, "big") + payload)
        reply = b""
        while len(reply) < 4 or len(reply) < 4 + int.from_bytes(reply[:4], "big"):
            reply += peer.recv(65_536)
    found: dict[str, Any] = msgspec.msgpack.decode(reply[4:])
    return found


def test_a_client_in_a_time_namespace_notices(stub: NodeStub) -> None:
    """The same machine, the same node, the same question: only CLOCK_BOOTTIME is another one."""
    namespace = ["unshare", "--user", "--map-root-user", "--time", "--boottime", "3600"]
    unshare = shutil.which(namespace[0])
    if unshare is None or subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this host allows no time namespaces")
    program = f"from govraft import Client; print(repr(Client({stub.endpoint!r}, timeout=20).check(*{ASK!r})))"
    inside, outside = (
        subprocess.run([*wrapper, sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
        for wrapper in (namespace, [])
    )
    assert "clock_unsafe" in inside
    assert "CLOCK_BOOTTIME differs, the node's is -3600" in inside
    assert outside.startswith("<Allow ")
