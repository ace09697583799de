"""A cluster of real node processes for tests: made, started, hurt and ended by them.

Every process is a direct child and dies with this one (`PR_SET_PDEATHSIG`), so that not even a killed test run leaves
a node behind. For that to work, start processes from the main thread only.
"""

from __future__ import annotations

import itertools
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from govraft import Client
from govraft.cli.cluster_creation import create_cluster
from govraft.cli.cluster_plan import plan_cluster
from govraft.core.codec.canonical import unpack
from govraft.core.codec.envelope import decode_envelope, pae, seal
from govraft.core.convergence.certificate import verify_certificate
from govraft.core.crypto.keys import verify
from govraft.core.lineage.leaf import Leaf
from govraft.core.machine.machine import Machine
from govraft.core.model.commands import (
    Command,
    PolicyActivate,
    PolicyPublish,
    Quarantine,
    Revoke,
    TargetKind,
    encode_command,
    payload_type,
)
from govraft.core.model.electorate import QuorumRule
from govraft.core.model.genesis import Genesis
from govraft.errors import GovraftError
from govraft.node.config import load_config
from govraft.testing.link_control import LinkControl, link_name

PATIENCE_S = 20.0
"""For everything that must happen, but need not happen at once."""

ACTION, TOOL = 'Action::"use"', 'Tool::"hammer"'
SCHEMA = "entity Agent; entity Tool; action use appliesTo { principal: [Agent], resource: [Tool] };"
POLICY = 'permit (principal, action == Action::"use", resource);'

# Runs before the program proper: asks the kernel to kill it when its parent dies, and makes sure that it has not yet.
_LEASH = (
    "import ctypes, os, sys\n"
    "ctypes.CDLL(None).prctl(1, 9)\n"
    "os.getppid() == int(sys.argv[1]) or sys.exit('the parent is gone')\n"
    "os.execv(sys.argv[2], sys.argv[2:])\n"
)

T = TypeVar("T")


def eventually(attempt: Callable[[], T | None], what: str | Callable[[], str], timeout_s: float = PATIENCE_S) -> T:
    """The first true value of `attempt`, which is repeated until then; its own errors count as not yet."""
    deadline = time.monotonic() + timeout_s
    while True:
        error: Exception | None = None
        try:
            found = attempt()
        except (GovraftError, OSError) as failed:
            found, error = None, failed
        if found:
            return found
        if time.monotonic() > deadline:
            said = what if isinstance(what, str) else what()
            raise AssertionError(f"not within {timeout_s:g} s: {said}{f' ({error})' if error else ''}")
        time.sleep(0.01)


class Child:
    """A process of this test run."""

    def __init__(self, command: list[str], log: Path) -> None:
        self._log = log
        leashed = [sys.executable, "-I", "-S", "-c", _LEASH, str(os.getpid()), *command]
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                leashed, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        self.pid = self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """Its exit code; negative for the signal that ended it."""
        return self._process.wait(timeout_s)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(PATIENCE_S)

    def pause(self) -> None:
        """Stop it in its tracks; returns once it has stopped."""
        self.signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def log(self, last: int = 4000) -> str:
        return self._log.read_text(errors="replace")[-last:]


class Node:
    """One node, running or not. `program` is what runs it; the stock one unless a test says otherwise."""

    def __init__(self, home: Path, node_id: str) -> None:
        self.id = node_id
        self.home = home / "nodes" / node_id
        self.config = self.home / "node.toml"
        self.database = self.home / "data" / "node.db"
        self.socket = home / "run" / f"{node_id}.sock"
        self.endpoint = f"unix://{self.socket}"
        self.program = ["-m", "govraft.cli.node", "run", "--config"]
        self.client = Client(self.endpoint, timeout=3.0)
        self.child: Child | None = None
        self._log = home / "log" / f"{node_id}.log"

    @property
    def process(self) -> Child:
        assert self.child is not None
        return self.child

    @property
    def is_running(self) -> bool:
        return self.child is not None and self.child.is_running

    def start(self) -> Child:
        assert not self.is_running, f"{self.id} runs already"
        self.child = Child([sys.executable, "-P", *self.program, str(self.config)], self._log)
        return self.child

    def run_to_end(self) -> tuple[int, str]:
        """Start it where it must not stay up: its exit code, and what it said."""
        self._log.unlink(missing_ok=True)
        self.start()
        try:
            return self.process.wait(), self.log()
        finally:
            self.kill()

    def kill(self) -> None:
        if self.child is not None:
            self.child.kill()

    def stop(self) -> int:
        self.process.signal(signal.SIGTERM)
        return self.process.wait()

    def log(self) -> str:
        return self._log.read_text(errors="replace")[-4000:] if self._log.exists() else ""

    def status(self) -> dict[str, Any]:
        return self.client.status()

    def check(self, agent: str, **options: Any) -> Any:
        return self.client.check(f'Agent::"{agent}"', ACTION, TOOL, **options)

    def may_allow(self) -> bool:
        return bool(self.status()["standing"] == "allow")

    def lineage(self) -> list[tuple[bytes, bytes | None]]:
        """All leaves with their entries."""
        found: list[tuple[bytes, bytes | None]] = []
        while True:
            page = self.client.read("lineage", **{"from": len(found) + 1})
            if not page["leaves"]:
                return found
            found.extend(zip(page["leaves"], page["entries"], strict=True))


