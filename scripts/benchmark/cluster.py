"""Three nodes as processes of this one, on the loopback interface; ended, each by its pid, whatever happens."""

from __future__ import annotations

import contextlib
import itertools
import json
import secrets
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import click
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from govraft import Client
from govraft.api.wire import Receipt
from govraft.cli.cluster_creation import create_cluster
from govraft.cli.cluster_plan import plan_cluster
from govraft.cli.processes import python_command
from govraft.cli.throwaway_storage import allow_forgetful
from govraft.core.codec.envelope import pae, seal
from govraft.core.model.commands import Command, encode_command, payload_type, required_role
from govraft.core.model.electorate import QuorumRule
from govraft.errors import AvailabilityError, GovraftError

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
VALID_MS = 3_600_000


class BenchCluster:
    """A fresh cluster of three nodes in the `lan` profile. A context manager."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._nodes: dict[str, subprocess.Popen[bytes]] = {}
        self._numbers = itertools.count(1)
        self._run = secrets.token_hex(4)
        plan = plan_cluster(name="bench", nodes=3, quorum=QuorumRule.MAJORITY, profile="lan")
        self._made = create_cluster(plan, directory)
        if said := allow_forgetful(Path(node.config) for node in self._made.nodes):
            click.echo(f"bench: {said}", err=True)
        self.cluster_id = self._made.cluster_id
        self._keys = self._load_keys()
        self.clients = {node.id: Client(f"unix://{node.socket}", timeout=10.0) for node in self._made.nodes}

    def __enter__(self) -> Self:
        """Start all nodes and wait until each may allow."""
        try:
            for node in self._made.nodes:
                self.start(node.id)
            self.wait_until_standing()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End all nodes."""
        self.close()

    # Processes.

    @property
    def node_ids(self) -> list[str]:
        """All nodes, running or not."""
        return [node.id for node in self._made.nodes]

    def pid(self, node_id: str) -> int:
        """The node's process."""
        return self._nodes[node_id].pid

    def endpoint(self, node_id: str) -> str:
        """Where the node's clients connect."""
        return f"unix://{self._made.find(node_id).socket}"

    def start(self, node_id: str) -> None:
        """Start a node that is not running."""
        command = python_command("govraft.cli.node", "run", "--config", self._made.find(node_id).config)
        with self._made.log_path(node_id).open("ab") as log:
            self._nodes[node_id] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def kill(self, node_id: str) -> None:
        """End a node as a power failure would."""
        process = self._nodes.pop(node_id)
        process.kill()
        process.wait(STOP_TIMEOUT_S)

    def close(self) -> None:
        """End what runs."""
        for client in self.clients.values():
            client.close()
        for process in self._nodes.values():
            process.terminate()
        for process in self._nodes.values():
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(STOP_TIMEOUT_S)
        self._nodes = {}

    # Standing.

    def status(self, node_id: str) -> dict[str, Any] | None:
        """A node's account of itself; None if it does not answer."""
        with contextlib.suppress(GovraftError):
            return self.clients[node_id].status()
        return None

    def leader(self) -> str:
        """The node that leads, once all running nodes agree.

        Raises:
            AvailabilityError: They do not for long.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            found = [self.status(node_id) or {} for node_id in self._nodes]
            hints = {status.get("leader_hint") for status in found}
            if len(hints) == 1 and (hint := hints.pop()) in self._nodes:
                return str(hint)
            self._pause(deadline, "the nodes agree on no leader")

    def wait_until_standing(self) -> None:
        """Wait until each running node may allow.

        Raises:
            AvailabilityError: That takes too long.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        while any((self.status(node_id) or {}).get("standing") != "allow" for node_id in self._nodes):
            self._pause(deadline, "not all nodes may allow")

    def _pause(self, deadline: float, what: str) -> None:
        if time.monotonic() > deadline:
            raise AvailabilityError(f"{what} after {START_TIMEOUT_S} s")
        time.sleep(0.02)

    # Commands.

    def build(self, command_type: Callable[..., Command], **fields: Any) -> bytes:
        """The signed envelope of a command."""
        command = command_type(
            cluster=self.cluster_id,
            command_id=f"{self._run}-{next(self._numbers)}",
            not_after=time.time_ns() // 1_000_000 + VALID_MS,
            **fields,
        )
        kind_text, payload = payload_type(command), encode_command(command)
        keys = self._keys[required_role(command).value]
        return seal(
            kind_text,
            payload,
            [(key.public_key().public_bytes_raw(), key.sign(pae(kind_text, payload))) for key in keys],
        )

    def submit(self, envelope: bytes, node_id: str | None = None, *, retry: bool = False) -> Receipt:
        """Submit and wait until effective."""
        return self.clients[node_id or self.node_ids[0]].submit(envelope, retry=retry)

    def _load_keys(self) -> dict[str, list[Ed25519PrivateKey]]:
        index = json.loads((self._directory / "cluster.json").read_text())
        found: dict[str, list[Ed25519PrivateKey]] = {}
        for entry in index["keys"]:
            path = self._directory / entry["uri"].removeprefix("file2:")
            key = load_pem_private_key(path.read_bytes(), None)
            if not isinstance(key, Ed25519PrivateKey):
                raise AvailabilityError(f"`{path}` is no Ed25519 key")
            for role in entry["roles"]:
                found.setdefault(role, []).append(key)
        return found
