"""Clients and peers that take all they can get. Run as a program, so that what they cost does not slow the polite one.

    python greedy.py KIND ADDRESS SECONDS [JSON]

Each ends by itself after SECONDS and prints one JSON line: what it counted.
"""

from __future__ import annotations

import asyncio
import base64
import collections
import contextlib
import json
import secrets
import socket
import struct
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import uvloop

AGENT = {"principal": 'Agent::"greedy"', "action": 'Action::"use"', "resource": 'Tool::"hammer"', "context": {}}
FAR_AHEAD = 2**62

counts: collections.Counter[str] = collections.Counter()


def call(**fields: Any) -> bytes:
    payload = msgspec.msgpack.encode(fields)
    return struct.pack(">I", len(payload)) + payload


async def opened(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    while True:
        try:
            return await asyncio.open_unix_connection(address, limit=2**22)
        except BlockingIOError:
            # More connect at once than the node accepts in one turn.
            counts["backlog full"] += 1
            await asyncio.sleep(0.01)


def note(answer: dict[str, Any]) -> None:
    """Count one answer by what it says."""
    if not answer["ok"]:
        counts[f"error {answer['error']['code']}"] += 1
        return
    result = answer.get("result")
    for verdict in result if isinstance(result, list) else [result]:
        if isinstance(verdict, dict) and "verdict" in verdict:
            counts[verdict["verdict"] if verdict["verdict"] == "allow" else f"deny {verdict['reason']}"] += 1
        else:
            counts["other"] += 1


async def answer(reader: asyncio.StreamReader) -> dict[str, Any]:
    (length,) = struct.unpack(">I", await reader.readexactly(4))
    return msgspec.msgpack.decode(await reader.readexactly(length))


async def pipeline(address: str, make: Callable[[int], bytes], depth: int, end: float) -> None:
    """Keep `depth` calls in flight on one connection."""
    reader, writer = await opened(address)
    try:
        number = 0
        for _ in range(depth):
            number += 1
            writer.write(make(number))
        while time.monotonic() < end:
            async with asyncio.timeout(max(0.01, end - time.monotonic())):
                note(await answer(reader))
            number += 1
            writer.write(make(number))
    except TimeoutError:
        pass
    except (OSError, asyncio.IncompleteReadError) as error:
        counts[f"lost {type(error).__name__}"] += 1
    finally:
        writer.transport.abort()


async def crowd(clients: int, work: Callable[[], Awaitable[None]]) -> None:
    await asyncio.gather(*(work() for _ in range(clients)))


async def checks(address: str, end: float, clients: int = 1, depth: int = 1000, at_least: int = 0) -> None:
    await crowd(
        clients,
        lambda: pipeline(
            address, lambda number: call(op="check", id=number, request=AGENT, at_least=at_least), depth, end
        ),
    )


async def waiting(address: str, end: float, clients: int = 4, depth: int = 1000, filler: int = 60_000) -> None:
    """Checks that wait for a certificate far ahead, each with a context that is small on the wire only."""
    request = AGENT | {"context": {"filler": [[] for _ in range(filler)]}}
    encoded = msgspec.Raw(msgspec.msgpack.encode(request))
    await crowd(
        clients,
        lambda: pipeline(
            address, lambda number: call(op="check", id=number, request=encoded, at_least=FAR_AHEAD), depth, end
        ),
    )


async def batches(
    address: str, end: float, clients: int = 1, depth: int = 1000, size: int = 1000, filler: int = 0
) -> None:
    request = AGENT | {"context": {"filler": [[] for _ in range(filler)]}} if filler else AGENT
    requests = msgspec.Raw(msgspec.msgpack.encode([request] * size))
    await crowd(
        clients,
        lambda: pipeline(address, lambda number: call(op="check_many", id=number, requests=requests), depth, end),
    )


async def reads(address: str, end: float, clients: int = 4, depth: int = 200, what: str = "genesis") -> None:
    await crowd(clients, lambda: pipeline(address, lambda number: call(op="read", id=number, what=what), depth, end))


async def submits(address: str, end: float, file: str, clients: int = 1, depth: int = 1000) -> None:
    """Envelopes from a file, one base64 line each, none of them twice."""
    left = iter([base64.b64decode(line) for line in Path(file).read_text().split()])

    def make(number: int) -> bytes:
        envelope = next(left, None)
        if envelope is None:
            return call(op="hello", id=number)
        return call(op="submit", id=number, envelope=envelope, timeout_ms=20_000, wait="effective")

    await crowd(clients, lambda: pipeline(address, make, depth, end))


async def unread(address: str, end: float, clients: int = 50) -> None:
    """Ask for all that the socket takes, never read."""

    async def ask() -> None:
        loop = asyncio.get_running_loop()
        while time.monotonic() < end:
            with socket.socket(socket.AF_UNIX) as peer:
                peer.setblocking(False)
                try:
                    await loop.sock_connect(peer, address)
                    number = 0
                    while time.monotonic() < end:
                        number += 1
                        async with asyncio.timeout(max(0.01, end - time.monotonic())):
                            await loop.sock_sendall(
                                peer, b"".join(call(op="read", id=number * 10 + i, what="genesis") for i in range(10))
                            )
                except TimeoutError:
                    return
                except OSError:
                    counts["dropped"] += 1
                    await asyncio.sleep(0.05)

    await crowd(clients, ask)


async def endless(address: str, end: float, clients: int = 50, announce: int = 1_000_000, fill: int = 500_000) -> None:
    """A frame that never ends: much of it at once, then a byte at a time."""

    async def trickle() -> None:
        while time.monotonic() < end:
            reader, writer = await opened(address)
            try:
                writer.write(struct.pack(">I", announce) + b"x" * fill)
                while time.monotonic() < end:
                    writer.write(b"x")
                    async with asyncio.timeout(0.2):
                        with contextlib.suppress(TimeoutError):
                            note(await answer(reader))
                            break
            except (TimeoutError, OSError, asyncio.IncompleteReadError):
                counts["dropped"] += 1
            finally:
                writer.transport.abort()

    await crowd(clients, trickle)


async def churn(address: str, end: float, clients: int = 20) -> None:
    """Connect and hang up, as fast as it goes."""
    loop = asyncio.get_running_loop()

    async def knock() -> None:
        while time.monotonic() < end:
            with socket.socket(socket.AF_UNIX) as peer:
                peer.setblocking(False)
                try:
                    await loop.sock_connect(peer, address)
                    counts["connected"] += 1
                except OSError as error:
                    counts[f"refused {type(error).__name__}"] += 1
            await asyncio.sleep(0)

    await crowd(clients, knock)


async def watches(address: str, end: float, clients: int = 200, depth: int = 100) -> None:
    """Subscribe as often as it goes, and read what comes."""

    async def watch() -> None:
        reader, writer = await opened(address)
        try:
            writer.write(b"".join(call(op="watch", id=number) for number in range(1, depth + 1)))
            while time.monotonic() < end:
                async with asyncio.timeout(max(0.01, end - time.monotonic())):
                    said = await answer(reader)
                    counts["event" if "event" in said else "watching" if said["ok"] else said["error"]["code"]] += 1
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    await crowd(clients, watch)


def host_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


async def strangers(address: str, end: float, clients: int = 100, greeting: str = "") -> None:
    """Connections to the peer port by somebody without a certificate: each sends a ClientHello, or nothing, and stays."""
    loop, opening = asyncio.get_running_loop(), base64.b64decode(greeting)

    async def knock() -> None:
        while time.monotonic() < end:
            with socket.socket() as peer:
                peer.setblocking(False)
                try:
                    async with asyncio.timeout(max(0.01, min(1.0, end - time.monotonic()))):
                        await loop.sock_connect(peer, host_port(address))
                        counts["connected"] += 1
                        if opening:
                            await loop.sock_sendall(peer, opening)
                        while await loop.sock_recv(peer, 65536):
                            pass
                        counts["closed"] += 1
                except OSError as error:  # TimeoutError is one.
                    counts[f"refused {type(error).__name__}"] += 1
            await asyncio.sleep(0)

    await crowd(clients, knock)


async def knocks(address: str, end: float, clients: int = 50) -> None:
    """Connect to the peer port and hang up, as fast as it goes."""
    loop = asyncio.get_running_loop()

    async def knock() -> None:
        while time.monotonic() < end:
            with socket.socket() as peer:
                peer.setblocking(False)
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                try:
                    async with asyncio.timeout(1.0):
                        await loop.sock_connect(peer, host_port(address))
                    counts["connected"] += 1
                except OSError as error:
                    counts[f"refused {type(error).__name__}"] += 1
            await asyncio.sleep(0)

    await crowd(clients, knock)


async def member(
    address: str, end: float, config: str, target: str, channel: int = 2, payload: str = "", filler: int = 0
) -> None:
    """A member with its true key floods frames. `config` is its node's file, `target` the member it dials."""
    from govraft.adapters.frames import encode_frame
    from govraft.adapters.peer_hello import encode_hello
    from govraft.adapters.tls import client_context
    from govraft.startup import load_node_files

    node, genesis, identity = load_node_files(Path(config))
    meant = genesis.electorate().find(target)
    assert meant is not None
    context = client_context(identity, meant)
    frame = encode_frame(channel, base64.b64decode(payload) + b"x" * filler)
    session = secrets.token_bytes(16)
    chunk = frame * max(1, 65536 // len(frame))
    host, port = host_port(address)
    while time.monotonic() < end:
        try:
            _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname="")
        except OSError as error:
            counts[f"refused {type(error).__name__}"] += 1
            await asyncio.sleep(0.05)
            continue
        try:
            writer.write(encode_hello(genesis.cluster_id, node.node_id, session))
            while time.monotonic() < end:
                writer.write(chunk)
                counts["frames"] += len(chunk) // len(frame)
                async with asyncio.timeout(max(0.01, end - time.monotonic())):
                    await writer.drain()
                await asyncio.sleep(0)
        except OSError as error:
            counts[f"lost {type(error).__name__}"] += 1
        finally:
            writer.transport.abort()


KINDS = {
    work.__name__: work
    for work in (
        batches, checks, churn, endless, knocks, member, reads, strangers, submits, unread, waiting, watches,
    )
}  # fmt: skip


def main() -> None:
    kind, address, seconds, options = (*sys.argv[1:4], sys.argv[4] if len(sys.argv) > 4 else "{}")
    work = KINDS[kind](address, time.monotonic() + float(seconds), **json.loads(options))  # type: ignore[operator]
    uvloop.run(work)
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
