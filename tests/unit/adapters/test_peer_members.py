"""Members that come and go while the network runs."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import random
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

import msgspec
import pytest

from govraft.adapters import peer_inbound, peer_network, peer_outbound
from govraft.adapters.frames import encode_frame
from govraft.adapters.node_key import NodeIdentity
from govraft.adapters.peer_hello import encode_hello
from govraft.adapters.peer_network import PeerNetwork
from govraft.adapters.tls import client_context, pinned_member
from govraft.core.model.electorate import Member

CLUSTER = "c" * 64
DEADLINE_S = 20.0
IDENTITIES = {node_id: NodeIdentity.create(node_id) for node_id in ("a", "b", "c")}
NEW_KEY = NodeIdentity.create("b")


def on_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test on a fresh loop, which must not meet a fault."""

    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        faults: list[dict[str, Any]] = []
        with asyncio.Runner() as runner:
            runner.get_loop().set_exception_handler(lambda _, context: faults.append(context))
            runner.run(asyncio.wait_for(test(*arguments, **named), 3 * DEADLINE_S))
        assert not faults

    return run


class Ports:
    """Loopback addresses of one test, reserved until they are used."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[str, int]] = {}

    def __getitem__(self, name: str) -> tuple[str, int]:
        if name not in self._found:
            host = f"127.{random.randrange(1, 255)}.{random.randrange(256)}.{random.randrange(1, 255)}"
            with socket.socket() as probe:
                probe.bind((host, 0))
                self._found[name] = (host, int(probe.getsockname()[1]))
        return self._found[name]

    def member(self, node_id: str, identity: NodeIdentity | None = None, *, at: str = "", voter: bool = True) -> Member:
        own = identity or IDENTITIES[node_id]
        host, port = self[at or node_id]
        return Member(node_id, own.public_key, own.certificate, voter=voter, address=f"{host}:{port}")


def parse(member: Member) -> tuple[str, int] | None:
    host, _, port = member.address.rpartition(":")
    return (host, int(port)) if host else None


class Node:
    """One network and what it reported."""

    def __init__(
        self, ports: Ports, node_id: str, members: Sequence[Member], identity: NodeIdentity | None = None, at: str = ""
    ) -> None:
        self.frames: list[tuple[str, bytes]] = []
        self.links: list[tuple[str, bool]] = []
        self.network = PeerNetwork(
            node_id=node_id,
            cluster_id=CLUSTER,
            members=members,
            identity=identity or IDENTITIES[node_id],
            listen=ports[at or node_id],
            address_of=parse,
            on_frame=lambda peer, _channel, payload: self.frames.append((peer, payload)),
            on_link=lambda peer, is_up, _rules: self.links.append((peer, is_up)),
            rng=random.Random(1),
        )

    def is_up(self, peer_id: str) -> bool:
        stats = self.network.stats().outbound.get(peer_id)
        return stats is not None and stats.up

    def hears(self, peer_id: str) -> bool:
        return peer_id in self.network.stats().inbound

    def events(self, name: str) -> int:
        return self.network.stats().events.get(name, 0)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.003)


@contextlib.asynccontextmanager
async def running(*nodes: Node) -> AsyncIterator[None]:
    before = open_sockets()
    for node in nodes:
        await node.network.start()
    try:
        yield
    finally:
        for node in nodes:
            await node.network.stop()
        await until(lambda: open_sockets() <= before)


def open_sockets() -> int:
    count = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            count += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
    return count


def pair(ports: Ports) -> tuple[Node, Node, list[Member]]:
    members = [ports.member("a"), ports.member("b")]
    return Node(ports, "a", members), Node(ports, "b", members), members


@on_a_loop
async def test_a_stranger_is_refused_before_and_accepted_after_it_is_added() -> None:
    ports = Ports()
    a, b, members = pair(ports)
    c = Node(ports, "c", [*members, ports.member("c")])
    async with running(a, b, c):
        await until(lambda: a.is_up("b") and b.is_up("a"))
        await until(lambda: a.events("handshake_failed") >= 2)
        assert not a.hears("c")
        assert not a.network.send("c", 0, b"")
        a.network.set_members([*members, ports.member("c")])
        await until(lambda: a.is_up("c") and c.is_up("a"))
        assert a.network.send("c", 0, b"welcome")
        assert c.network.send("a", 0, b"thanks")
        await until(lambda: c.frames == [("a", b"welcome")] and a.frames == [("c", b"thanks")])
        assert b.events("handshake_failed") >= 1
        assert not b.hears("c")
        assert a.links == [("b", True), ("c", True)]


@on_a_loop
async def test_a_removed_members_connection_drops() -> None:
    ports = Ports()
    a, b, members = pair(ports)
    async with running(a, b):
        await until(lambda: a.is_up("b") and b.is_up("a") and a.hears("b"))
        for number in range(50):
            assert a.network.send("b", 0, b"farewell %d" % number)
        await asyncio.sleep(0)
        a.network.set_members(members[:1])
        assert not a.hears("b")
        assert a.network.send("b", 0, b"you are removed")
        await asyncio.sleep(0)
        assert a.links[-1] == ("b", False)
        assert not a.network.send("b", 0, b"too late")
        # What was sent until then still went out.
        await until(lambda: len(b.frames) == 51)
        assert b.frames[-1] == ("a", b"you are removed")
        await until(lambda: not b.is_up("a") and b.events("dial_failed") >= 1)
        assert a.frames == []
        assert a.network.stats().outbound == {}


@on_a_loop
async def test_whoever_is_removed_hears_nothing_of_what_it_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames that were received but not handed on when the member went are dropped with it."""
    ports = Ports()
    a, b, members = pair(ports)
    async with running(a, b):
        await until(lambda: b.is_up("a") and a.hears("b"))
        link = a.network._inbound._links["b"]
        a.network.set_members(members[:1])
        link.data_received(encode_frame(0, b"sneaked in"))
        assert a.frames == []