class Cluster:
    """Nodes, the keys of their authorities and, if `proxied`, the links between them. Use as a context manager.

    Args:
        nodes: How many voters, called `node-1` and so on.
        proxied: Carry all traffic between nodes through a link proxy, so that `links` can cut it.
        timing: More lines for the `[timing]` table of single nodes, by node id.
        programs: What runs single nodes, in place of the stock program; the configuration's path is appended.
    """

    def __init__(
        self,
        nodes: int = 3,
        *,
        proxied: bool = False,
        timing: Mapping[str, str] | None = None,
        programs: Mapping[str, list[str]] | None = None,
    ) -> None:
        self._temporary = Path(tempfile.mkdtemp(prefix="govraft-"))
        self.home = self._temporary / "c"
        try:
            plan = plan_cluster(name="test", nodes=nodes, quorum=QuorumRule.MAJORITY, profile="lan")
            create_cluster(plan, self.home)
            self.genesis = Genesis.decode((self.home / "genesis.json").read_bytes())
            self.lease_s = self.genesis.lease_ms / 1000
            self.nodes = {member.id: Node(self.home, member.id) for member in self.genesis.members}
            self.keys = {path.stem: _private_key(path) for path in sorted((self.home / "keys").glob("*.pem"))}
            self._numbers = itertools.count(1)
            self._links: Child | None = None
            self._proxied = proxied
            for node_id, lines in (timing or {}).items():
                with self.nodes[node_id].config.open("a") as config:
                    config.write(lines + "\n")
            for node_id, program in (programs or {}).items():
                self.nodes[node_id].program = program
        except BaseException:
            shutil.rmtree(self._temporary)
            raise

    def __enter__(self) -> Cluster:
        try:
            if self._proxied:
                self._start_links()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes.values():
            node.kill()
            node.client.close()
        if self._links is not None:
            self._links.kill()
        shutil.rmtree(self._temporary)

    # Running.

    def start(self, *node_ids: str) -> None:
        """Start these nodes, or all that do not run, and wait until they may allow."""
        for node in self._select(node_ids):
            if not node.is_running:
                node.start()
        self.wait_allow(*node_ids)

    def wait_allow(self, *node_ids: str, timeout_s: float = PATIENCE_S) -> None:
        wanted = self._select(node_ids)

        def all_may() -> bool:
            assert all(node.is_running for node in wanted), self.describe()
            return all(node.may_allow() for node in wanted)

        eventually(all_may, self.describe, timeout_s)

    def leader(self) -> Node:
        """The leader on which all running nodes agree, once they do."""

        def agreed() -> Node | None:
            running = [node for node in self.nodes.values() if node.is_running]
            hints = {node.status()["leader_hint"] for node in running}
            return self.nodes[hints.pop()] if len(hints) == 1 and None not in hints else None

        return eventually(agreed, self.describe)

    def others(self, *but: Node) -> list[Node]:
        return [node for node in self.nodes.values() if node not in but]

    @property
    def links(self) -> LinkControl:
        return LinkControl(self.home / "run" / "links.sock")

    def _select(self, node_ids: Iterable[str]) -> list[Node]:
        return [self.nodes[node_id] for node_id in node_ids] or list(self.nodes.values())

    def _start_links(self) -> None:
        listening = {node.id: load_config(node.config).peer_listen for node in self.nodes.values()}
        pairs = list(itertools.permutations(listening, 2))
        plan = self.home / "run" / "links.json"
        plan.write_text(json.dumps({link_name(a, b): "{}:{}".format(*listening[b]) for a, b in pairs}))
        control = self.home / "run" / "links.sock"
        command = [sys.executable, "-P", "-m", "govraft.testing.link_proxy", str(plan), str(control)]
        self._links = Child(command, self.home / "log" / "links.log")
        eventually(control.exists, self._links.log)
        states = self.links.states()
        for node in self.nodes.values():
            dialled = (f'"{b}" = "127.0.0.1:{states[link_name(a, b)].port}"\n' for a, b in pairs if a == node.id)
            with node.config.open("a") as config:
                config.write("\n[peers]\n" + "".join(dialled))

    def describe(self) -> str:
        """How all nodes are, for a failing test."""
        lines = []
        for node in self.nodes.values():
            try:
                status = node.status()
                fields = ("standing", "message", "leader_hint", "term", "seq", "certified_seq", "links", "isolation")
                lines.append(f"{node.id}: " + ", ".join(f"{name}={status[name]!r}" for name in fields))
            except GovraftError as error:
                lines.append(f"{node.id}: running={node.is_running} {error}; said:\n{node.log()[-1500:]}")
        return "\n".join(lines)

    # Commanding.

    def header(self, **fields: Any) -> dict[str, Any]:
        """Header fields of a command of this cluster, with an id of its own."""
        name, not_after = f"{secrets.token_hex(4)}-{next(self._numbers)}", int(time.time() * 1000) + 600_000
        return {"cluster": self.genesis.cluster_id, "command_id": name, "not_after": not_after} | fields

    def seal(self, command: Command, *authors: str) -> bytes:
        """The envelope of a command, signed by authorities of these ids."""
        kind, payload = payload_type(command), encode_command(command)
        message = pae(kind, payload)
        keys = [self.keys[author] for author in authors]
        return seal(kind, payload, [(key.public_key().public_bytes_raw(), key.sign(message)) for key in keys])

    def quarantine(self, agent: str, **fields: Any) -> bytes:
        """A signed envelope that quarantines an agent."""
        command = Quarantine(
            kind=TargetKind.SUBJECT, id=f'Agent::"{agent}"', **({"reason": "test"} | self.header(**fields))
        )
        return self.seal(command, "operator-1")

    def revoke(self, agent: str, **fields: Any) -> bytes:
        """A signed envelope that revokes an agent."""
        command = Revoke(
            kind=TargetKind.SUBJECT, id=f'Agent::"{agent}"', **({"reason": "test"} | self.header(**fields))
        )
        return self.seal(command, "operator-1")

    def activate_policy(self, node: Node) -> None:
        """Let every agent use every tool."""
        publish = PolicyPublish(version=1, expected="", schema=SCHEMA, policies=(POLICY,), removed=(), **self.header())
        node.client.submit(self.seal(publish, "policy-1", "policy-2"))
        digest = node.client.read("policies")["versions"][0]["digest"]
        activate = PolicyActivate(version=1, digest=digest, **self.header())
        node.client.submit(self.seal(activate, "policy-1", "policy-2"))

    # Judging.

    def settled(self, *node_ids: str) -> dict[str, Any]:
        """The status of one of these nodes, once all hold the same certified state and nothing is under way."""

        def same() -> dict[str, Any] | None:
            found = [node.status() for node in self._select(node_ids)]
            facts = {(item["seq"], item["certified_seq"], item["root"], item["state_root"]) for item in found}
            return found[0] if len(facts) == 1 and found[0]["seq"] == found[0]["certified_seq"] else None

        return eventually(same, self.describe)

    def verified_lineage(self, *node_ids: str) -> list[Applied]:
        """What the nodes hold, after checking all of it from the genesis alone.

        The lineages are equal byte for byte, a fresh machine comes to the same leaves, and a quorum has certified the
        root.
        """
        self.settled(*node_ids)
        nodes = self._select(node_ids)
        lineage = nodes[0].lineage()
        for node in nodes[1:]:
            assert node.lineage() == lineage, f"{node.id} and {nodes[0].id} hold different lineages"
        machine = Machine(self.genesis)
        assert lineage[0] == (machine.genesis_leaf, None)
        for leaf, entry in lineage[1:]:
            assert entry is not None and machine.apply(entry).leaf == leaf
        for node in nodes:
            note = node.client.read("certificate")["note"]
            origin = self.genesis.origin
            checkpoint = verify_certificate(note, self.genesis.electorate(), origin, is_valid=verify)
            assert (checkpoint.seq, checkpoint.root) == (len(lineage), machine.root)
        return [Applied(Leaf.decode(leaf), entry) for leaf, entry in lineage[1:] if entry is not None]


class Applied:
    """One entry of a lineage."""

    def __init__(self, leaf: Leaf, entry: bytes) -> None:
        self.seq, self.outcome, self.entry = leaf.seq, leaf.outcome, entry

    @property
    def envelope(self) -> bytes:
        return bytes(unpack(self.entry, max_bytes=len(self.entry))["envelope"])

    @property
    def command_id(self) -> str:
        return str(json.loads(decode_envelope(self.envelope).payload)["command_id"])


def _private_key(path: Path) -> Ed25519PrivateKey:
    key = load_pem_private_key(path.read_bytes(), None)
    assert isinstance(key, Ed25519PrivateKey)
    return key
