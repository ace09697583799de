"""Nodes that join and leave a cluster of real processes, while clients go on checking and commanding."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from integration.cluster_harness import Cluster, Node, eventually

from govraft.cli.free_ports import find_free_ports
from govraft.cli.main import run
from govraft.cli.node import main as node_program
from govraft.client.client import Client
from govraft.core.codec.envelope import decode_envelope
from govraft.core.lineage.leaf import Leaf
from govraft.core.machine.entry import decode_entry
from govraft.errors import AvailabilityError

pytestmark = pytest.mark.cluster

Cli = Callable[..., Any]


class Traffic:
    """One client that checks at every node, and one that quarantines an agent after another, until they are stopped."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._stop = threading.Event()
        self.taken: dict[str, int] = {}
        """Seqs of the commands that were answered as effective, by command id."""
        self.allowed: list[tuple[float, str]] = []
        """When and where a check was allowed."""
        self.failures: list[BaseException] = []
        self._threads = [threading.Thread(target=self._guard, args=(work,)) for work in (self._check, self._command)]

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - told to the test
            self.failures.append(error)

    def _check(self) -> None:
        clients = {name: Client(node.endpoint, timeout=2.0) for name, node in self._cluster.nodes.items()}
        while not self._stop.is_set():
            for name, client in clients.items():
                asked = time.monotonic()
                if client.check('Agent::"busy"', 'Action::"use"', 'Tool::"hammer"'):
                    self.allowed.append((asked, name))
            self._stop.wait(0.005)
        for client in clients.values():
            client.close()

    def _command(self) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            envelope = self._cluster.commands.quarantine(f'Agent::"bad-{number}"')
            receipt = self._cluster.submit(envelope)
            self.taken[receipt.command_id] = receipt.seq
            self._stop.wait(0.01)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(3) as made:
        made.start()
        made.permit_all()
        yield made


