"""A node may start on a key that an applied change names, certified or not; its store stays the one it has."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from govraft.adapters.node_key import NodeIdentity
from govraft.cli.cluster_creation import create_cluster
from govraft.cli.cluster_plan import plan_cluster
from govraft.cli.node import main as node_program
from govraft.core.model.electorate import Electorate, QuorumRule
from govraft.errors import ConfigError
from govraft.node.config import load_config, load_genesis
from govraft.startup import keep_applied, load_former_identity, load_node_files


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Of a node whose configuration names another key than the genesis, and the one of before as the former one."""
    plan = plan_cluster(name="test", nodes=3, quorum=QuorumRule.MAJORITY, profile="lan")
    path = Path(create_cluster(plan, tmp_path / "c").nodes[0].config)
    home = path.parent
    NodeIdentity.create("node-1").save(home / "new.key.pem", home / "new.cert.pem")
    text = path.read_text()
    for name, kind in (("key", "key"), ("certificate", "cert")):
        text = text.replace(f'{name} = "node-1.{kind}.pem"', f'{name} = "new.{kind}.pem"')
    path.write_text(text)
    return path


def rotated(config: Path) -> list[Electorate]:
    """The electorates after a change that gives the node the key which its configuration names."""
    loaded = load_config(config)
    new = NodeIdentity.load(loaded.key_path, loaded.certificate_path)
    before = load_genesis(loaded).electorate()
    members = tuple(
        msgspec.structs.replace(item, public_key=new.public_key, certificate=new.certificate)
        if item.id == "node-1"
        else item
        for item in before.members
    )
    return [msgspec.structs.replace(before, epoch=2, members=members)]


def test_a_key_that_nothing_names_is_refused(config: Path) -> None:
    with pytest.raises(ConfigError, match=r"--applied"):
        load_node_files(config)


def test_a_store_that_was_told_lets_it_start(config: Path) -> None:
    keep_applied(load_config(config), rotated(config))
    assert load_node_files(config).identity.certificate == rotated(config)[0].members[0].certificate


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b"[1]"])
def test_what_is_no_such_file_lets_nobody_start(config: Path, content: bytes) -> None:
    loaded = load_config(config)
    keep_applied(loaded, rotated(config))
    (loaded.data_dir / "applied-members.json").write_bytes(content)
    with pytest.raises(ConfigError, match="is not the certificate"):
        load_node_files(config)


def test_a_lost_store_is_not_begun_anew(config: Path) -> None:
    loaded = load_config(config)
    shutil.rmtree(loaded.data_dir)
    loaded.data_dir.mkdir()
    keep_applied(loaded, rotated(config))
    with pytest.raises(ConfigError, match="is not the certificate"):
        load_node_files(config)
    made = CliRunner().invoke(node_program, ["create-store", "--config", str(config)])
    assert (made.exit_code, "is not the certificate" in made.output) == (2, True), made.output
    assert not loaded.database.exists()


def test_the_former_pair_is_read_with_the_rest(config: Path) -> None:
    keep_applied(load_config(config), rotated(config))
    text = config.read_text()
    pair = 'former_key = "node-1.key.pem"\nformer_certificate = "node-1.cert.pem"\n'
    config.write_text(text.replace("data_dir", pair + "data_dir"))
    files = load_node_files(config)
    former = load_former_identity(files.config)
    assert former is not None
    assert former.certificate == files.genesis.electorate().members[0].certificate
    config.write_text(text.replace("data_dir", pair.splitlines()[0] + "\ndata_dir"))
    with pytest.raises(ConfigError, match="or neither"):
        load_node_files(config)
    config.write_text(text.replace("data_dir", pair.replace("node-1.key", "nothing") + "data_dir"))
    with pytest.raises(ConfigError, match=r"nothing\.pem"):
        load_node_files(config)
