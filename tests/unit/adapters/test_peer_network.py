"""The peer network on real sockets: who gets in, what gets through, and what trouble stays local."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, cast

import pytest
import uvloop

from govraft.adapters import peer_inbound, peer_outbound
from govraft.adapters.frames import CONTROL_CHANNEL, encode_frame
from govraft.adapters.node_key import NodeIdentity
from govraft.adapters.peer_hello import encode_hello
from govraft.adapters.peer_network import PeerNetwork
from govraft.adapters.tls import client_context, server_context
from govraft.core.model.electorate import Member
from govraft.core.model.limits import FRAME_BYTES, PEER_QUEUE_BYTES
from govraft.errors import InvariantViolation, LimitExceededError

CLUSTER = "c" * 64
IDENTITIES = {node_id: NodeIdentity.create(node_id) for node_id in ("a", "b", "c")}
DEADLINE_S = 5.0
SESSION = bytes(16)
HELLO_B = encode_hello(CLUSTER, "b", SESSION)

Scenario = Callable[[], Coroutine[Any, Any, None]]
Runner = Callable[[Scenario], None]


def member(node_id: str, identity: NodeIdentity | None = None) -> Member:
    identity = identity or IDENTITIES[node_id]
    return Member(node_id, identity.public_key, identity.certificate, voter=True, address="")


MEMBERS = {node_id: member(node_id) for node_id in IDENTITIES}


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Runner:
    """Runs a scenario on a fresh loop, and finds what it left behind."""

    def run_on_loop(scenario: Scenario) -> None:
        faults: list[dict[str, Any]] = []
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.get_loop().set_exception_handler(lambda _, context: faults.append(context))
            runner.run(watched(scenario))
        assert not faults

    return run_on_loop


async def watched(scenario: Scenario) -> None:
    """Run the scenario; every socket it opened must be closed in the end."""
    # Counted while the loop runs: some loops hold sockets of their own only then.
    before = open_sockets()
    await asyncio.wait_for(scenario(), 3 * DEADLINE_S)
    await until(lambda: open_sockets() <= before)


def open_sockets() -> int:
    """How many sockets this process holds."""
    count = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the descriptor of the listing itself
            count += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
    return count


async def until(condition: Callable[[], object]) -> None:
    """Wait for what no callback reports."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.003)


def free_address() -> tuple[str, int]:
    """An address that no other test uses: a random loopback host, and a port the system chose."""
    host = f"127.{random.randrange(1, 255)}.{random.randrange(256)}.{random.randrange(1, 255)}"
    with socket.socket() as probe:
        probe.bind((host, 0))
        return host, int(probe.getsockname()[1])


class Node:
    """One network and what it reported."""

    def __init__(self, node_id: str, addresses: dict[str, tuple[str, int]], **changes: Any) -> None:
        self.frames: list[tuple[str, int, bytes]] = []
        self.links: list[tuple[str, bool]] = []
        self.faults: list[BaseException] = []
        arguments: dict[str, Any] = {
            "node_id": node_id,
            "cluster_id": CLUSTER,
            "members": [MEMBERS[name] for name in addresses],
            "identity": IDENTITIES[node_id],
            "listen": addresses[node_id],
            "address_of": lambda member: addresses.get(member.id),
            "on_frame": lambda *frame: self.frames.append(frame),
            "on_link": lambda peer, is_up, _rules: self.links.append((peer, is_up)),
            "rng": random.Random(1),
            "on_fault": self.faults.append,
        }
        self.network = PeerNetwork(**(arguments | changes))

    def is_up(self, peer_id: str) -> bool:
        return self.network.stats().outbound[peer_id].up

    def events(self, name: str) -> int:
        return self.network.stats().events.get(name, 0)

    async def counted(self, name: str, count: int) -> None:
        await until(lambda: self.events(name) == count)

    async def heard(self, *frames: tuple[str, int, bytes]) -> None:
        await until(lambda: self.frames == list(frames))


@contextlib.asynccontextmanager
async def cluster(*node_ids: str, only: str = "", **changes: Any) -> AsyncIterator[dict[str, Node]]:
    """Nodes that know each other; with `only`, the others exist on paper."""
    addresses = {node_id: free_address() for node_id in node_ids}
    nodes = {n: Node(n, addresses, **changes) for n in node_ids if not only or n in only}
    try:
        for node in nodes.values():
            await node.network.start()
        if not only:
            await until(lambda: all(s.up for n in nodes.values() for s in n.network.stats().outbound.values()))
        yield nodes
    finally:
        for node in nodes.values():
            await node.network.stop()
        assert not [fault for node in nodes.values() for fault in node.faults]


