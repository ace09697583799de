"""What the host does to a node besides running it: logs that nobody reads, closed descriptors, signals, systemd."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from integration.cluster_harness import Cluster, Node, eventually

from govraft.errors import AvailabilityError
from govraft.testing.local_cluster_commands import open_schema

pytestmark = pytest.mark.cluster


def shell(line: str) -> list[str]:
    """A wrapper that runs a node with what `line` says about its descriptors and limits."""
    return ["/bin/sh", "-c", line.format(node='exec "$0" "$@"')]


@contextlib.contextmanager
def one_node(prepare: Callable[[Node], None]) -> Iterator[tuple[Cluster, Node]]:
    """A cluster of one, started as `prepare` has it."""
    with Cluster(1) as cluster:
        node = cluster.nodes["node-1"]
        prepare(node)
        cluster.start()
        yield cluster, node


def wrapped(line: str) -> Callable[[Node], None]:
    def prepare(node: Node) -> None:
        node.wrapper = shell(line)

    return prepare


class LogReader:
    """The reading end of a named pipe that a node writes its log to."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def read(self) -> bytes:
        """What has come; empty if nothing has."""
        try:
            return os.read(self._descriptor, 65_536)
        except BlockingIOError:
            return b""

    def end(self) -> None:
        """As a log shipper that is restarted."""
        os.close(self._descriptor)


@pytest.mark.parametrize("line", ["{node} >&-", "{node} >/dev/full 2>/dev/full", "{node} <&- >&- 2>&-"])
def test_a_node_whose_log_cannot_be_written_serves_and_counts(line: str) -> None:
    with one_node(wrapped(line)) as (cluster, node):
        cluster.activate_policy(node)
        assert node.check("a")
        assert node.status()["log_lost"] >= 1
        assert node.stop() == 0


def test_nodes_whose_log_readers_have_ended_bear_the_restart_of_a_third(tmp_path: Path) -> None:
    readers = [LogReader(tmp_path / f"log-{number}") for number in (1, 2)]
    with Cluster(3) as cluster:
        first, second, third = cluster.nodes.values()
        for node, reader in zip((first, second), readers, strict=True):
            node.wrapper = shell(f"{{node}} >{reader.path} 2>&1")
        cluster.start()
        cluster.activate_policy(first)
        for node, reader in zip((first, second), readers, strict=True):
            assert b"node started" in reader.read()
            assert node.status()["log_lost"] == 0
            reader.end()
        assert third.stop() == 0
        third.start()
        cluster.wait_allow()
        for node in (first, second):
            # That the third went and came is what they could not say.
            assert node.lives == 1
            assert node.is_running
            assert node.check("a")
            assert node.status()["log_lost"] >= 1
        cluster.settled()


def test_a_log_reader_that_is_stuck_holds_no_node_up(tmp_path: Path) -> None:
    reader = LogReader(tmp_path / "log")
    filler = os.open(reader.path, os.O_WRONLY | os.O_NONBLOCK)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(filler, b"x" * 512)
    with one_node(wrapped(f"{{node}} >{reader.path} 2>&1")) as (cluster, node):
        cluster.activate_policy(node)
        assert node.check("a")
        for _ in range(50):
            node.process.signal(signal.SIGHUP)
            assert node.check("a")
        assert node.stop() == 0
    os.close(filler)
    reader.end()


def test_no_file_of_a_node_is_a_standard_stream() -> None:
    with one_node(wrapped("{node} <&- >&- 2>&-")) as (_, node):
        directory = Path(f"/proc/{node.process.pid}/fd")
        found = {int(entry.name): os.readlink(entry) for entry in directory.iterdir()}
        assert [found[number] for number in range(3)] == ["/dev/null"] * 3
        files = {Path(path).name for number, path in found.items() if number > 2}
        assert {"node.db", "node.db.guard", "decisions.db"} <= files


def test_a_hangup_ends_no_node() -> None:
    """Not even one that begins: from the moment it has read its command line."""

    def minds(node: Node) -> bool:
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{node.process.pid}/status").read_text().splitlines())
        return bool((int(fields["SigIgn"], 16) | int(fields["SigCgt"], 16)) >> (signal.SIGHUP - 1) & 1)

    with Cluster(1) as cluster:
        node = cluster.nodes["node-1"]
        child = node.start()
        eventually(lambda: minds(node), "the node to mind the signal")

        def serves() -> bool:
            child.signal(signal.SIGHUP)
            assert child.is_running, node.log()
            return node.may_allow()

        eventually(serves, node.log)
        child.signal(signal.SIGHUP)
        eventually(lambda: "nothing to reload" in node.log(), node.log)
        assert node.lives == 1
        child.signal(signal.SIGTERM)
        for _ in range(100):
            child.signal(signal.SIGHUP)
        assert child.wait() == 0


def test_systemd_hears_that_the_loop_turns(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(os.fspath(tmp_path / "notify"))
        systemd.settimeout(20)

        def prepare(node: Node) -> None:
            node.environment = {"NOTIFY_SOCKET": systemd.getsockname(), "WATCHDOG_USEC": "200000"}

        with one_node(prepare) as (_, node):
            assert systemd.recv(1000) == b"READY=1"
            assert {systemd.recv(1000) for _ in range(5)} == {b"WATCHDOG=1"}
            node.pause()
            systemd.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    systemd.recv(1000)
            systemd.settimeout(1)
            with pytest.raises(TimeoutError):
                systemd.recv(1000)
            node.resume()
            systemd.settimeout(20)
            assert systemd.recv(1000) == b"WATCHDOG=1"
            assert node.stop() == 0
            said = {b""}
            while b"STOPPING=1" not in said:
                said.add(systemd.recv(1000))


def test_policies_are_examined_below_a_small_limit_of_address_space() -> None:
    with one_node(wrapped("ulimit -v 1000000; {node}")) as (cluster, node):
        cluster.activate_policy(node)
        assert node.check("a")
        assert node.status()["policy_parser"] == "ok"


BROKEN_PARSER = (
    "import sys\n"
    "from govraft.adapters import cedar_parser\n"
    "cedar_parser._child_command = lambda: ['/does/not/exist']\n"
    "from govraft.cli.node import main\n"
    "main(['run', '--config', sys.argv[1]])\n"
)


def test_a_node_whose_parser_cannot_start_says_so_and_blames_no_policy() -> None:
    def prepare(node: Node) -> None:
        node.program = ["-c", BROKEN_PARSER]

    with one_node(prepare) as (cluster, node):
        eventually(lambda: "cannot be submitted here" in node.log(), node.log)
        assert "cannot start: No such file" in node.status()["policy_parser"]
        schema, policy = open_schema("Agent", "use", "Tool")
        with pytest.raises(AvailabilityError, match="cannot start") as caught:
            node.client.submit(cluster.commands.publish(schema, [policy], None))
        assert (caught.value.code, caught.value.definite) == ("policy_parser_unavailable", True)
        # Whatever needs no parser goes on.
        assert node.client.submit(cluster.quarantine("a")).outcome == "applied"
        assert node.check("a").reason == "quarantined"
        assert node.stop() == 0
