"""`Client` and `AsyncClient` against an honest stub."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from govraft import Allow, AsyncClient, Client, Deny, Receipt, Request
from govraft.api.peer_credentials import PeerRules
from govraft.client.endpoint import DEFAULT_ENDPOINT, resolve_endpoint
from govraft.core.model.reasons import Reason
from govraft.core.model.verdict import Deny as ModelDeny
from govraft.errors import AvailabilityError, InputError, RejectedError
from govraft.testing.node_stub import NodeStub, StubService, allow

ME = PeerRules(frozenset({os.getuid()}))
ASK = ('Agent::"a"', 'Action::"b"', 'Service::"c"')


def _decide(request: Request) -> Any:
    return allow(seq=3) if request.context.get("yes") else ModelDeny(Reason.POLICY_DENIED, "no", seq=3)


def test_check_gives_the_nodes_verdict(stub: NodeStub) -> None:
    stub.service.decide = _decide
    with Client(stub.endpoint) as client:
        verdict = client.check(*ASK, context={"yes": True})
        assert isinstance(verdict, Allow)
        assert verdict.seq == 3
        verdict = client.check(*ASK, context={"yes": False})
        assert isinstance(verdict, Deny)
        assert (verdict.reason, verdict.message, verdict.seq) == (Reason.POLICY_DENIED, "no", 3)
        assert not verdict


class _Wicked(dict[str, Any]):
    def __iter__(self) -> Any:
        raise RuntimeError

    keys = __iter__  # type: ignore[assignment]


def _deep() -> list[Any]:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    return deep


@pytest.mark.parametrize(
    ("asked", "options"),
    [
        ((1, "a", "r"), {}),
        (("p", None, "r"), {}),
        (("p", "a", b"r"), {}),
        (("p", "a", "\ud800"), {}),
        (("p", "a", "r", []), {}),
        (("p", "a", "r", {1: 2}), {}),
        (("p", "a", "r", {"x": object()}), {}),
        (("p", "a", "r", {"x": 1 << 70}), {}),
        (("p", "a", "r", {"x": "y" * 70_000}), {}),
        (("p", "a", "r"), {"at_least": -1}),
        (("p", "a", "r"), {"at_least": True}),
        (("p", "a", "r"), {"at_least": "3"}),
        (("p", "a", "r"), {"timeout": 0}),
        (("p", "a", "r"), {"timeout": float("nan")}),
        (("p", "a", "r"), {"timeout": "soon"}),
    ],
)
def test_what_cannot_be_asked_is_denied_and_not_sent(stub: NodeStub, asked: Any, options: Any) -> None:
    async def ask() -> Any:
        async with AsyncClient(stub.endpoint) as client:
            return await client.check(*asked, **options)

    with Client(stub.endpoint) as client:
        for verdict in (client.check(*asked, **options), asyncio.run(ask())):
            assert isinstance(verdict, Deny)
            assert verdict.reason == Reason.REQUEST_INVALID
    assert stub.stats()["calls"] == 0


def test_contexts_that_raise_are_denied(stub: NodeStub) -> None:
    with Client(stub.endpoint) as client:
        assert isinstance(client.check(*ASK, context=_Wicked(x=1)), (Deny, Allow))
        assert isinstance(client.check(*ASK, context={"x": _deep()}), Deny)


def test_check_many_keeps_length_and_order(stub: NodeStub) -> None:
    stub.service.decide = _decide
    asked: list[Any] = []
    for index in range(2_300):
        asked.append((*ASK, {"yes": index % 3 == 0, "pad": "x" * (index % 700)}))
    asked[5], asked[6], asked[7], asked[8] = (
        "pq",
        (1, 2, 3),
        {"principal": "p", "actoin": "a"},
        Request(*ASK, {"yes": 1}),
    )
    with Client(stub.endpoint) as client:
        verdicts = client.check_many(iter(asked))
    expected = [index % 3 == 0 for index in range(2_300)]
    expected[5:9] = [False, False, False, True]
    assert [bool(verdict) for verdict in verdicts] == expected
    assert {verdict.reason for verdict in verdicts[5:8] if isinstance(verdict, Deny)} == {Reason.REQUEST_INVALID}
    assert client.check_many([]) == []


def test_check_many_denies_all_when_nobody_answers(tmp_path: Path) -> None:
    async def ask() -> Any:
        return await AsyncClient(f"unix://{tmp_path}/none").check_many([ASK] * 3)

    for verdicts in (Client(f"unix://{tmp_path}/none").check_many([ASK] * 3), asyncio.run(ask())):
        assert [verdict.reason for verdict in verdicts] == [Reason.NODE_UNREACHABLE] * 3


def test_submit_read_and_status(stub: NodeStub) -> None:
    with Client(stub.endpoint) as client:
        receipt = client.submit(b"envelope")
        assert isinstance(receipt, Receipt)
        assert (receipt["seq"], receipt.outcome) == (2, "applied")
        assert stub.service.submitted == [b"envelope"]
        assert client.read("lineage", start=1) == {"what": "lineage", "params": {"start": 1}}
        assert client.status()["what"] == "status"


def test_submit_raises_the_nodes_refusal(stub: NodeStub) -> None:
    def refuse(_: bytes) -> Receipt:
        raise RejectedError("no", code="threshold_unmet")

    stub.service.receipt = refuse
    with Client(stub.endpoint) as client, pytest.raises(RejectedError) as caught:
        client.submit(b"envelope")
    assert caught.value.code == "threshold_unmet"


@pytest.mark.parametrize("options", [{"wait": "soon"}, {"timeout": 0}, {"timeout": 601}])
def test_submit_refuses_what_it_cannot_say(stub: NodeStub, options: Any) -> None:
    with Client(stub.endpoint) as client, pytest.raises(InputError):
        client.submit(b"envelope", **options)
    with Client(stub.endpoint) as client, pytest.raises(InputError, match="an envelope is bytes"):
        client.submit("envelope")  # type: ignore[arg-type]


def test_survives_a_restart_of_the_node(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with AsyncClient(f"unix://{tmp_path}/s") as client:
            with NodeStub(tmp_path / "s", rules=ME):
                assert await client.check(*ASK)
            assert not await client.check(*ASK)
            with NodeStub(tmp_path / "s", rules=ME):
                assert await client.check(*ASK)

    client = Client(f"unix://{tmp_path}/s")
    for _ in range(2):
        with NodeStub(tmp_path / "s", rules=ME):
            assert client.check(*ASK)
    assert not client.check(*ASK)
    asyncio.run(scenario())


def test_many_threads_share_a_client(stub: NodeStub) -> None:
    stub.service.decide = _decide
    client, wrong = Client(stub.endpoint, timeout=10), []

    def ask(offset: int) -> None:
        for index in range(100):
            yes = (index + offset) % 2 == 0
            if bool(client.check(*ASK, context={"yes": yes})) != yes:
                wrong.append((offset, index))

    threads = [threading.Thread(target=ask, args=(offset,)) for offset in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert stub.stats()["connections"] <= 16
    client.close()


FORK = """
import os, sys
from govraft import Client
client = Client(sys.argv[1])
assert client.check("p", "a", "r")
def sockets():
    links = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
    return sum(os.path.lexists(link) and os.readlink(link).startswith("socket:") for link in links)
