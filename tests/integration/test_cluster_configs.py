"""The shipped cluster descriptions: each is loaded, makes a cluster, and starts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from govraft import Client
from govraft.cli.cluster_creation import create_cluster
from govraft.cli.cluster_directory import ClusterDirectory, load_directory
from govraft.cli.cluster_plan import load_plan
from govraft.cli.cluster_run import start_cluster, stop_cluster
from govraft.core.model.electorate import QuorumRule
from govraft.core.model.genesis import Genesis
from govraft.startup import load_node_files

CONFIGS = Path(__file__).resolve().parents[2] / "cluster-configs"
EXPECTED = {
    "byzantine-4": (4, QuorumRule.BYZANTINE, 3, "lan", {"root": 3, "policy": 2, "operator": 1}),
    "dev-1": (1, QuorumRule.MAJORITY, 1, "lan", {"root": 1, "policy": 1, "operator": 1}),
    "local-3": (3, QuorumRule.MAJORITY, 2, "lan", {"root": 2, "policy": 2, "operator": 1}),
    "wan-5": (5, QuorumRule.MAJORITY, 3, "wan", {"root": 3, "policy": 2, "operator": 1}),
}


@pytest.fixture
def make(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], ClusterDirectory]]:
    made: list[ClusterDirectory] = []

    def create(name: str) -> ClusterDirectory:
        made.append(create_cluster(load_plan(CONFIGS / name / "cluster.toml"), tmp_path_factory.mktemp("c") / "c"))
        return made[-1]

    yield create
    for directory in made:
        stop_cluster(directory)


def test_every_description_is_known_here() -> None:
    assert {path.parent.name for path in CONFIGS.glob("*/cluster.toml")} == set(EXPECTED)


def test_no_key_lies_among_the_descriptions() -> None:
    for path in CONFIGS.rglob("*"):
        if path.is_file():
            assert b"PRIVATE KEY" not in path.read_bytes(), path


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_each_makes_the_cluster_that_it_describes(make: Callable[[str], ClusterDirectory], name: str) -> None:
    directory = make(name)
    nodes, quorum, needed, profile, thresholds = EXPECTED[name]
    assert directory.name == name
    assert load_directory(directory.path) == directory
    genesis = Genesis.decode((directory.path / "genesis.json").read_bytes())
    assert (genesis.quorum, genesis.thresholds) == (quorum, thresholds)
    assert (len(genesis.electorate().voters), genesis.electorate().quorum_count) == (nodes, needed)
    for node in directory.nodes:
        config = load_node_files(Path(node.config)).config
        assert config.profile.heartbeat_ms == (100 if profile == "lan" else 400)
        assert config.profile.heartbeat_ms * 3 <= genesis.lease_ms


@pytest.mark.cluster
@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_each_starts_and_may_allow(make: Callable[[str], ClusterDirectory], name: str) -> None:
    directory = make(name)
    states = start_cluster(directory, proxied=False, timeout_s=60)
    assert [state.standing for state in states] == ["allow"] * EXPECTED[name][0]
    assert len({state.status["cluster"] for state in states}) == 1
    with contextlib.ExitStack() as clients:
        for state in states:
            client = clients.enter_context(Client(state.endpoint, timeout=5))
            # It may allow, and still denies what no policy permits.
            assert not client.check('A::"a"', 'Action::"b"', 'C::"c"')
    assert set(stop_cluster(directory).values()) == {"stopped"}
