"""The Unix-socket server, over real sockets."""

from __future__ import annotations

import asyncio
import functools
import os
import socket
import stat
import struct
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from govraft.api.peer_credentials import PeerRules
from govraft.api.socket_office import SocketLimits
from govraft.api.socket_server import SocketServer
from govraft.api.wire import frame
from govraft.client import Client
from govraft.core.model.reasons import Reason
from govraft.core.model.request import Request
from govraft.core.model.verdict import Deny
from govraft.errors import AvailabilityError, InputError, InvariantViolation
from govraft.testing.node_stub import NodeStub, StubService, allow

ME = PeerRules(frozenset({os.getuid()}))
ASK = {"principal": "p", "action": "a", "resource": "r"}


class Peer:
    """A client that speaks bytes."""

    def __init__(self, stub: NodeStub) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(5)
        self.socket.connect(stub.endpoint.removeprefix("unix://"))

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *calls: dict[str, Any]) -> None:
        self.socket.sendall(b"".join(frame(msgspec.msgpack.encode(call)) for call in calls))

    def receive(self) -> dict[str, Any] | None:
        header = self._exactly(4)
        if header is None:
            return None
        payload = self._exactly(struct.unpack(">I", header)[0])
        return None if payload is None else msgspec.msgpack.decode(payload)

    def _exactly(self, count: int) -> bytes | None:
        data = b""
        while len(data) < count:
            try:
                part = self.socket.recv(count - len(data))
            except ConnectionResetError:
                return None
            if not part:
                return None
            data += part
        return data


def wait_until(condition: Callable[[], object], timeout_s: float = 5) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            pytest.fail("the condition did not come true")
        time.sleep(0.005)


def test_answers_pipelined_calls(tmp_path: Path) -> None:
    with NodeStub(tmp_path / "s", rules=ME) as stub, Peer(stub) as peer:
        peer.send({"op": "hello", "id": 1}, *({"op": "check", "id": i, "request": ASK} for i in range(2, 200)))
        assert (peer.receive() or {})["result"] == {"protocol": 1, "node": "stub", "cluster": "0" * 64}
        answers = [peer.receive() or {} for _ in range(2, 200)]
        assert [answer["id"] for answer in answers] == list(range(2, 200))
        assert {answer["result"]["verdict"] for answer in answers} == {"allow"}


@pytest.mark.parametrize("mode", [0o660, 0o600])
def test_socket_file_has_its_mode(tmp_path: Path, mode: int) -> None:
    def look() -> list[int]:
        return [stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()]

    async def scenario() -> None:
        server = _server(tmp_path / "s", mode=mode)
        await server.start()
        assert look() == [mode]
        await server.stop()
        assert look() == []

    asyncio.run(scenario())


def _server(path: Path, **options: Any) -> SocketServer:
    return SocketServer(
        StubService(), path=path, rules=ME, node="n", cluster="c", on_error=lambda error: None, **options
    )


@pytest.mark.parametrize("mode", [0o666, 0o777, 0o661, 0o1660])
def test_refuses_a_mode_for_everybody(tmp_path: Path, mode: int) -> None:
    with pytest.raises(InputError, match="socket mode"):
        _server(tmp_path / "s", mode=mode)


def test_refuses_a_path_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="too long"):
        _server(tmp_path / ("s" * 110))


def test_refuses_a_peer_not_in_the_rules(tmp_path: Path) -> None:
    rules = PeerRules(frozenset({os.getuid() + 1}))
    with NodeStub(tmp_path / "s", rules=rules) as stub:
        with Peer(stub) as peer:
            answer = peer.receive() or {}
            assert answer["error"]["code"] == "peer_refused"
            assert peer.receive() is None
        verdict = Client(stub.endpoint).check("p", "a", "r")
        assert isinstance(verdict, Deny)
        assert stub.stats()["refused_peers"] == 2
        assert stub.stats()["calls"] == 0