@pytest.fixture
def cli(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> Cli:
    """The command line, for the cluster's directory, as its operator has it."""

    def invoke(*arguments: object) -> Any:
        capsys.readouterr()
        code = run([*map(str, arguments), "--cluster", str(cluster.home), "-o", "json", "--timeout", "20"])
        printed = capsys.readouterr()
        assert code == 0, printed.err
        return json.loads(printed.out) if printed.out.strip() else None

    return invoke


def join(cluster: Cluster, cli: Cli, name: str) -> Node:
    """All that an operator does for a new voter."""
    (port,) = find_free_ports(1)
    cli("member", "init", "--id", name, "--listen", f"127.0.0.1:{port}")
    home = cluster.home / "nodes" / name
    cli("member", "add", home)
    export = home / "lineage.jsonl"
    cli("lineage", "export", export)
    made = CliRunner().invoke(
        node_program, ["create-store", "--config", str(home / "node.toml"), "--from", str(export)]
    )
    assert made.exit_code == 0, made.output
    node = Node(cluster.home, name)
    cluster.nodes[name] = node
    node.start()
    cli("member", "promote", name)
    return node


def kinds(cli: Cli) -> dict[str, bool]:
    return {item["id"]: item["voter"] for item in cli("member", "list")}


def command_seqs(node: Node) -> list[tuple[str, int]]:
    """Ids and seqs of the commands in a node's lineage that did something.

    One whose leader is gone is proposed again by the next, and stands there a second time: refused as a duplicate.
    """
    found = []
    for seq, (leaf, entry) in enumerate(node.lineage(), 1):
        if entry is not None and Leaf.decode(leaf).outcome != "duplicate_command":
            found.append((json.loads(decode_envelope(decode_entry(entry).envelope).payload)["command_id"], seq))
    return found


@pytest.mark.clause("5 topology scaling")
def test_two_nodes_join_and_two_leave_under_traffic(cluster: Cluster, cli: Cli) -> None:
    with Traffic(cluster) as traffic:
        for name in ("node-4", "node-5"):
            join(cluster, cli, name)
            cluster.wait_until_serving(name)
        assert kinds(cli) == dict.fromkeys(("node-1", "node-2", "node-3", "node-4", "node-5"), True)
        leaving = [cluster.leader().id, "node-1"]
        leaving[1] = "node-1" if leaving[0] != "node-1" else "node-2"
        ended = {}
        for name in leaving:
            cli("member", "remove", name, "--reason", "too old")
            ended[name] = time.monotonic()
        count = len(traffic.taken)
        eventually(lambda: len(traffic.taken) > count + 5 or traffic.failures, cluster.describe)
    assert traffic.failures == []
    staying = [node for name, node in cluster.nodes.items() if name not in leaving]
    cluster.wait_until_serving(*(node.id for node in staying))

    # No command that was said to be effective is lost, and none was done twice.
    longest = max(node.status()["seq"] for node in staying)
    for node in staying:
        eventually(lambda: node.status()["seq"] >= longest, cluster.describe)  # noqa: B023 - called at once
        found = command_seqs(node)
        seqs = dict(found)
        assert len(seqs) == len(found)
        assert {name: seqs[name] for name in traffic.taken} == traffic.taken
        assert node.status()["voters"] == 3

    # Whoever was removed denies, from the moment on that its removal was effective, and says why.
    for name in leaving:
        assert not [at for at, where in traffic.allowed if where == name and at > ended[name]]
        verdict = cluster.nodes[name].check("busy")
        assert not verdict
        standing = cluster.nodes[name].status()
        assert (standing["standing"], "no member" in standing["message"]) == ("revoked", True), standing

    # It stays so after a restart, and the others do not listen to it.
    cluster.nodes[leaving[0]].stop()
    cluster.nodes[leaving[0]].start()
    eventually(lambda: cluster.nodes[leaving[0]].status()["standing"] == "revoked", cluster.describe)
    assert leaving[0] not in staying[0].status()["links"]


@pytest.mark.clause("5 migration")
@pytest.mark.clause("8 topology-independent validation")
def test_the_export_of_a_changed_cluster_proves_itself_and_lets_others_join(cluster: Cluster, cli: Cli) -> None:
    """The founders go one after the other: who joins last knows none of the genesis but by the export."""
    for number in (4, 5, 6):
        join(cluster, cli, f"node-{number}")
        old = f"node-{number - 3}"
        cli("member", "remove", old, "--reason", "replaced")
        cluster.nodes[old].stop()
        eventually(lambda: cluster.nodes[f"node-{number}"].may_allow(), cluster.describe)  # noqa: B023 - at once
    assert kinds(cli) == dict.fromkeys(("node-4", "node-5", "node-6"), True)
    cluster.submit(cluster.quarantine("late"))
    last = join(cluster, cli, "node-7")
    cluster.wait_until_serving("node-4", "node-5", "node-6", "node-7")
    assert not last.check("late")
    assert last.check("other")
    export = cluster.home / "all.jsonl"
    cli("lineage", "export", export)
    assert cli("verify", export, "--genesis", cluster.home / "genesis.json")


@pytest.mark.clause("5 migration")
def test_replace_does_it_all_and_may_be_repeated(cluster: Cluster, cli: Cli) -> None:
    (port,) = find_free_ports(1)
    cli("member", "init", "--id", "node-4", "--listen", f"127.0.0.1:{port}")
    home = cluster.home / "nodes" / "node-4"
    done: list[Any] = []
    replacing = threading.Thread(target=lambda: done.append(_run(cluster, "member", "replace", "node-2", home)))
    replacing.start()
    eventually(lambda: {"node-4"} <= set(kinds_of(cluster)), cluster.describe)
    # It waits for the node; only now that is made and started.
    export = home / "lineage.jsonl"
    eventually(lambda: _run(cluster, "lineage", "export", export) == 0 and b'"epoch"' in export.read_bytes(), "export")
    made = CliRunner().invoke(
        node_program, ["create-store", "--config", str(home / "node.toml"), "--from", str(export)]
    )
    assert made.exit_code == 0, made.output
    cluster.nodes["node-4"] = Node(cluster.home, "node-4")
    cluster.nodes["node-4"].start()
    replacing.join(60)
    assert done == [0]
    assert kinds(cli) == {"node-1": True, "node-3": True, "node-4": True}
    cluster.wait_until_serving("node-1", "node-3", "node-4")
    assert _run(cluster, "member", "replace", "node-2", home) == 0


def _run(cluster: Cluster, *arguments: object) -> int:
    return run([*map(str, arguments), "--cluster", str(cluster.home), "-o", "json"])


def kinds_of(cluster: Cluster) -> list[str]:
    return [item["id"] for item in cluster.nodes["node-1"].client.read("members")]


def test_a_node_that_was_away_while_everybody_else_changed_learns_who_they_are(cluster: Cluster, cli: Cli) -> None:
    """It is still a member, but knows of nobody else whom it could reach."""
    away = cluster.nodes["node-3"]
    away.stop()
    join(cluster, cli, "node-4")
    join(cluster, cli, "node-5")
    for old in ("node-1", "node-2"):
        cli("member", "remove", old, "--reason", "replaced")
        cluster.nodes[old].stop()
    export = cluster.home / "all.jsonl"
    cluster.wait_until_serving("node-4", "node-5")
    cli("lineage", "export", export)
    command = ["learn-epochs", "--config", str(away.config), "--from", str(export)]
    learnt = CliRunner().invoke(node_program, command)
    assert learnt.exit_code == 0, learnt.output
    assert ": 6 changes" in learnt.output
    away.start()
    cluster.wait_until_serving("node-3", "node-4", "node-5")
    running = CliRunner().invoke(node_program, command)
    assert (running.exit_code, "in use" in running.output) == (3, True), running.output


def test_add_and_remove_by_the_cluster_itself(tmp_path_factory: pytest.TempPathFactory) -> None:
    with Cluster(1) as lone:
        lone.start()
        lone.permit_all()
        watcher = lone.add_node("node-2", voter=False)
        assert watcher.check("a")
        assert watcher.status()["observer"]
        lone.add_node("node-3")
        assert lone.nodes["node-3"].status()["voters"] == 2
        lone.remove_node("node-1")
        with pytest.raises(AvailabilityError, match="no member") as caught:
            lone.nodes["node-1"].client.submit(lone.commands.quarantine('Agent::"x"'), timeout=5.0)
        assert caught.value.code == "not_a_member"
        lone.wait_until_serving("node-2", "node-3")
        assert lone.nodes["node-3"].status()["voters"] == 1
        lone.submit(lone.quarantine("y"))


def test_files_of_a_member_lie_where_operators_look(cluster: Cluster, cli: Cli, tmp_path: Path) -> None:
    made = cli("member", "init", "--id", "far-1", "--listen", "127.0.0.1:7777", "--out", tmp_path / "n")
    assert made["directory"] == str(tmp_path / "n")
    assert {item.name for item in (tmp_path / "n").iterdir()} == {
        "far-1.key.pem",
        "far-1.cert.pem",
        "genesis.json",
        "member.json",
        "node.toml",
    }
