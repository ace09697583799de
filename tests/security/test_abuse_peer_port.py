"""Floods at the peer port of a real node, by strangers and by a member with its true key: checks go on, memory is bounded.

The member that floods has its honest node stopped: a key belongs to one process. The other two make the quorum.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvloop
from integration.cluster_harness import Cluster, Node
from security.polite import withstand
from security.test_peer_port import CLUSTER, MAD, MAD_MEMBER, OWN, OWN_MEMBER, client_hello

from govraft.adapters import peer_sockets
from govraft.adapters.frames import encode_frame
from govraft.adapters.node_key import NodeIdentity
from govraft.adapters.peer_events import PeerEvents
from govraft.adapters.peer_hello import encode_hello
from govraft.adapters.peer_inbound import ADMISSIONS_MAX, InboundListener
from govraft.adapters.tls import client_context, server_context
from govraft.core.model.electorate import Member
from govraft.node.config import load_config

SECONDS = 1.6
GROWTH_MIB = 64


@pytest.fixture(scope="module")
def besieged() -> Iterator[Cluster]:
    with Cluster() as cluster:
        cluster.start()
        cluster.activate_policy(cluster.nodes["node-1"])
        yield cluster


def port_of(node: Node) -> str:
    return "{}:{}".format(*load_config(node.config).peer_listen)


STRANGERS: dict[str, tuple[str, dict[str, Any]]] = {
    "say nothing": ("strangers", {"clients": 200}),
    "begin a handshake and stay": ("strangers", {"clients": 200, "greeting": True}),
    "connect and hang up": ("knocks", {"clients": 100}),
}


@pytest.mark.cluster
@pytest.mark.parametrize("what", STRANGERS)
def test_strangers_at_the_port_do_not_matter(besieged: Cluster, what: str) -> None:
    besieged.start()
    node = besieged.leader()
    kind, options = STRANGERS[what]
    if options.get("greeting"):
        options = options | {"greeting": base64.b64encode(client_hello()).decode()}
    judge(besieged, node, (kind, port_of(node), options))


FLOODS: dict[str, dict[str, Any]] = {
    "raft": {"channel": 1, "filler": 0},
    "convergence": {"channel": 2, "filler": 0},
    "submissions": {"channel": 3, "filler": 100},
    "a channel that is none": {"channel": 77, "filler": 0},
    "the largest frames": {"channel": 2, "filler": 1_000_000},
}


@pytest.mark.cluster
@pytest.mark.parametrize("what", FLOODS)
def test_a_member_that_floods_gets_its_share_only(besieged: Cluster, what: str) -> None:
    besieged.start()
    node = besieged.leader()
    mad = besieged.others(node)[0]
    mad.kill()
    besieged.wait_allow(*(item.id for item in besieged.others(mad)))
    options = FLOODS[what] | {"config": str(mad.config), "target": node.id}
    judge(besieged, node, ("member", port_of(node), options))


def judge(cluster: Cluster, node: Node, attack: tuple[str, str, dict[str, Any]]) -> None:
    counts = withstand(cluster, node, attack, seconds=SECONDS, growth_mib=GROWTH_MIB)
    assert sum(counts.values()) > 50, "that was no flood"


async def crowd_and_newcomer() -> None:
    """A full house of strangers from one address, more of them coming, and a member from another address."""
    events, frames = PeerEvents(), []
    listener = InboundListener((CLUSTER, "own", bytes(16)), events, lambda *frame: frames.append(frame))
    listener.set_members([MAD_MEMBER], server_context(OWN, [MAD_MEMBER]))
    bound = await peer_sockets.listen(("127.0.0.1", 0))
    address = bound.getsockname()
    serving = asyncio.get_running_loop().create_task(listener.serve(bound))
    crowd = []
    try:
        # The member connects first and is slow: it would be the oldest, and evicted, if addresses did not count.
        slow, member = await asyncio.open_connection(*address, local_addr=("127.0.0.2", 0))
        for _ in range(ADMISSIONS_MAX * 2):
            crowd.append((await asyncio.open_connection(*address, local_addr=("127.0.0.1", 0)))[1])
        await asyncio.sleep(0.05)
        assert events.counts["admission_evicted"] >= ADMISSIONS_MAX
        await member.start_tls(client_context(MAD, OWN_MEMBER), server_hostname="")
        member.write(encode_hello(CLUSTER, "mad", b"honest session!!") + encode_frame(5, b"here"))
        async with asyncio.timeout(5):
            await slow.readexactly(5)
            while not frames:
                await asyncio.sleep(0.003)
        assert frames == [("mad", 5, b"here")]
        member.transport.abort()
    finally:
        for writer in crowd:
            writer.transport.abort()
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving
        await listener.close()
        bound.close()


def test_strangers_of_one_address_make_room_for_another() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(crowd_and_newcomer(), 30))


async def flood_and_honest() -> int:
    """A thousand frames of one member arrive at once, 1 ms of work each; how many are handled before another's one."""
    frames: list[str] = []

    def on_frame(peer: str, channel: int, payload: bytes) -> None:
        frames.append(peer)
        end = time.perf_counter() + 0.001
        while time.perf_counter() < end:
            pass

    honest = NodeIdentity.create("honest")
    honest_member = Member("honest", honest.public_key, honest.certificate, voter=True, address="")
    members = [MAD_MEMBER, honest_member]
    listener = InboundListener((CLUSTER, "own", bytes(16)), PeerEvents(), on_frame)
    listener.set_members(members, server_context(OWN, members))
    bound = await peer_sockets.listen(("127.0.0.1", 0))
    serving = asyncio.get_running_loop().create_task(listener.serve(bound))
    writers = []
    try:
        for name, identity in (("mad", MAD), ("honest", honest)):
            reader, writer = await asyncio.open_connection(
                *bound.getsockname(), ssl=client_context(identity, OWN_MEMBER), server_hostname=""
            )
            writer.write(encode_hello(CLUSTER, name, name.ljust(16).encode()))
            await asyncio.wait_for(reader.readexactly(5), 5)
            writers.append(writer)
        writers[0].write(encode_frame(5, b"flood") * 1_000)
        while not frames:
            await asyncio.sleep(0)
        writers[1].write(encode_frame(5, b"one"))
        async with asyncio.timeout(20):
            while "honest" not in frames:
                await asyncio.sleep(0)
        return frames.index("honest")
    finally:
        for writer in writers:
            writer.transport.abort()
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving
        await listener.close()
        bound.close()


def test_an_honest_member_is_heard_through_a_flood() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(asyncio.wait_for(flood_and_honest(), 30)) < 200
