"""Stores that `create-store` makes for voters, in real processes: late, found out, or refused."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from integration.cluster_harness import Cluster, Node, eventually

from govraft.cli.node import main as node_program

pytestmark = pytest.mark.cluster


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(3) as made:
        yield made


def create_store(node: Node) -> tuple[int, str]:
    shutil.rmtree(node.home / "data")
    done = CliRunner().invoke(node_program, ["create-store", "--config", str(node.home / "node.toml")])
    return done.exit_code, done.output.strip()


def test_a_lost_store_of_a_voter_does_not_come_back(cluster: Cluster) -> None:
    """It has signed, and the others have seen it: it says so, names the way out, and the others go on."""
    cluster.start()
    cluster.permit_all()
    victim = cluster.others(cluster.leader())[0]
    victim.kill()
    assert create_store(victim)[0] == 0
    victim.start()
    found = eventually(lambda: victim.status()["isolation"], cluster.describe)
    assert found["reason"] == "store_older_than_own_signatures"
    assert "govraft member replace" in found["detail"]
    assert not victim.may_allow()
    cluster.wait_allow(*(node.id for node in cluster.others(victim)))


def test_stores_that_are_all_made_again_come_up(cluster: Cluster) -> None:
    """Nobody has signed anything: two of them wait for the third, and say so."""
    for node in cluster.nodes.values():
        assert create_store(node)[0] == 0
    first, second, third = cluster.nodes.values()
    first.start()
    second.start()
    eventually(lambda: "0 of 2" in first.status()["late"]["message"], cluster.describe)
    assert not first.may_allow()
    third.start()
    cluster.wait_allow()
    assert first.status()["late"] is None


def test_the_only_voter_gets_no_second_store() -> None:
    with Cluster(1) as single:
        node = single.nodes["node-1"]
        code, said = create_store(node)
        assert (code, "is the only voter" in said, "govraft init" in said) == (2, True, True), said
        assert not Path(node.home / "data").exists()