@on_a_loop
async def test_a_member_that_is_removed_between_handshake_and_hello_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    recognised: list[Member] = []

    def recognise(connection: object, pins: Sequence[Member]) -> Member:
        recognised.append(pinned_member(connection, pins))
        return recognised[-1]

    monkeypatch.setattr(peer_inbound, "pinned_member", recognise)
    ports = Ports()
    a, _, members = pair(ports)
    async with running(a):
        context = client_context(IDENTITIES["b"], members[0])
        reader, writer = await asyncio.open_connection(*ports["a"], ssl=context, server_hostname="")
        await until(lambda: recognised == [members[1]])
        a.network.set_members(members[:1])
        writer.write(encode_hello(CLUSTER, "b", bytes(16)) + encode_frame(0, b"x"))
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            assert await asyncio.wait_for(reader.read(), DEADLINE_S) == b""
        writer.transport.abort()
        await until(lambda: a.events("hello_refused") + a.events("handshake_failed") >= 1)
        assert not a.hears("b")
        assert a.frames == []


@on_a_loop
async def test_a_removed_member_that_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_outbound, "FAREWELL_S", 0.05)
    # As if what is written never left.
    monkeypatch.setattr(peer_outbound._Connection, "finish", lambda _: None)
    ports = Ports()
    a, b, members = pair(ports)
    async with running(a, b):
        await until(lambda: a.is_up("b") and b.hears("a"))
        a.network.set_members(members[:1])
        await until(lambda: len(a.network._tasks) == 1)


@on_a_loop
async def test_a_member_may_come_back() -> None:
    ports = Ports()
    a, b, members = pair(ports)
    async with running(a, b):
        await until(lambda: a.is_up("b"))
        a.network.set_members(members[:1])
        await asyncio.sleep(0)
        a.network.set_members(members)
        await until(lambda: a.is_up("b") and a.hears("b"))
        assert a.links == [("b", True), ("b", False), ("b", True)]


@on_a_loop
async def test_a_member_that_is_back_in_the_same_turn_was_never_away() -> None:
    ports = Ports()
    a, b, members = pair(ports)
    async with running(a, b):
        await until(lambda: a.is_up("b"))
        a.network.set_members(members[:1])
        a.network.set_members(members)
        await asyncio.sleep(0)
        assert a.links == [("b", True)]
        await until(lambda: a.is_up("b") and a.hears("b"))