before = sockets()
child = os.fork()
if child == 0 and sockets() != before - 1:
    os._exit(2)
good = all(client.check("p", "a", str(index)) for index in range(50))
if child == 0:
    os._exit(0 if good else 1)
assert good
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert client.check("p", "a", "r")
"""


def test_parent_and_child_ask_after_fork(stub: NodeStub) -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", FORK, stub.endpoint], check=True, timeout=30)
    assert stub.stats()["connections"] == 2


HEAVY = ("cryptography", "cedarpy", "pysyncobj", "sqlite3", "msgpack", "uvloop", "govraft.core.machine", "govraft.node")


def test_the_client_carries_no_code_that_decides() -> None:
    code = (
        "import sys; from govraft import Client, AsyncClient, Allow, Deny, Denied; "
        f"found = [name for name in sys.modules if name.startswith({HEAVY!r})]; sys.exit(str(found) if found else 0)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=30)


def test_importing_govraft_alone_is_light() -> None:
    code = "import sys, govraft, govraft.errors; sys.exit('asyncio' in sys.modules or 'msgspec' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


def test_exports_exist_and_are_sorted() -> None:
    import govraft

    assert sorted(govraft.__all__, key=lambda name: (name.startswith("_"), name)) == govraft.__all__
    for name in govraft.__all__:
        assert getattr(govraft, name) is not None
        assert name in dir(govraft)
    with pytest.raises(AttributeError):
        govraft.nothing  # noqa: B018


def test_async_checks_share_a_connection_and_keep_apart(stub: NodeStub) -> None:
    stub.service.decide = _decide

    async def scenario() -> list[bool]:
        async with AsyncClient(stub.endpoint) as client:
            asked = [client.check(*ASK, context={"yes": index % 2 == 0}) for index in range(300)]
            return [bool(verdict) for verdict in await asyncio.gather(*asked)]

    assert asyncio.run(scenario()) == [index % 2 == 0 for index in range(300)]
    assert stub.stats()["connections"] == 1


def test_async_client_follows_its_loop(stub: NodeStub) -> None:
    client = AsyncClient(stub.endpoint)

    async def ask() -> bool:
        verdict = await client.check(*ASK)
        await client.close()
        return bool(verdict)

    assert asyncio.run(ask())
    assert asyncio.run(ask())


def test_cancelling_one_check_leaves_the_others(tmp_path: Path) -> None:
    def decide(request: Request) -> Any:
        return asyncio.Event().wait() if request.principal == "slow" else allow()

    async def scenario(endpoint: str) -> None:
        async with AsyncClient(endpoint) as client:
            slow = asyncio.create_task(client.check("slow", "a", "r"))
            assert await client.check(*ASK)
            slow.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await slow
            assert slow.cancelled()
            assert await client.check(*ASK)

    with NodeStub(tmp_path / "s", StubService(decide), rules=ME) as stub:
        asyncio.run(scenario(stub.endpoint))
        assert stub.stats()["connections"] == 1


def test_async_submit_and_require(stub: NodeStub) -> None:
    async def scenario() -> None:
        async with AsyncClient(stub.endpoint) as client:
            assert (await client.submit(b"x")).seq == 2
            assert (await client.require(*ASK)).seq == 1
            assert (await client.status())["what"] == "status"

    asyncio.run(scenario())


def test_watch_yields_events_until_the_node_goes(tmp_path: Path) -> None:
    service = StubService()
    service.events = [{"n": 1}, {"n": 2}]
    with NodeStub(tmp_path / "s", service, rules=ME) as stub:
        watching = Client(stub.endpoint).watch()
        assert [next(watching), next(watching)] == [{"n": 1}, {"n": 2}]
    with pytest.raises(AvailabilityError):
        next(watching)


def test_async_watch_yields_events_until_the_node_goes(tmp_path: Path) -> None:
    service = StubService()
    service.events = [{"n": 1}, {"n": 2}]

    async def scenario() -> None:
        with NodeStub(tmp_path / "s", service, rules=ME) as stub:
            watching = AsyncClient(stub.endpoint).watch()
            assert [await anext(watching), await anext(watching)] == [{"n": 1}, {"n": 2}]
        with pytest.raises(AvailabilityError):
            await anext(watching)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "endpoint", ["", "http://x", "unix://", "unix://relative", "/run/x.sock", "unix:///x\0y", "unix:///" + "x" * 108, 7]
)
def test_other_endpoints_are_refused(endpoint: Any) -> None:
    with pytest.raises(InputError, match="use "):
        Client(endpoint)
    with pytest.raises(InputError, match="use "):
        AsyncClient(endpoint)


def test_endpoint_comes_from_argument_environment_or_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOVRAFT_ENDPOINT", raising=False)
    assert resolve_endpoint(None) == DEFAULT_ENDPOINT.removeprefix("unix://")
    monkeypatch.setenv("GOVRAFT_ENDPOINT", "unix:///e")
    assert resolve_endpoint(None) == "/e"
    assert resolve_endpoint("unix:///a") == "/a"
    monkeypatch.setenv("GOVRAFT_ENDPOINT", "https://e")
    with pytest.raises(InputError):
        Client()
