"""A process that carries the traffic between nodes, one TCP proxy a directed link, and can cut it.

Started with a JSON file `{"<from>><to>": "host:port", …}`; listens on a free loopback port for each link. Controlled
over a Unix socket, see `link_control`. What a link does to connections, by mode:

========= ============================================ =========================================
mode      while it lasts                               when it ends
========= ============================================ =========================================
open      bytes pass, after `delay_ms`; see `loss`      –
cut       bytes vanish, nobody is told                 connections that lost bytes are reset
hold      bytes are kept                               they arrive, late
half_open acceptors are reset, diallers do not notice  connections are reset
refuse    connections are reset, new ones too          –
========= ============================================ =========================================

`loss` is the share of the pieces of an open link that are lost. As TCP would, the proxy delivers them all the same: a
lost piece, and with it all that follows, comes `RETRANSMISSION_S` later, and twice as late each time it is lost again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import Any

__all__ = ["DELAY_MS_MAX", "LOSS_MAX", "RETRANSMISSION_S", "Link", "Mode", "serve"]

DELAY_MS_MAX = 60_000
LOSS_MAX = 0.9
RETRANSMISSION_S = 0.2
_CHUNK_BYTES = 64 * 1024
_CHUNKS_IN_FLIGHT = 64
_LINE_BYTES = 64 * 1024


class Mode(StrEnum):
    """What a link does to its connections."""

    OPEN = "open"
    CUT = "cut"
    HOLD = "hold"
    HALF_OPEN = "half_open"
    REFUSE = "refuse"


_SWALLOWING = {Mode.CUT, Mode.HALF_OPEN}

_Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Link:
    """One directed link: who dials here reaches `target`, unless the mode says otherwise."""

    def __init__(self, target: tuple[str, int]) -> None:
        """Prepare; nothing listens yet."""
        self.mode = Mode.OPEN
        self.delay_s = 0.0
        self.loss = 0.0
        self.port = 0
        self._target = target
        self._relays: set[_Relay] = set()
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen on a free port of the loopback interface."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=_CHUNK_BYTES)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening, reset what is open."""
        if self._server is not None:
            self._server.close()
        self.change(Mode.REFUSE, 0)

    def change(self, mode: Mode, delay_ms: int, loss: float = 0.0) -> None:
        """Change what the link does, from now on, to connections that exist too."""
        before, self.mode, self.delay_s, self.loss = self.mode, mode, delay_ms / 1000, loss
        for relay in list(self._relays):
            # A stream with a hole cannot go on: its two ends would disagree about every later byte.
            if mode is Mode.REFUSE or (relay.is_torn and mode not in _SWALLOWING):
                relay.reset()
            elif mode is Mode.HALF_OPEN and before is not Mode.HALF_OPEN:
                relay.reset_acceptor()
        self._changed.set()
        self._changed = asyncio.Event()

    def lateness_s(self) -> float:
        """How late the next piece is: its delay, and the time until it is no longer lost."""
        late, wait = self.delay_s, RETRANSMISSION_S
        while random.random() < self.loss:  # noqa: S311 - a fault of the network, no secret
            late, wait = late + wait, wait * 2
        return late

    async def passes(self) -> bool:
        """Whether bytes pass now; waits while they are held."""
        while self.mode is Mode.HOLD:
            await self._changed.wait()
        return self.mode is Mode.OPEN

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        relay = _Relay(self, (reader, writer))
        self._relays.add(relay)
        try:
            await relay.run(self._target)
        except OSError:
            pass  # One end is gone; the other is reset below, which is all that TCP would tell it.
        finally:
            relay.reset()
            self._relays.discard(relay)


