"""One node of a `LocalCluster`: a real `govraft-node` process, running or not."""

from __future__ import annotations

import contextlib
import logging
import shutil
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

from govraft.adapters.snapshot_file import snapshot_path
from govraft.cli.throwaway_storage import allow_forgetful
from govraft.client.client import Client
from govraft.testing.local_cluster_errors import NodeExitedError
from govraft.testing.local_cluster_process import PATIENCE_S, ChildProcess

__all__ = ["LocalNode"]

_log = logging.getLogger(__name__)

_LOG_CHARS = 4000
_CLIENT_TIMEOUT_S = 3.0
_LEAVES_PAGES_MAX = 10_000


class LocalNode:
    """One node of a `LocalCluster`.

    Attributes:
        id: Its node id, such as `node-1`.
        endpoint: For `Client(endpoint)` or `GOVRAFT_ENDPOINT`.
        client: A blocking client of this node.
        home, config, database, socket: Its directory and files.
        program: Arguments of the Python interpreter that run it, the configuration's path follows.
        wrapper: A command that runs it, such as `["/usr/bin/nice"]`; absolute paths only.
        environment: More environment variables for its next start.
        lives: How often it was started.
    """

    def __init__(self, cluster_home: Path, node_id: str) -> None:
        """Take the place of a node in a cluster directory; nothing is started."""
        self.id = node_id
        self.home = cluster_home / "nodes" / node_id
        self.config = self.home / "node.toml"
        self.database = self.home / "data" / "node.db"
        self.socket = cluster_home / "run" / f"{node_id}.sock"
        self.endpoint = f"unix://{self.socket}"
        self.program = ["-m", "govraft.cli.node", "run", "--config"]
        self.wrapper: list[str] = []
        self.environment: dict[str, str] = {}
        self.lives = 0
        self.client = Client(self.endpoint, timeout=_CLIENT_TIMEOUT_S)
        self._child: ChildProcess | None = None
        self._log = cluster_home / "log" / f"{node_id}.log"

    @property
    def process(self) -> ChildProcess:
        """Its latest process.

        Raises:
            NodeExitedError: It was never started.
        """
        if self._child is None:
            raise NodeExitedError(f"`{self.id}` was not started yet; call `start()` first")
        return self._child

    @property
    def is_running(self) -> bool:
        """Whether its process exists; a paused one runs."""
        return self._child is not None and self._child.is_running

    def start(self) -> ChildProcess:
        """Start its process; returns at once. `LocalCluster.wait_until_serving` waits until it may allow.

        Raises:
            NodeExitedError: It runs already.
        """
        if self.is_running:
            raise NodeExitedError(f"`{self.id}` runs already; stop or kill it first", code="node_running")
        if said := allow_forgetful([self.config]):
            _log.warning("%s", said)
        command = [*self.wrapper, sys.executable, "-P", *self.program, str(self.config)]
        self._child = ChildProcess(command, self._log, self.environment)
        self.lives += 1
        return self._child

    def run_to_end(self, timeout_s: float = PATIENCE_S) -> tuple[int, str]:
        """Start it where it must not stay up: its exit code, and what it said.

        Raises:
            ClusterTimeoutError: It stayed up; it is killed.
        """
        self._log.unlink(missing_ok=True)
        child = self.start()
        try:
            return child.wait(timeout_s), self.log()
        finally:
            child.kill()

    def kill(self) -> None:
        """End its process at once, as a crash would. Nothing happens if none runs."""
        if self._child is not None:
            self._child.kill()

    def stop(self) -> int:
        """End it in order (SIGTERM); its exit code, 0 when all went well.

        Raises:
            NodeExitedError: It was never started.
            ClusterTimeoutError: It does not end.
        """
        self.process.signal(signal.SIGTERM)
        return self.process.wait()

    def pause(self) -> None:
        """Freeze its process (SIGSTOP), as a long garbage collection or a suspended machine would."""
        self.process.pause()

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self.process.resume()

    def log(self, last: int = _LOG_CHARS) -> str:
        """The last characters that it wrote, of all its lives."""
        return self._log.read_text(errors="replace")[-last:] if self._log.exists() else ""

    def status(self) -> dict[str, Any]:
        """Its own account of itself, as `govraft status` shows it.

        Raises:
            GovraftError: It does not answer.
        """
        return self.client.status()

    def may_allow(self) -> bool:
        """Whether it holds a lease, and would allow what the policies permit.

        Raises:
            GovraftError: It does not answer.
        """
        return bool(self.status()["standing"] == "allow")

    def lineage(self) -> list[tuple[bytes, bytes | None]]:
        """All leaves that it holds, with their entries.

        Raises:
            GovraftError: It does not answer.
        """
        found: list[tuple[bytes, bytes | None]] = []
        for _ in range(_LEAVES_PAGES_MAX):
            page = self.client.read("lineage", **{"from": len(found) + 1})
            if not page["leaves"]:
                break
            found.extend(zip(page["leaves"], page["entries"], strict=True))
        return found

    def copy_store(self, place: Path) -> None:
        """Copy what another node may begin with: its snapshot, if it has one, and then its database; it may run.

        Args:
            place: An empty directory, which is made if it is not there.
        """
        place.mkdir(parents=True, exist_ok=True)
        copy = place / self.database.name
        if snapshot_path(self.database).exists():
            shutil.copyfile(snapshot_path(self.database), snapshot_path(copy))
        source = f"file:{quote(str(self.database))}?mode=ro"
        with (
            contextlib.closing(sqlite3.connect(source, uri=True)) as database,
            contextlib.closing(sqlite3.connect(copy)) as target,
        ):
            database.backup(target)

    def __repr__(self) -> str:
        """Names the node and whether it runs."""
        return f"LocalNode({self.id!r}, running={self.is_running})"
