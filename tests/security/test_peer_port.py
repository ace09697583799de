"""The peer port under rubbish: some hundreds of hostile connections, from strangers and from a member gone mad.

The bulk of the fuzzing runs against the frame decoder, without sockets: tests/unit/adapters/test_frames.py.
"""

from __future__ import annotations

import asyncio
import os
import random
import ssl
from pathlib import Path

import uvloop

from govraft.adapters import peer_sockets
from govraft.adapters.frames import encode_frame
from govraft.adapters.node_key import NodeIdentity
from govraft.adapters.peer_events import PeerEvents
from govraft.adapters.peer_hello import encode_hello
from govraft.adapters.peer_inbound import InboundListener
from govraft.adapters.tls import client_context, server_context
from govraft.core.model.electorate import Member

CLUSTER = "c" * 64
OWN, MAD = NodeIdentity.create("own"), NodeIdentity.create("mad")
OWN_MEMBER = Member("own", OWN.public_key, OWN.certificate, voter=True, address="")
MAD_MEMBER = Member("mad", MAD.public_key, MAD.certificate, voter=True, address="")
STRANGERS = 500
MAD_CONNECTIONS = 500
MEMORY_GROWTH_BYTES_MAX = 16 * 1024 * 1024


def client_hello() -> bytes:
    """The first bytes of a true TLS handshake with the port."""
    outgoing = ssl.MemoryBIO()
    connection = client_context(MAD, OWN_MEMBER).wrap_bio(ssl.MemoryBIO(), outgoing)
    try:
        connection.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake needs the other side")


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def mutate(rng: random.Random, content: bytes) -> bytes:
    mutated = bytearray(content)
    for _ in range(rng.randrange(1, 6)):
        mutated[rng.randrange(len(mutated))] = rng.randrange(256)
    return bytes(mutated[: rng.choice([len(mutated), rng.randrange(1, len(mutated))])])


async def drain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Wait for the port to hang up."""
    try:
        if writer.can_write_eof():
            writer.write_eof()
        await asyncio.wait_for(reader.read(), 10)
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.transport.abort()


async def stranger(address: tuple[str, int], rubbish: bytes) -> None:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(rubbish)
    await drain(reader, writer)


async def madman(address: tuple[str, int], rubbish: bytes, context: ssl.SSLContext) -> None:
    """A member with a good certificate that then sends anything. It hangs up itself: some rubbish is well formed."""
    reader, writer = await asyncio.open_connection(*address, ssl=context, server_hostname="")
    writer.write(rubbish)
    try:
        async with asyncio.timeout(0.02):
            await reader.read()
    except OSError:  # TimeoutError is one.
        pass
    finally:
        writer.transport.abort()


async def attack(rng: random.Random, address: tuple[str, int]) -> None:
    greeting = client_hello()
    rubbish = [
        mutate(rng, greeting) if rng.random() < 0.7 else rng.randbytes(rng.randrange(1, 400)) for _ in range(STRANGERS)
    ]
    for start in range(0, STRANGERS, 20):
        await asyncio.gather(*(stranger(address, piece) for piece in rubbish[start : start + 20]))
    hello = encode_hello(CLUSTER, "mad", rng.randbytes(16))
    context = client_context(MAD, OWN_MEMBER)
    for _ in range(MAD_CONNECTIONS // 10):
        pieces = [
            rng.choice([hello, b""]) + mutate(rng, hello + encode_frame(rng.randrange(256), rng.randbytes(60)))
            for _ in range(10)
        ]
        await asyncio.gather(*(madman(address, piece, context) for piece in pieces))


async def scenario() -> None:
    faults: list[dict[str, object]] = []
    frames: list[tuple[str, int, bytes]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: faults.append(context))
    events = PeerEvents()
    listener = InboundListener((CLUSTER, "own", bytes(16)), events, lambda *frame: frames.append(frame))
    listener.set_members([MAD_MEMBER], server_context(OWN, [MAD_MEMBER]))
    bound = await peer_sockets.listen(("127.0.0.1", 0))
    address = bound.getsockname()
    serving = loop.create_task(listener.serve(bound))
    try:
        before = resident_bytes()
        await attack(random.Random(42), address)
        assert resident_bytes() - before < MEMORY_GROWTH_BYTES_MAX
        counts = events.counts
        assert counts["handshake_failed"] >= STRANGERS // 2
        assert counts["hello_refused"] >= 10
        assert counts["frame_malformed"] >= 10
        # The port still serves an honest member.
        frames.clear()
        context = client_context(MAD, OWN_MEMBER)
        reader, writer = await asyncio.open_connection(*address, ssl=context, server_hostname="")
        writer.write(encode_hello(CLUSTER, "mad", b"honest session!!") + encode_frame(5, b"honest"))
        await asyncio.wait_for(reader.readexactly(5), 5)
        while not frames:
            await asyncio.sleep(0.003)
        assert frames == [("mad", 5, b"honest")]
        writer.transport.abort()
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        await listener.close()
        bound.close()
    assert not faults


def test_rubbish_at_the_port_harms_nobody() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(scenario(), 60))
