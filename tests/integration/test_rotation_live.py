"""A node of a cluster of real processes gets another key: the old process is nobody, the new one takes over its store."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from integration.cluster_harness import Cluster, Node, eventually

from govraft.adapters.sqlite_store import read_epochs
from govraft.cli.main import run
from govraft.cli.node import main as node_program

pytestmark = pytest.mark.cluster

Cli = Callable[..., Any]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(3) as made:
        made.start()
        made.permit_all()
        yield made


@pytest.fixture
def cli(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> Cli:
    def invoke(*arguments: object) -> Any:
        capsys.readouterr()
        code = run([*map(str, arguments), "--cluster", str(cluster.home), "-o", "json", "--timeout", "20"])
        printed = capsys.readouterr()
        assert code == 0, printed.err
        return json.loads(printed.out) if printed.out.strip() else None

    return invoke


def rotate(cluster: Cluster, cli: Cli, node: Node, home: Path) -> None:
    """Make another key for a node, and let the cluster know it by that from now on."""
    address = next(item["address"] for item in cli("member", "list") if item["id"] == node.id)
    genesis = cluster.home / "genesis.json"
    cli("member", "init", "--id", node.id, "--listen", address, "--out", home, "--genesis", genesis)
    cli("member", "rotate", home)


def take_new_key(node: Node, home: Path) -> None:
    """What its operator changes: the two paths, and nothing of its store."""
    text = node.config.read_text()
    for name in (f"{node.id}.key.pem", f"{node.id}.cert.pem"):
        assert text.count(f'"{name}"') == 1
        text = text.replace(f'"{name}"', f'"{home / name}"')
    node.config.write_text(text)


def quorum_without(cluster: Cluster, cli: Cli, node: Node) -> None:
    """The other two, one of them with its new key, certify and serve by themselves."""
    staying = [item for item in cluster.others(node) if isinstance(item, Node)]
    node.stop()
    cluster.submit(cluster.quarantine("without"), node=staying[0].id)
    cluster.wait_until_serving(*(item.id for item in staying))
    for item in staying:
        eventually(lambda: item.check("other"), cluster.describe)  # noqa: B023 - called at once
        assert not item.check("without")
    node.start()
    cluster.wait_until_serving()


@pytest.mark.parametrize("leads", [False, True], ids=["a follower", "the leader"])
def test_a_node_takes_another_key(cluster: Cluster, cli: Cli, tmp_path: Path, leads: bool) -> None:
    leader = cluster.leader()
    node = leader if leads else cluster.others(leader)[0]
    assert isinstance(node, Node)
    rotate(cluster, cli, node, tmp_path / "new")
    receipt = cluster.submit(cluster.quarantine("bad"))

    # Its old process is no member, and says so at once; the others go on without it.
    assert not node.check("other")
    eventually(lambda: node.status()["standing"] == "revoked", cluster.describe)
    assert "no member" in node.status()["message"]
    others = [item.id for item in cluster.others(node)]
    cluster.wait_until_serving(*others)

    # The old key never works again, whatever the operator does.
    node.stop()
    node.start()
    eventually(lambda: node.status()["standing"] == "revoked", cluster.describe)
    node.stop()

    # A new process on the same store does, and has lost nothing.
    take_new_key(node, tmp_path / "new")
    node.start()
    cluster.wait_until_serving()
    assert not node.check("bad", at_least=receipt.certified_seq)
    assert node.check("other")
    assert {item["id"]: item["voter"] for item in cli("member", "list")} == dict.fromkeys(cluster.nodes, True)

    # What it signs now counts.
    quorum_without(cluster, cli, cluster.nodes[others[0]])  # type: ignore[arg-type]
    assert {item.status()["isolation"] for item in cluster.nodes.values()} == {None}
    export = tmp_path / "lineage.jsonl"
    cli("lineage", "export", export)
    assert cli("verify", export, "--genesis", cluster.home / "genesis.json")["epoch"] == 2


def test_a_key_that_was_changed_while_its_node_was_stopped(cluster: Cluster, cli: Cli, tmp_path: Path) -> None:
    """Its store knows nothing of the change, so that nobody would know it: it has to be told first."""
    node = cluster.others(cluster.leader())[0]
    assert isinstance(node, Node)
    node.stop()
    rotate(cluster, cli, node, tmp_path / "new")
    take_new_key(node, tmp_path / "new")
    code, said = node.run_to_end()
    assert (code, "learn-epochs" in said) == (2, True), said
    export = tmp_path / "lineage.jsonl"
    cli("lineage", "export", export)
    told = CliRunner().invoke(node_program, ["learn-epochs", "--config", str(node.config), "--from", str(export)])
    assert (told.exit_code, ": 1 changes" in told.output) == (0, True), told.output
    assert [row.epoch for row in read_epochs(node.database)] == [2]
    node.start()
    cluster.wait_until_serving()
    assert node.check("other")
    quorum_without(cluster, cli, cluster.others(node)[0])  # type: ignore[arg-type]


def test_one_after_the_other(cluster: Cluster, cli: Cli, tmp_path: Path) -> None:
    """Two of three have other keys than the genesis says, and are a quorum."""
    first, second, third = cluster.nodes.values()
    assert isinstance(second, Node)
    rotate(cluster, cli, second, tmp_path / "second")
    second.stop()
    take_new_key(second, tmp_path / "second")
    second.start()
    cluster.wait_until_serving()
    assert isinstance(third, Node)
    rotate(cluster, cli, third, tmp_path / "third")
    third.stop()
    take_new_key(third, tmp_path / "third")
    third.start()
    cluster.wait_until_serving()
    quorum_without(cluster, cli, first)  # type: ignore[arg-type]
