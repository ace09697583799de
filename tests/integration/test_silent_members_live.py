"""Changes of members in a cluster of real processes, one of which is gone with its data."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from integration.cluster_harness import Cluster, Node, eventually

from govraft.cli.free_ports import find_free_ports
from govraft.cli.main import run
from govraft.cli.member_creation import read_member
from govraft.cli.node import main as node_program
from govraft.errors import AvailabilityError

pytestmark = pytest.mark.cluster


class Operator:
    """The command line, for the cluster's directory."""

    def __init__(self, cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
        self.cluster, self._capsys = cluster, capsys

    def tries(self, *arguments: object, timeout: int = 20) -> tuple[int, str]:
        """Exit code, and what was printed to whom."""
        self._capsys.readouterr()
        place = ("--cluster", str(self.cluster.home), "-o", "json", "--timeout", str(timeout))
        code = run([*map(str, arguments), *place])
        printed = self._capsys.readouterr()
        return code, printed.out if code == 0 else printed.err

    def does(self, *arguments: object) -> Any:
        code, said = self.tries(*arguments)
        assert code == 0, said
        return json.loads(said) if said.strip() else None

    def new_key(self, node: str, home: Path) -> Path:
        address = next(item["address"] for item in self.does("member", "list") if item["id"] == node)
        genesis = self.cluster.home / "genesis.json"
        self.does("member", "init", "--id", node, "--listen", address, "--out", home, "--genesis", genesis)
        return home

    def voters(self) -> set[str]:
        return {item["id"] for item in self.does("member", "list") if item["voter"]}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(3) as made:
        made.start()
        made.permit_all()
        yield made


@pytest.fixture
def operator(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> Operator:
    return Operator(cluster, capsys)


def take_new_key(node: Node, home: Path) -> None:
    """What its operator changes: the two paths, and the two of before under another name; nothing of its store."""
    text = node.config.read_text()
    for kind, name in (("key", f"{node.id}.key.pem"), ("certificate", f"{node.id}.cert.pem")):
        line = f'{kind} = "{name}"'
        assert text.count(line) == 1
        text = text.replace(line, f'{kind} = "{home / name}"\nformer_{line}')
    node.config.write_text(text)


def lose(node: Node) -> None:
    """Its machine is gone, with all that was on it."""
    node.kill()
    shutil.rmtree(node.database.parent)


def replace(operator: Operator, old: str) -> Node:
    """Put a new node, `node-4`, in the place of one that is gone."""
    cluster = operator.cluster
    (port,) = find_free_ports(1)
    operator.does("member", "init", "--id", "node-4", "--listen", f"127.0.0.1:{port}")
    home = cluster.home / "nodes" / "node-4"
    operator.does("member", "add", home)
    export = home / "lineage.jsonl"
    operator.does("lineage", "export", export)
    made = CliRunner().invoke(
        node_program, ["create-store", "--config", str(home / "node.toml"), "--from", str(export)]
    )
    assert made.exit_code == 0, made.output
    cluster.nodes["node-4"] = node = Node(cluster.home, "node-4")
    node.start()
    operator.does("member", "promote", "node-4")
    return node


def test_only_what_the_living_can_certify_is_begun(cluster: Cluster, operator: Operator, tmp_path: Path) -> None:
    first, second, third = cluster.nodes.values()
    assert isinstance(third, Node)
    home = operator.new_key(second.id, tmp_path / "second")
    lose(third)
    # Three heartbeats of silence are what is tested; no event says that they have passed.
    time.sleep(1.0)
    cluster.wait_until_serving(first.id, second.id)
    for change in (("rotate", home), ("remove", second.id, "--reason", "test")):
        code, said = operator.tries("member", *change)
        assert (code, "voters_silent" in said, f"`{third.id}`" in said) == (3, True, True), said
        assert json.loads(said)["definite"] is True
    # Nothing was begun: those who are left go on, and put another node in the place of the one that is gone.
    receipt = cluster.submit(cluster.quarantine("bad"), node=first.id)
    operator.does("member", "remove", third.id, "--reason", "lost")
    replace(operator, third.id)
    assert operator.voters() == {first.id, second.id, "node-4"}
    cluster.wait_until_serving(first.id, second.id, "node-4")
    assert not cluster.nodes["node-4"].check("bad", at_least=receipt.certified_seq)
    operator.does("member", "rotate", home)


def slip(cluster: Cluster, operator: Operator, second: Node, third: Node, home: Path) -> None:
    """The third node dies in the moment in which the second one's rotation is proposed."""
    for _ in range(20):
        envelope = cluster.commands.rotate_member(read_member(home), home)
        leader = cluster.leader()
        third.kill()
        try:
            leader.client.submit(envelope, timeout=1.0)
        except AvailabilityError as error:
            if not error.definite:
                return
        else:
            pytest.fail("it was certified without the third node")
        third.start()
        cluster.wait_until_serving()
    pytest.fail("it was never quick enough")


def waits_for_a_certificate(*nodes: Node) -> bool:
    return all(not node.may_allow() and node.status()["seq"] > node.status()["certified_seq"] for node in nodes)


@pytest.mark.parametrize("told", [False, True], ids=["its store knows", "it is told"])
def test_a_change_that_slipped_through_is_certified_with_the_new_key(
    cluster: Cluster, operator: Operator, tmp_path: Path, told: bool
) -> None:
    leader = cluster.leader()
    second, third = (node for node in cluster.nodes.values() if node is not leader)
    assert isinstance(second, Node) and isinstance(third, Node)
    home = operator.new_key(second.id, tmp_path / "second")
    slip(cluster, operator, second, third, home)
    shutil.rmtree(third.database.parent)
    eventually(lambda: waits_for_a_certificate(leader, second), cluster.describe)
    # The one that stays is started anew: nobody leads until the node with the new key takes part.
    second.stop()
    leader.stop()
    leader.start()
    if told:
        export = tmp_path / "applied.jsonl"
        eventually(lambda: leader.status()["seq"] > 2, cluster.describe)
        operator.does("lineage", "export", export, "--applied")
        code, said = operator.tries("verify", export, "--genesis", cluster.home / "genesis.json")
        assert (code != 0, "learn-epochs" in said) == (True, True), said
    take_new_key(second, home)
    if told:
        command = ["learn-epochs", "--config", str(second.config), "--from", str(export)]
        learnt = CliRunner().invoke(node_program, command)
        assert (learnt.exit_code, ": 1 changes" in learnt.output) == (0, True), learnt.output
    second.start()
    cluster.wait_until_serving(leader.id, second.id)
    assert second.check("other")
    operator.does("member", "remove", third.id, "--reason", "lost")
    replace(operator, third.id)
    cluster.wait_until_serving(leader.id, second.id, "node-4")