@contextlib.asynccontextmanager
async def dialled(
    node: Node, identity: NodeIdentity = IDENTITIES["b"], hello: bytes | None = HELLO_B
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to `a` made by hand. Past the welcome when it says hello."""
    context = client_context(identity, MEMBERS["a"])
    reader, writer = await asyncio.open_connection(*node.network.bound_address, ssl=context, server_hostname="")
    try:
        if hello is not None:
            writer.write(hello)
        yield reader, writer
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


async def welcomed(reader: asyncio.StreamReader) -> None:
    (length,) = struct.unpack(">I", await asyncio.wait_for(reader.readexactly(4), DEADLINE_S))
    assert (await reader.readexactly(length))[0] == CONTROL_CHANNEL


async def closed(reader: asyncio.StreamReader) -> bytes:
    """What still came before the other side closed."""
    try:
        return await asyncio.wait_for(reader.read(), DEADLINE_S)
    except (ConnectionError, ssl.SSLError):
        return b""


def test_frames_arrive_whole_and_in_order(run: Runner) -> None:
    async def scenario() -> None:
        async with cluster("a", "b", "c") as nodes:
            payloads = [random.Random(n).randbytes(n * 37) for n in range(200)] + [bytes(FRAME_BYTES - 1), b""]
            for number, payload in enumerate(payloads):
                assert nodes["a"].network.send("b", number % 255, payload)
            assert nodes["c"].network.send("a", 9, b"from c")
            await nodes["b"].heard(*(("a", n % 255, p) for n, p in enumerate(payloads)))
            await nodes["a"].heard(("c", 9, b"from c"))
            assert nodes["c"].frames == []
            assert sorted(nodes["a"].links) == [("b", True), ("c", True)]
            assert nodes["a"].network.stats().inbound == {"b", "c"}

    run(scenario)


def test_what_cannot_be_sent_is_said_so(run: Runner) -> None:
    async def scenario() -> None:
        async with cluster("a", "b", only="a") as nodes:
            network = nodes["a"].network
            assert not network.send("b", 0, b"nobody is there")
            assert not network.send("stranger", 0, b"")
            assert network.stats().outbound["b"].frames_dropped == 1
            with pytest.raises(LimitExceededError):
                network.send("b", 0, bytes(FRAME_BYTES))
            with pytest.raises(InvariantViolation):
                network.send("b", CONTROL_CHANNEL, b"")

    run(scenario)


def test_an_unpinned_certificate_is_refused(run: Runner) -> None:
    async def scenario() -> None:
        async with cluster("a", "b", only="a") as nodes:
            async with dialled(nodes["a"], NodeIdentity.create("b")) as (reader, _):
                assert await closed(reader) == b""
            await until(lambda: nodes["a"].events("handshake_failed") == 1)
            assert nodes["a"].network.stats().inbound == frozenset()

    run(scenario)


def test_another_members_certificate_is_refused(run: Runner) -> None:
    """Who dials `b` and reaches `c` does not send; who has the key of `c` does not pass for `b`."""

    async def scenario() -> None:
        addresses = {node_id: free_address() for node_id in "abc"}
        swapped = Node("a", {**addresses, "b": addresses["c"]})
        other = Node("c", addresses)
        await swapped.network.start()
        await other.network.start()
        await until(lambda: swapped.is_up("c") and swapped.events("dial_failed") >= 2)
        assert ("b", True) not in swapped.links
        async with dialled(swapped, IDENTITIES["c"], HELLO_B) as (reader, _):
            assert await closed(reader) == b""
        await until(lambda: swapped.events("hello_refused") == 1)
        await swapped.network.stop()
        await other.network.stop()

    run(scenario)


@pytest.mark.parametrize(
    "hello",
    [
        encode_hello("d" * 64, "b", SESSION),
        encode_hello(CLUSTER, "b", b"short"),
        encode_frame(CONTROL_CHANNEL, b"rubbish"),
        encode_frame(0, b"no hello first"),
        struct.pack(">IB", 1025, CONTROL_CHANNEL),
        struct.pack(">IB", 0, 0),
    ],
    ids=["foreign-cluster", "bad-session", "rubbish", "no-hello", "oversize", "empty"],
)
def test_a_wrong_hello_is_refused(run: Runner, hello: bytes) -> None:
    async def scenario() -> None:
        async with cluster("a", "b", only="a") as nodes:
            async with dialled(nodes["a"], hello=hello + encode_frame(1, b"sneaked in")) as (reader, _):
                assert await closed(reader) == b""
            await until(lambda: nodes["a"].events("hello_refused") == 1)
            assert nodes["a"].frames == []

    run(scenario)


@pytest.mark.parametrize(
    "rest",
    [struct.pack(">IB", FRAME_BYTES + 1, 0), struct.pack(">I", 0), HELLO_B, struct.pack(">I", 2**32 - 1)],
    ids=["oversize", "empty", "second-hello", "huge"],
)
def test_a_malformed_frame_closes_only_its_connection(run: Runner, rest: bytes) -> None:
    async def scenario() -> None:
        async with cluster("a", "b", "c", only="ac") as nodes:
            await until(lambda: nodes["c"].is_up("a"))
            async with dialled(nodes["a"]) as (reader, writer):
                await welcomed(reader)
                writer.write(encode_frame(1, b"good") + rest + encode_frame(1, b"after"))
                assert await closed(reader) == b""
            await nodes["a"].heard(("b", 1, b"good"))
            await until(lambda: nodes["a"].events("frame_malformed") == 1)
            assert nodes["c"].network.send("a", 2, b"still here")
            await nodes["a"].heard(("b", 1, b"good"), ("c", 2, b"still here"))

    run(scenario)


def test_frames_in_the_same_packet_as_the_hello_count(run: Runner) -> None:
    async def scenario() -> None:
        hello = HELLO_B + encode_frame(1, bytes(5000))
        async with cluster("a", "b", only="a") as nodes, dialled(nodes["a"], hello=hello) as (reader, _):
            await welcomed(reader)
            await nodes["a"].heard(("b", 1, bytes(5000)))

    run(scenario)


def test_silence_is_cut_off(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a bare TCP connection nor one after the handshake may stay without a hello."""
    monkeypatch.setattr(peer_inbound, "ADMISSION_TIMEOUT_S", 0.15)

    async def scenario() -> None:
        async with cluster("a", "b", only="a") as nodes:
            reader, writer = await asyncio.open_connection(*nodes["a"].network.bound_address)
            assert await closed(reader) == b""
            writer.transport.abort()
            async with dialled(nodes["a"], hello=None) as (reader, _):
                assert await closed(reader) == b""
            async with dialled(nodes["a"], hello=HELLO_B[:10]) as (reader, _):
                assert await closed(reader) == b""
            await until(lambda: nodes["a"].events("admission_timed_out") + nodes["a"].events("handshake_failed") == 3)

    run(scenario)


def test_half_open_connections_do_not_lock_members_out(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_inbound, "ADMISSIONS_MAX", 4)
    monkeypatch.setattr(peer_inbound, "ADMISSION_TIMEOUT_S", 60.0)

    async def scenario() -> None:
        async with cluster("a", "b", only="a") as nodes:
            strangers = [await asyncio.open_connection(*nodes["a"].network.bound_address) for _ in range(12)]
            await until(lambda: nodes["a"].events("admission_evicted") >= 8)
            for reader, _ in strangers[:8]:
                assert await closed(reader) == b""
            async with dialled(nodes["a"]) as (reader, writer):
                await welcomed(reader)
                writer.write(encode_frame(1, b"through"))
                await nodes["a"].heard(("b", 1, b"through"))
            for _, writer in strangers:
                writer.transport.abort()

    run(scenario)


def test_rubbish_before_tls_is_refused(run: Runner) -> None:
    async def scenario() -> None:
        async with cluster("a", "b", only="a") as nodes:
            for number, rubbish in enumerate(
                [b"GET / HTTP/1.0\r\n\r\n", bytes(5000), HELLO_B, b"\x16\x03\x01\xff\xff"]
            ):
                reader, writer = await asyncio.open_connection(*nodes["a"].network.bound_address)
                writer.write(rubbish)
                writer.write_eof()
                await closed(reader)
                writer.transport.abort()
                await nodes["a"].counted("handshake_failed", number + 1)

    run(scenario)


def test_a_link_comes_back_after_a_restart(run: Runner) -> None:
    async def scenario() -> None:
        addresses = {node_id: free_address() for node_id in "ab"}
        first, second = Node("a", addresses), Node("b", addresses)
        await first.network.start()
        await second.network.start()
        await until(lambda: first.is_up("b") and second.is_up("a"))
        await second.network.stop()
        await second.network.stop()
        await until(lambda: not first.is_up("b"))
        assert not first.network.send("b", 0, b"lost")
        again = Node("b", addresses)
        await again.network.start()
        await until(lambda: first.is_up("b") and again.is_up("a"))
        assert first.network.send("b", 0, b"kept")
        await again.heard(("a", 0, b"kept"))
        assert first.links == [("b", True), ("b", False), ("b", True)]
        await first.network.stop()
        await again.network.stop()

    run(scenario)


def test_a_newer_connection_replaces_the_older(run: Runner) -> None:
    async def scenario() -> None:
        async with cluster("a", "b", only="a") as nodes, dialled(nodes["a"]) as (old_reader, old_writer):
            await welcomed(old_reader)
            newer = encode_hello(CLUSTER, "b", bytes([1]) * 16)
            async with dialled(nodes["a"], hello=newer) as (reader, writer):
                await welcomed(reader)
                old_writer.write(encode_frame(1, b"too late"))
                assert await closed(old_reader) == b""
                writer.write(encode_frame(1, b"in time"))
                await nodes["a"].heard(("b", 1, b"in time"))
            assert nodes["a"].events("link_replaced") == 1

    run(scenario)


def test_a_late_connection_of_an_old_session_is_refused(run: Runner) -> None:
    async def scenario() -> None:
        async with cluster("a", "b", only="a") as nodes:
            async with dialled(nodes["a"]) as (reader, _):
                await welcomed(reader)
            await until(lambda: not nodes["a"].network.stats().inbound)
            async with dialled(nodes["a"], hello=encode_hello(CLUSTER, "b", bytes([1]) * 16)) as (living, writer):
                await welcomed(living)
                async with dialled(nodes["a"], hello=HELLO_B) as (reader, _):
                    assert await closed(reader) == b""
                await until(lambda: nodes["a"].events("hello_refused") == 1)
                writer.write(encode_frame(1, b"alive"))
                await nodes["a"].heard(("b", 1, b"alive"))

    run(scenario)


def test_who_used_a_members_key_for_a_moment_does_not_keep_its_node_out(run: Runner) -> None:
    async def scenario() -> None:
        thief = encode_hello(CLUSTER, "b", bytes([1]) * 16)
        async with cluster("a", "b", only="a") as nodes:
            for hello in (HELLO_B, thief, HELLO_B, thief, HELLO_B):
                async with dialled(nodes["a"], hello=hello) as (reader, _):
                    await welcomed(reader)
                await until(lambda: not nodes["a"].network.stats().inbound)

    run(scenario)


def test_a_link_that_closes_while_frames_are_handed_on_stops_at_once(run: Runner) -> None:
    async def scenario() -> None:
        handed: list[bytes] = []
        stopping: list[asyncio.Task[None]] = []

        def stop_at_first(peer: str, channel: int, payload: bytes) -> None:
            handed.append(payload)
            node = nodes["a"].network
            node._inbound._links[peer].retire()  # type: ignore[union-attr]
            stopping.append(asyncio.ensure_future(asyncio.sleep(0)))

        async with cluster("a", "b", only="a", on_frame=stop_at_first) as nodes:
            async with dialled(nodes["a"], hello=HELLO_B + encode_frame(1, b"1") + HELLO_B + encode_frame(1, b"2")) as (
                reader,
                _,
            ):
                await closed(reader)
            assert handed == [b"1"]
            await asyncio.gather(*stopping)

    run(scenario)


class Mute(asyncio.Protocol):
    """A member that welcomes and then does as it is told, but never reads."""

    def __init__(self, extra: bytes = b"") -> None:
        self.extra = extra
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(encode_hello(CLUSTER, "b", SESSION) + self.extra)
        if not self.extra:
            self.transport.pause_reading()


@contextlib.asynccontextmanager
async def mute_member(address: tuple[str, int], extra: bytes = b"") -> AsyncIterator[list[Mute]]:
    made: list[Mute] = []

    def factory() -> Mute:
        made.append(Mute(extra))
        return made[-1]

    context = server_context(IDENTITIES["b"], [MEMBERS["a"]])
    server = await asyncio.get_running_loop().create_server(factory, *address, ssl=context)
    try:
        yield made
    finally:
        server.close()
        for mute in made:
            if mute.transport is not None:
                mute.transport.abort()
        await server.wait_closed()


def test_a_peer_that_does_not_read_blocks_nobody(run: Runner) -> None:
    async def scenario() -> None:
        async with cluster("a", "b", "c", only="ac") as nodes:
            network = nodes["a"].network
            async with mute_member(network._outbound["b"].target.addresses[0]):
                await until(lambda: nodes["a"].is_up("b") and nodes["a"].is_up("c"))
                payload = bytes(256 * 1024)
                queued = 0
                while network.send("b", 0, payload):
                    queued += 1
                    await asyncio.sleep(0)
                assert queued * len(payload) >= PEER_QUEUE_BYTES // 2
                stats = network.stats().outbound["b"]
                assert stats.queue_bytes <= PEER_QUEUE_BYTES
                assert stats.frames_dropped == 1
                # The transport below holds one bounded chunk more, not the queue over again.
                transport = network._outbound["b"]._connection._open_transport()  # type: ignore[union-attr]
                assert transport.get_write_buffer_size() <= 4 * peer_outbound.WRITE_BUFFER_BYTES
                assert network.send("c", 1, b"unhindered")
                await nodes["c"].heard(("a", 1, b"unhindered"))

    run(scenario)


def test_many_small_frames_are_bounded_by_their_number(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_outbound, "PEER_QUEUE_FRAMES", 10)

    async def scenario() -> None:
        async with cluster("a", "b") as nodes:
            sent = [nodes["a"].network.send("b", 0, bytes([n])) for n in range(12)]
            assert sent == [True] * 10 + [False] * 2
            await nodes["b"].heard(*(("a", 0, bytes([n])) for n in range(10)))

    run(scenario)


def test_a_receiver_that_talks_back_is_cut_off(run: Runner) -> None:
    async def scenario() -> None:
        async with cluster("a", "b", only="a") as nodes:
            address = nodes["a"].network._outbound["b"].target.addresses[0]
            async with mute_member(address, extra=encode_frame(1, b"unasked")):
                await until(lambda: nodes["a"].events("dial_failed") + nodes["a"].events("link_lost") >= 2)
            assert nodes["a"].frames == []

    run(scenario)


@pytest.mark.parametrize("error", [InvariantViolation("broken"), ValueError("a defect")])
def test_what_a_callback_raises_reaches_the_node(run: Runner, error: BaseException) -> None:
    async def scenario() -> None:
        faults: list[BaseException] = []

        def fail(*_: object) -> None:
            raise error

        hello = HELLO_B + encode_frame(1, b"x")
        failing = cluster("a", "b", only="a", on_frame=fail, on_fault=faults.append)
        async with failing as nodes, dialled(nodes["a"], hello=hello) as (reader, _):
            await welcomed(reader)
            await until(lambda: faults == [error])
        async with cluster("a", "b", on_link=fail, on_fault=faults.append):
            await until(lambda: len(faults) >= 3)
        assert set(faults) == {error}

    run(scenario)


def test_a_fault_that_nobody_handles_reaches_the_loop() -> None:
    seen: list[dict[str, Any]] = []
    error = InvariantViolation("broken")

    def fail(*_: object) -> None:
        raise error

    async def scenario() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: seen.append(context))
        async with cluster("a", "b", on_link=fail, on_fault=None):
            await until(lambda: seen)

    asyncio.run(scenario())
    assert all(context["exception"] is error for context in seen)


