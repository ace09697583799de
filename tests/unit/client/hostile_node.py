"""A node that greets properly and then lies, stalls or breaks off."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from govraft.api.wire import FrameReader, frame, request_digest

Script = Callable[[dict[str, Any], socket.socket], None]


def good_allow(**changes: object) -> dict[str, object]:
    """An allow that the client believes, unless `changes` spoil it. A change to None drops the field."""
    now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    fields = {
        "verdict": "allow",
        "seq": 5,
        "state_root": "ab" * 32,
        "valid_until": now + 5_000_000_000,
        "policies": ["p"],
        "decision": "d",
        "node": "n",
        **changes,
    }
    return {name: value for name, value in fields.items() if value is not None}


def good_answer(call: dict[str, Any], **changes: object) -> dict[str, object]:
    """The answer to a check that the client believes, unless `changes` spoil it."""
    digest = request_digest(msgspec.msgpack.encode(call["request"]))
    fields = {"id": call["id"], "ok": True, "request": digest, "result": good_allow(), **changes}
    return {name: value for name, value in fields.items() if value is not None}


class HostileNode:
    """Greets like a node; then does what its script says, one thread for each connection."""

    def __init__(self, path: Path, script: Script, *, greet: bool = True) -> None:
        self.endpoint = f"unix://{path}"
        self.calls: list[dict[str, Any]] = []
        self.connections = 0
        self._script, self._greet = script, greet
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(os.fspath(path))
        self._listener.listen()
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        for connection in self._open:
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            self._threads.append(threading.Thread(target=self._serve, args=(connection,), daemon=True))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        reader = FrameReader(1 << 24)
        with contextlib.suppress(OSError):
            while data := connection.recv(1 << 16):
                reader.feed(data)
                while (payload := reader.next_frame()) is not None:
                    call = msgspec.msgpack.decode(payload)
                    if call["op"] == "hello" and self._greet:
                        hello = {"protocol": 1, "node": "n", "cluster": "c"}
                        answer(connection, {"id": call["id"], "ok": True, "result": hello})
                    else:
                        self.calls.append(call)
                        self._script(call, connection)


def answer(connection: socket.socket, value: object) -> None:
    """Send one answer."""
    connection.sendall(frame(msgspec.msgpack.encode(value)))


def _after(call: dict[str, Any], **changes: object) -> dict[str, object]:
    return good_answer(call, result=good_allow(**changes))


def _drip(connection: socket.socket, data: bytes) -> None:
    for byte in data:
        connection.sendall(bytes([byte]))
        time.sleep(0.05)


NOW = lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME)  # noqa: E731 - read at each use

UNBELIEVABLE: dict[str, Callable[[dict[str, Any]], object]] = {
    "expired": lambda call: _after(call, valid_until=NOW() - 1),
    "expired at this moment": lambda call: _after(call, valid_until=NOW()),
    "holds for ever": lambda call: _after(call, valid_until=(1 << 63) - 1),
    "holds for an hour": lambda call: _after(call, valid_until=NOW() + 3600 * 10**9),
    "older than asked": lambda call: _after(call, seq=3),
    "seq zero": lambda call: _after(call, seq=0),
    "seq negative": lambda call: _after(call, seq=-5),
    "seq is true": lambda call: _after(call, seq=True),
    "seq is a float": lambda call: _after(call, seq=5.0),
    "root missing": lambda call: _after(call, state_root=None),
    "root short": lambda call: _after(call, state_root="ab"),
    "root with a line break": lambda call: _after(call, state_root="ab" * 32 + "\n"),
    "no valid_until": lambda call: _after(call, valid_until=None),
    "no decision": lambda call: _after(call, decision=None),
    "empty decision": lambda call: _after(call, decision=""),
    "no node": lambda call: _after(call, node=""),
    "no policies": lambda call: _after(call, policies=None),
    "unknown field": lambda call: _after(call, obligations=["log"]),
    "unknown verdict": lambda call: _after(call, verdict="permit"),
    "no verdict tag": lambda call: _after(call, verdict=None),
    "wrong id": lambda call: good_answer(call, id=call["id"] + 1),
    "earlier id": lambda call: good_answer(call, id=call["id"] - 1),
    "id zero": lambda call: good_answer(call, id=0),
    "no id": lambda call: good_answer(call, id=None),
    "another question": lambda call: good_answer(
        {**call, "request": {**call["request"], "resource": "x"}}, id=call["id"]
    ),
    "no digest": lambda call: good_answer(call, request=None),
    "unknown field outside": lambda call: good_answer(call, dry_run=True),
    "no result": lambda call: good_answer(call, result=None),
    "a plain true": lambda call: good_answer(call, result=True),
    "not ok": lambda call: good_answer(call, ok=False),
    "ok is 1": lambda call: good_answer(call, ok=1),
    "result and error": lambda call: good_answer(call, error={"code": "x", "message": "y", "definite": True}),
    "an error": lambda call: {
        "id": call["id"],
        "ok": False,
        "error": {"code": "internal_error", "message": "y", "definite": True},
    },
    "an error without form": lambda call: {"id": call["id"], "ok": False, "error": "allow"},
    "an array": lambda call: [1, True],
    "an unknown reason": lambda call: good_answer(call, result={"verdict": "deny", "reason": "no_reason"}),
}

RAW: dict[str, Callable[[dict[str, Any], socket.socket], None]] = {
    "never answers": lambda call, connection: None,
    "closes": lambda call, connection: connection.shutdown(socket.SHUT_RDWR),
    "closes mid-frame": lambda call, connection: (
        connection.sendall(frame(msgspec.msgpack.encode(good_answer(call)))[:-1]),
        connection.shutdown(socket.SHUT_RDWR),
    )[0],
    "stops mid-frame": lambda call, connection: connection.sendall(
        frame(msgspec.msgpack.encode(good_answer(call)))[:-1]
    ),
    "drips": lambda call, connection: _drip(connection, frame(msgspec.msgpack.encode(good_answer(call)))),
    "huge length": lambda call, connection: connection.sendall(b"\xff\xff\xff\xff" + b"x" * 1000),
    "empty frame": lambda call, connection: connection.sendall(b"\0\0\0\0"),
    "garbage": lambda call, connection: connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n{}"),
    "not msgpack": lambda call, connection: connection.sendall(frame(b"\xc1" * 20)),
    "truncated map": lambda call, connection: connection.sendall(frame(msgspec.msgpack.encode(good_answer(call))[:-3])),
    "deep": lambda call, connection: connection.sendall(frame(b"\x91" * 100_000)),
}
