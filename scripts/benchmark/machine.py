"""What this machine gives without govraft: the floor under every other figure."""

from __future__ import annotations

import os
import socket
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

from cluster import BenchCluster
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from report import Row, sampled

ECHO = """
import socket, sys
connection = socket.socket(fileno=int(sys.argv[1]))
while data := connection.recv(65536):
    connection.sendall(data)
"""
MESSAGE_BYTES = 300


def measure(cluster: BenchCluster, quick: bool) -> list[Row]:  # noqa: FBT001 - all measurements have this shape
    """A synced SQLite commit, a signature made and verified, a message to another process and back."""
    del cluster
    count = 200 if quick else 1_000
    return [
        sampled("machine", "synced commit (SQLite WAL, 2 rows)", "µs", synced_commits(count)),
        sampled("machine", "synced commit, one each 50 ms", "µs", synced_commits(count // 20, pause_s=0.05)),
        sampled("machine", "Ed25519 sign + verify", "µs", _signatures(count)),
        sampled("machine", "Unix socket there and back", "µs", _echoes(5 * count)),
    ]


def synced_commits(count: int, *, pause_s: float = 0.0) -> list[float]:
    """How long each of `count` commits takes, µs, with a pause before each: many disks are faster when kept busy."""
    with tempfile.TemporaryDirectory(prefix="govraft-bench-") as directory:
        connection = sqlite3.connect(Path(directory) / "disk.db", isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("CREATE TABLE rows (number INTEGER PRIMARY KEY, content BLOB)")
            samples = []
            for number in range(count):
                time.sleep(pause_s)
                begin = time.perf_counter_ns()
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("INSERT INTO rows VALUES (?, ?)", (2 * number, bytes(500)))
                connection.execute("INSERT INTO rows VALUES (?, ?)", (2 * number + 1, bytes(500)))
                connection.execute("COMMIT")
                samples.append((time.perf_counter_ns() - begin) / 1000)
            return samples
        finally:
            connection.close()


def _signatures(count: int) -> list[float]:
    key = Ed25519PrivateKey.generate()
    public = key.public_key()
    samples = []
    for number in range(count):
        begin = time.perf_counter_ns()
        message = number.to_bytes(300, "big")
        public.verify(key.sign(message), message)
        samples.append((time.perf_counter_ns() - begin) / 1000)
    return samples


def _echoes(count: int) -> list[float]:
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-c", ECHO, str(theirs.fileno())],
                os.environ,
                file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), theirs.fileno())],
            )
        try:
            ours.settimeout(10)
            samples = []
            for _ in range(count):
                begin = time.perf_counter_ns()
                ours.sendall(bytes(MESSAGE_BYTES))
                ours.recv(65536)
                samples.append((time.perf_counter_ns() - begin) / 1000)
            return samples[count // 10 :]
        finally:
            ours.close()
            os.waitpid(pid, 0)
