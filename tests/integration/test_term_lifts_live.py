"""A thief of one member's key throws terms about, over TLS, at real nodes: they are whole again when it is silent."""

from __future__ import annotations

import asyncio
import os

import pytest

from govraft.adapters.engine.frames import AppendEntries
from govraft.adapters.engine.frames import encode_frame as encode_message
from govraft.adapters.engine.terms import TERM_STEP
from govraft.adapters.frames import Frame, FrameDecoder, encode_frame
from govraft.adapters.node_key import NodeIdentity
from govraft.adapters.peer_hello import accept_hello, encode_hello
from govraft.adapters.tls import client_context
from govraft.core.model.electorate import Member
from govraft.node.core import RAFT_CHANNEL
from govraft.testing.local_cluster import LocalCluster, LocalNode
from govraft.testing.local_cluster_process import PATIENCE_S, wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

FRAMES = (1, 4, 7)
"""How many each victim gets, each one step above the one before: taken as they are, they end more than a step apart."""


class Thief:
    """Speaks to nodes as the member whose key and certificate it holds."""

    def __init__(self, cluster: LocalCluster, stolen: LocalNode) -> None:
        self.id, self.genesis = stolen.id, cluster.genesis
        self.identity = NodeIdentity.load(stolen.home / f"{stolen.id}.key.pem", stolen.home / f"{stolen.id}.cert.pem")

    def lift(self, *victims: LocalNode) -> None:
        """Send each of them the frames at once, and hang up."""
        asyncio.run(asyncio.wait_for(self._lift(*victims), PATIENCE_S))

    async def _lift(self, *victims: LocalNode) -> None:
        members = {member.id: member for member in self.genesis.electorate().members}
        term = max(victim.status()["term"] for victim in victims)
        await asyncio.gather(
            *(self._tell(members[victim.id], term, frames) for victim, frames in zip(victims, FRAMES, strict=False))
        )

    async def _tell(self, victim: Member, term: int, frames: int) -> None:
        host, port = victim.address.rsplit(":", 1)
        context = client_context(self.identity, victim)
        reader, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname="")
        writer.write(encode_hello(self.genesis.cluster_id, self.id, os.urandom(16)))
        welcome = await first_frame(reader)
        accept_hello(welcome, cluster_id=self.genesis.cluster_id, node_id=victim.id)
        for place in range(1, frames + 1):
            message = AppendEntries(term + place * TERM_STEP, 0, 0, 0, ())
            writer.write(encode_frame(RAFT_CHANNEL, encode_message(message)))
        await writer.drain()
        # The other side hangs up only after it has read all.
        writer.close()
        await writer.wait_closed()


async def first_frame(reader: asyncio.StreamReader) -> Frame:
    decoder = FrameDecoder()
    while (frame := decoder.next_frame()) is None:
        decoder.receive(await reader.read(4096))
    return frame


@pytest.mark.parametrize(("voters", "quorum"), [(4, "byzantine"), (3, "majority")])
def test_frames_that_lift_the_terms_end_no_cluster(voters: int, quorum: str) -> None:
    """Nobody may be missing: the quorum is all those who are left when the thief's own node is down."""
    with LocalCluster(voters, quorum=quorum, links=False) as cluster:
        cluster.start()
        cluster.permit_all()
        *victims, stolen = cluster.nodes.values()
        names = [node.id for node in victims]
        stolen.stop()
        cluster.wait_until_serving(*names)
        # For a lease after its start nobody's term rises by much.
        wait_for(lambda: all(n.status()["uptime_ms"] > 1500 * cluster.lease_s for n in victims), cluster.describe)
        Thief(cluster, stolen).lift(*victims)

        def are_lifted() -> bool:
            return all(node.status()["term"] > TERM_STEP and node.status()["term_jumps"] > 0 for node in victims)

        wait_for(are_lifted, cluster.describe)
        cluster.wait_until_serving(*names)
        receipt = cluster.quarantine('Agent::"before"')
        for node in victims:
            node.stop()
        cluster.start(*names)
        cluster.wait_until_serving(*names)
        assert cluster.quarantine('Agent::"after"').seq > receipt.seq
        assert all(node.status()["term"] > TERM_STEP for node in victims)