@on_a_loop
async def test_the_same_members_again_disturb_nothing() -> None:
    ports = Ports()
    a, b, members = pair(ports)
    async with running(a, b):
        await until(lambda: a.is_up("b") and b.is_up("a") and a.hears("b"))
        a.network.set_members([msgspec.structs.replace(member, voter=not member.voter) for member in members])
        assert a.is_up("b")
        assert a.hears("b")
        await asyncio.sleep(0)
        assert a.links == [("b", True)]


@on_a_loop
async def test_a_rotation_lets_either_key_in_and_then_only_the_new_one() -> None:
    ports = Ports()
    own, old, new = ports.member("a"), ports.member("b"), ports.member("b", NEW_KEY, at="b2")
    a = Node(ports, "a", [own, old])
    before, after = Node(ports, "b", [own, old]), Node(ports, "b", [own, new], NEW_KEY, at="b2")
    async with running(a, before):
        await until(lambda: a.is_up("b") and before.is_up("a"))
        a.network.set_members([own, old, new])
        assert a.is_up("b")
        assert before.network.send("a", 0, b"old")
        await until(lambda: a.frames == [("b", b"old")])
        await before.network.stop()
        await until(lambda: not a.is_up("b"))
        await after.network.start()
        # The old address first, where nobody is, then the new one.
        await until(lambda: a.is_up("b") and after.is_up("a"))
        assert after.network.send("a", 0, b"new")
        await until(lambda: a.frames[1:] == [("b", b"new")])
        a.network.set_members([own, new])
        assert a.is_up("b")
        assert a.hears("b")
        await after.network.stop()


@on_a_loop
async def test_the_old_key_is_refused_once_the_rotation_is_over() -> None:
    ports = Ports()
    own, old, new = ports.member("a"), ports.member("b"), ports.member("b", NEW_KEY)
    a, b = Node(ports, "a", [own, old, new]), Node(ports, "b", [own, old])
    async with running(a, b):
        await until(lambda: a.is_up("b") and b.is_up("a") and a.hears("b"))
        a.network.set_members([own, new])
        assert not a.hears("b")
        await until(lambda: not a.is_up("b") and not b.is_up("a"))
        await until(lambda: a.events("handshake_failed") >= 1 and a.events("dial_failed") >= 1)


@on_a_loop
async def test_a_lone_node_listens_as_soon_as_it_has_a_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_network, "LISTEN_PAUSE_S", 0.01)
    ports = Ports()
    a, b, members = pair(ports)
    a = Node(ports, "a", members[:1])
    async with running(a, b):
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*ports["a"])
        squatter = socket.create_server(ports["a"])
        a.network.set_members(members)
        await until(lambda: a.events("accept_failed") >= 2)
        squatter.close()
        await until(lambda: a.is_up("b") and b.is_up("a"))


@on_a_loop
async def test_a_node_without_peers_left_refuses_everybody() -> None:
    ports = Ports()
    a, b, members = pair(ports)
    async with running(a, b):
        await until(lambda: b.is_up("a"))
        a.network.set_members([])
        await until(lambda: not b.is_up("a"))
        await until(lambda: a.events("hello_refused") >= 1)
        assert a.frames == []


@on_a_loop
async def test_one_unusable_member_does_not_cost_the_others() -> None:
    ports = Ports()
    a, b, members = pair(ports)
    broken = msgspec.structs.replace(ports.member("c"), certificate=b"no certificate")
    nowhere = msgspec.structs.replace(ports.member("c"), id="d", address="")
    async with running(a, b):
        a.network.set_members([*members, broken, nowhere])
        await until(lambda: a.is_up("b") and a.hears("b"))
        assert set(a.network.stats().outbound) == {"b"}
        assert a.events("member_unusable") == 2


@on_a_loop
async def test_members_of_a_stopped_network_are_not_dialled() -> None:
    ports = Ports()
    a, _, members = pair(ports)
    a = Node(ports, "a", members[:1])
    async with running(a):
        await a.network.stop()
        a.network.set_members(members)
        await asyncio.sleep(0)
        assert a.network._tasks == set()