class _Relay:
    """One connection through a link."""

    def __init__(self, link: Link, dialler: _Stream) -> None:
        self.is_torn = False
        self._link = link
        self._dialler = dialler
        self._acceptor: _Stream | None = None
        self._is_reset = False
        self._ended = asyncio.Event()

    async def run(self, target: tuple[str, int]) -> None:
        """Carry bytes until an end closes or the link resets it."""
        if not await self._link.passes():
            self.is_torn = True
            await self._swallow()
            return
        self._acceptor = await asyncio.open_connection(*target, limit=_CHUNK_BYTES)
        if self._is_reset:
            return
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._carry(self._dialler[0], self._acceptor[1])),
                group.create_task(self._carry(self._acceptor[0], self._dialler[1])),
            ]
            await self._ended.wait()
            for task in tasks:
                task.cancel()

    def reset(self) -> None:
        """Reset both ends."""
        self._is_reset = True
        self._dialler[1].transport.abort()
        self.reset_acceptor()
        self._ended.set()

    def reset_acceptor(self) -> None:
        """Reset the end that was dialled; the dialler is not told."""
        self.is_torn = True
        if self._acceptor is not None:
            self._acceptor[1].transport.abort()

    async def _swallow(self) -> None:
        with contextlib.suppress(OSError):
            while self._link.mode is not Mode.REFUSE and await self._dialler[0].read(_CHUNK_BYTES):
                pass

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        """Carry one direction; reading and writing apart, so that a delay does not cost throughput."""
        chunks: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_CHUNKS_IN_FLIGHT)
        reading = asyncio.get_running_loop().create_task(self._read(source, chunks))
        try:
            while await self._write(sink, *(await chunks.get())):
                pass
        except OSError:
            pass  # The sink is gone: told to the other end below, unless the link keeps it a secret.
        finally:
            reading.cancel()
        if not await self._link.passes():
            self.is_torn = True
            return
        self._ended.set()

    async def _read(self, source: asyncio.StreamReader, chunks: asyncio.Queue[tuple[float, bytes]]) -> None:
        loop = asyncio.get_running_loop()
        data = b"-"
        while data:
            try:
                data = await source.read(_CHUNK_BYTES)
            except OSError:
                data = b""
            await chunks.put((loop.time() + self._link.lateness_s(), data))

    async def _write(self, sink: asyncio.StreamWriter, due: float, data: bytes) -> bool:
        """Write one chunk when it is due. False at the end of the stream."""
        await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
        passes = await self._link.passes()
        if data and passes:
            sink.write(data)
            await sink.drain()
        elif data:
            self.is_torn = True
        return bool(data)


async def serve(targets: dict[str, str], control: Path) -> None:
    """Carry the links of `targets` until SIGTERM or SIGINT.

    Raises:
        OSError: A socket cannot be opened.
    """
    links: dict[str, Link] = {}
    for name, target in targets.items():
        host, _, port = target.rpartition(":")
        links[name] = Link((host.strip("[]"), int(port)))
        await links[name].start()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    _remove(control)
    before = os.umask(0o177)
    try:
        server = await asyncio.start_unix_server(_controller(links), control, limit=_LINE_BYTES)
    finally:
        os.umask(before)
    async with server:
        await stopped.wait()
    for link in links.values():
        await link.stop()
    _remove(control)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _controller(links: dict[str, Link]) -> Any:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ValueError):
            while line := await reader.readline():
                writer.write(json.dumps(_obey(links, line)).encode() + b"\n")
                await writer.drain()
        writer.close()

    return answer


def _obey(links: dict[str, Link], line: bytes) -> dict[str, Any]:
    """Carry out `{"links": {name: {"mode", "delay_ms", "loss"}}}`, all or nothing; answer how every link is then."""
    try:
        wanted = {
            name: (links[name], Mode(change["mode"]), int(change.get("delay_ms", 0)), float(change.get("loss", 0)))
            for name, change in json.loads(line)["links"].items()
        }
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        return {"ok": False, "message": f"not understood: {error!r}"}
    if any(not 0 <= delay_ms <= DELAY_MS_MAX for _, _, delay_ms, _ in wanted.values()):
        return {"ok": False, "message": f"`delay_ms` must be from 0 to {DELAY_MS_MAX}"}
    # Written so that NaN is refused as well.
    if not all(0 <= loss <= LOSS_MAX for _, _, _, loss in wanted.values()):
        return {"ok": False, "message": f"`loss` must be from 0 to {LOSS_MAX}"}
    for link, mode, delay_ms, loss in wanted.values():
        link.change(mode, delay_ms, loss)
    return {
        "ok": True,
        "links": {
            name: {
                "port": link.port,
                "mode": link.mode.value,
                "delay_ms": round(link.delay_s * 1000),
                "loss": link.loss,
            }
            for name, link in links.items()
        },
    }


def _main() -> int:
    if len(sys.argv) != 3:
        print("usage: python -m govraft.testing.link_proxy LINKS.json CONTROL.sock", file=sys.stderr)  # noqa: T201
        return 2
    targets = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    asyncio.run(serve(targets, Path(sys.argv[2])))
    return 0


if __name__ == "__main__":
    sys.exit(_main())
