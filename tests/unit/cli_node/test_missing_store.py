"""A node whose store is not there: it says so, and leaves everything as it is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from govraft import daemon
from govraft.cli.cluster_creation import create_cluster
from govraft.cli.cluster_plan import plan_cluster
from govraft.core.model.electorate import QuorumRule
from govraft.errors import ConfigError


@pytest.fixture
def config(tmp_path: Path) -> Path:
    plan = plan_cluster(name="test", nodes=3, quorum=QuorumRule.MAJORITY, profile="lan")
    return Path(create_cluster(plan, tmp_path / "c").nodes[0].config)


def test_a_node_without_a_store_makes_nothing(config: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A volume that is not mounted: a directory in its place would hide the mistake, and fill the wrong disk."""
    shutil.rmtree(config.parent / "data")
    before = sorted(tmp_path.rglob("*"))
    assert daemon.run(config) == daemon.EXIT_HALTED
    assert "store_missing" in capfd.readouterr().out
    assert sorted(tmp_path.rglob("*")) == before


def test_a_socket_directory_that_cannot_be_made_is_named(config: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    lines = (
        f'socket = "{tmp_path}/file/x/node.sock"' if line.startswith("socket") else line
        for line in config.read_text().splitlines()
    )
    config.write_text("\n".join(lines))
    with pytest.raises(ConfigError, match=r"`listen\.socket`: .*Not a directory"):
        daemon.run(config)