def test_refuses_more_clients_than_the_limit(tmp_path: Path) -> None:
    with NodeStub(tmp_path / "s", rules=ME, limits=SocketLimits(clients=1)) as stub, Peer(stub) as first:
        first.send({"op": "hello", "id": 1})
        assert (first.receive() or {})["ok"]
        with Peer(stub) as second:
            assert (second.receive() or {})["error"]["code"] == "clients_full"
            assert second.receive() is None
        first.send({"op": "hello", "id": 2})
        assert (first.receive() or {})["ok"]


def test_replaces_a_stale_socket_but_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(os.fspath(path))
    with NodeStub(path, rules=ME) as stub:
        assert Client(stub.endpoint).check("p", "a", "r")
        with pytest.raises(AvailabilityError, match="in use by another process"), NodeStub(path, rules=ME):
            pass
        assert Client(stub.endpoint).check("p", "a", "r")
    path.write_text("precious")
    with pytest.raises(InputError, match="not a socket"), NodeStub(path, rules=ME):
        pass
    assert path.read_text() == "precious"


def test_stop_leaves_the_socket_of_a_successor(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with NodeStub(path, rules=ME):
        path.unlink()
        with socket.socket(socket.AF_UNIX) as successor:
            successor.bind(os.fspath(path))
    assert path.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"\0\0\0\0",
        b"\xff\xff\xff\xff",
        b"GET / HTTP/1.1\r\n\r\n",
        frame(b"\xc1"),
        frame(b"\x91" * 5000),
        frame(b"\x80"),
    ],
)
def test_malformed_frames_get_one_error_and_the_end(tmp_path: Path, data: bytes) -> None:
    with NodeStub(tmp_path / "s", rules=ME) as stub, Peer(stub) as peer:
        peer.send({"op": "hello", "id": 1})
        peer.socket.sendall(data)
        assert (peer.receive() or {})["ok"]
        answer = peer.receive() or {}
        assert (answer["id"], answer["ok"]) == (0, False)
        assert peer.receive() is None
        assert not stub.errors


def test_a_wrong_call_fails_alone(tmp_path: Path) -> None:
    with NodeStub(tmp_path / "s", rules=ME) as stub, Peer(stub) as peer:
        peer.send({"op": "nonsense", "id": 1}, {"op": "check", "id": 2, "request": ASK})
        first, second = peer.receive() or {}, peer.receive() or {}
        assert (first["id"], first["ok"], first["error"]["kind"]) == (1, False, "input")
        assert (second["id"], second["ok"]) == (2, True)


async def _late(value: object) -> Any:
    await asyncio.sleep(0)
    if isinstance(value, BaseException):
        raise value
    return value


def _raise(error: BaseException) -> Any:
    raise error


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize(
    "decide",
    [
        lambda _: _raise(RuntimeError("boom")),
        lambda _: _raise(RecursionError()),
        lambda _: None,
        lambda _: True,
        lambda _: {"verdict": "allow"},
        lambda _: _late(RuntimeError("boom")),
        lambda _: _late(True),
        lambda _: _late(asyncio.CancelledError()),
    ],
)
def test_denies_when_the_service_misbehaves(tmp_path: Path, decide: Callable[[Request], Any], batched: bool) -> None:
    with NodeStub(tmp_path / "s", StubService(decide), rules=ME) as stub, Peer(stub) as peer:
        if batched:
            peer.send({"op": "check_many", "id": 1, "requests": [ASK]})
        else:
            peer.send({"op": "check", "id": 1, "request": ASK})
        answer = peer.receive() or {}
        verdict = answer["result"][0] if batched else answer["result"]
        assert (verdict["verdict"], verdict["reason"]) == ("deny", "internal_error")
        assert "boom" not in str(answer)