def test_a_lone_node_opens_nothing(run: Runner) -> None:
    async def scenario() -> None:
        async with cluster("a") as nodes:
            assert nodes["a"].network.bound_address == nodes["a"].network._listen_address
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(*nodes["a"].network.bound_address)
            assert not nodes["a"].network.send("b", 0, b"")

    run(scenario)


def test_a_taken_address_is_reported(run: Runner) -> None:
    async def scenario() -> None:
        async with cluster("a", "b", only="a") as nodes:
            second = Node("a", {"a": nodes["a"].network.bound_address, "b": ("127.0.0.1", 1)})
            with pytest.raises(OSError, match=r"(?i)in use"):
                await second.network.start()
            await second.network.stop()

    run(scenario)


def test_a_stranger_cannot_fill_the_log(run: Runner, capsys: pytest.CaptureFixture[str]) -> None:
    async def scenario() -> None:
        async with cluster("a", "b", only="a") as nodes:
            for _ in range(20):
                reader, writer = await asyncio.open_connection(*nodes["a"].network.bound_address)
                writer.write(bytes(100))
                await closed(reader)
                writer.transport.abort()
            await until(lambda: nodes["a"].events("handshake_failed") == 20)

    run(scenario)
    assert capsys.readouterr().out.count("handshake_failed") == 1