def test_unreadable_requests_are_denied_one_by_one(tmp_path: Path) -> None:
    requests = [ASK, {**ASK, "contxt": {}}, 7, {**ASK, "context": {"x": "y" * 70_000}}, ASK]
    with NodeStub(tmp_path / "s", rules=ME) as stub, Peer(stub) as peer:
        peer.send({"op": "check_many", "id": 1, "requests": requests})
        verdicts = (peer.receive() or {})["result"]
        assert [verdict["verdict"] for verdict in verdicts] == ["allow", "deny", "deny", "deny", "allow"]
        assert {verdict["reason"] for verdict in verdicts[1:4]} == {"request_invalid"}
        peer.send({"op": "check", "id": 2, "request": requests[3]})
        assert (peer.receive() or {})["result"]["reason"] == "request_invalid"
        peer.send({"op": "check_many", "id": 3, "requests": [ASK] * 1001})
        assert (peer.receive() or {})["error"]["kind"] == "input"


@pytest.mark.parametrize("late", [False, True])
def test_a_broken_invariant_is_handed_on_and_never_answered(tmp_path: Path, late: bool) -> None:
    def decide(_: Request) -> Any:
        violation = InvariantViolation("broken")
        return _late(violation) if late else _raise(violation)

    with NodeStub(tmp_path / "s", StubService(decide), rules=ME) as stub, Peer(stub) as peer:
        peer.send({"op": "check", "id": 1, "request": ASK})
        assert peer.receive() is None
        wait_until(lambda: stub.violations)


def test_waiting_checks_do_not_hold_up_others_and_end_with_their_client(tmp_path: Path) -> None:
    cancelled: list[bool] = []

    async def never() -> Any:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(True)

    def decide(request: Request) -> Any:
        return never() if request.principal == "slow" else allow()

    with NodeStub(tmp_path / "s", StubService(decide), rules=ME) as stub:
        with Peer(stub) as peer:
            peer.send({"op": "check", "id": 1, "request": {**ASK, "principal": "slow"}})
            peer.send({"op": "check", "id": 2, "request": ASK})
            assert (peer.receive() or {})["id"] == 2
        wait_until(lambda: cancelled and stub.stats()["open"] == 0)


def test_a_full_pipeline_waits_and_goes_on(tmp_path: Path) -> None:
    started: list[asyncio.Future[Any]] = []

    def decide(_: Request) -> Awaitable[Any]:
        started.append(asyncio.get_running_loop().create_future())
        return started[-1]

    limits = SocketLimits(pipeline_calls=4)
    with NodeStub(tmp_path / "s", StubService(decide), rules=ME, limits=limits) as stub, Peer(stub) as peer:
        peer.send(*({"op": "check", "id": i, "request": ASK} for i in range(1, 13)))
        for done in range(12):
            wait_until(functools.partial(lambda expected: len(started) >= expected, min(done + 4, 12)))
            assert len(started) <= done + 4
            future = started[done]
            future.get_loop().call_soon_threadsafe(future.set_result, allow())
            assert (peer.receive() or {})["id"] == done + 1


def test_a_client_that_does_not_read_is_dropped(tmp_path: Path) -> None:
    service = StubService()
    service.found = lambda what, params: "x" * 100_000
    limits = SocketLimits(drain_timeout_s=0.2, sweep_s=0.05)
    with NodeStub(tmp_path / "s", service, rules=ME, limits=limits) as stub, Peer(stub) as peer:
        peer.send(*({"op": "read", "id": i, "what": "status"} for i in range(1, 200)))
        wait_until(lambda: stub.stats()["slow_clients"] == 1)
        assert stub.stats()["outbound_bytes"] == 0
        assert stub.stats()["calls"] < 199
        assert Client(stub.endpoint).check("p", "a", "r")


def test_a_frame_that_never_ends_is_dropped(tmp_path: Path) -> None:
    limits = SocketLimits(frame_timeout_s=0.2, sweep_s=0.05)
    with NodeStub(tmp_path / "s", rules=ME, limits=limits) as stub, Peer(stub) as peer:
        peer.socket.sendall(b"\0\0\1\0abc")
        assert (peer.receive() or {})["error"]["code"] == "frame_timeout"
        assert peer.receive() is None


def test_the_inbound_budget_holds_for_all_clients_together(tmp_path: Path) -> None:
    limits = SocketLimits(buffered_bytes=100_000)
    with NodeStub(tmp_path / "s", rules=ME, limits=limits) as stub, Peer(stub) as one, Peer(stub) as two:
        one.socket.sendall(struct.pack(">I", 1_000_000) + b"x" * 60_000)
        wait_until(lambda: stub.stats()["inbound_bytes"] >= 60_000)
        two.socket.sendall(struct.pack(">I", 1_000_000) + b"x" * 60_000)
        assert (two.receive() or {})["error"]["code"] == "node_busy"
        wait_until(lambda: stub.stats()["inbound_bytes"] == 60_004)


def test_an_answer_over_the_limit_is_an_error(tmp_path: Path) -> None:
    service = StubService()
    service.found = lambda what, params: "x" * 5_000
    limits = SocketLimits(response_bytes=4_000)
    with NodeStub(tmp_path / "s", service, rules=ME, limits=limits) as stub, Peer(stub) as peer:
        peer.send({"op": "read", "id": 1, "what": "status"})
        assert (peer.receive() or {})["error"]["code"] == "response_too_large"


def test_watch_pushes_events(tmp_path: Path) -> None:
    service = StubService()
    service.events = [{"n": 1}, {"n": 2}]
    with NodeStub(tmp_path / "s", service, rules=ME) as stub, Peer(stub) as peer:
        peer.send({"op": "watch", "id": 9})
        answers = [peer.receive() or {} for _ in range(3)]
        assert [answer.get("event") for answer in answers] == [None, {"n": 1}, {"n": 2}]
        assert {answer["id"] for answer in answers} == {9}
    assert not stub.errors


@pytest.mark.parametrize("batched", [False, True])
def test_one_client_cannot_hold_the_loop(tmp_path: Path, batched: bool) -> None:
    """With 2,000 checks of one client waiting (0.2 ms each), another's is answered after a few of them."""
    order: list[str] = []

    def decide(request: Request) -> Any:
        order.append(request.principal)
        time.sleep(0.0002)
        return Deny(Reason.POLICY_DENIED)

    with NodeStub(tmp_path / "s", StubService(decide), rules=ME) as stub, Peer(stub) as greedy, Peer(stub) as other:
        other.send({"op": "hello", "id": 1})
        assert (other.receive() or {})["ok"]
        if batched:
            greedy.send(*({"op": "check_many", "id": i, "requests": [ASK] * 1000} for i in (1, 2)))
        else:
            greedy.send(*({"op": "check", "id": i, "request": ASK} for i in range(1, 2001)))
        wait_until(lambda: order)
        other.send({"op": "check", "id": 2, "request": {**ASK, "principal": "other"}})
        assert (other.receive() or {})["id"] == 2
        assert order.index("other") < 400


@pytest.mark.parametrize("comes_back", [False, True])
def test_a_batch_holds_no_allow_that_the_node_no_longer_gives(tmp_path: Path, comes_back: bool) -> None:
    """The state moves on from seq 1 to seq 2 while a long batch is decided."""
    asked: list[Request] = []
    service = StubService()

    def seq() -> int:
        return 1 if len(asked) < 100 else 2

    def decide(request: Request) -> Any:
        asked.append(request)
        return allow(seq=seq())

    service.decide = decide
    service.serving = lambda verdict: verdict.seq == (seq() if comes_back else 3)
    with NodeStub(tmp_path / "s", service, rules=ME) as stub, Peer(stub) as peer:
        peer.send({"op": "check_many", "id": 1, "requests": [ASK] * 200})
        verdicts = (peer.receive() or {})["result"]
    if comes_back:
        assert {(verdict["verdict"], verdict["seq"]) for verdict in verdicts} == {("allow", 2)}
    else:
        assert {verdict.get("reason") for verdict in verdicts} == {"synchronizing"}
