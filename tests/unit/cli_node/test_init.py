"""`govraft init`: what it makes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from govraft.cli import cluster_creation
from govraft.cli.cluster_creation import create_cluster
from govraft.cli.cluster_directory import load_directory
from govraft.cli.cluster_plan import plan_cluster
from govraft.cli.main import run
from govraft.core.model.electorate import QuorumRule
from govraft.core.model.genesis import Genesis
from govraft.errors import ConfigError, InputError
from govraft.startup import load_node_files


def genesis_of(directory: Path) -> Genesis:
    return Genesis.decode((directory / "genesis.json").read_bytes())


def files_of(directory: Path) -> list[Path]:
    return sorted(directory.rglob("*"))


def test_the_default_is_three_nodes_and_no_single_key_for_policies(tmp_path: Path) -> None:
    assert run(["init", "--out", str(tmp_path / "c")]) == 0
    genesis = genesis_of(tmp_path / "c")
    assert [member.id for member in genesis.members] == ["node-1", "node-2", "node-3"]
    assert all(member.voter for member in genesis.members)
    assert (genesis.electorate().quorum_count, genesis.lease_ms, genesis.name) == (2, 1_000, "c")
    assert genesis.thresholds == {"root": 2, "policy": 2, "operator": 1}
    ids = ["operator-1", "policy-1", "policy-2", "root-1", "root-2", "root-3"]
    assert [authority.id for authority in genesis.authorities] == ids
    assert all(len(authority.roles) == 1 for authority in genesis.authorities)


def test_every_node_can_use_its_files(tmp_path: Path) -> None:
    assert run(["init", "--out", str(tmp_path / "c"), "--nodes", "5"]) == 0
    loaded = load_directory(tmp_path / "c")
    assert loaded.cluster_id == genesis_of(tmp_path / "c").cluster_id
    for node in loaded.nodes:
        config = load_node_files(Path(node.config)).config
        assert config.node_id == node.id
        assert str(config.socket_path.resolve()) == node.socket


def test_private_keys_are_private_and_belong_to_their_authorities(tmp_path: Path) -> None:
    directory = tmp_path / "c"
    assert run(["init", "--out", str(directory)]) == 0
    pinned = {authority.id: authority.public_key for authority in genesis_of(directory).authorities}
    for authority, public_key in pinned.items():
        path = directory / "keys" / f"{authority}.pem"
        assert path.stat().st_mode & 0o777 == 0o600
        key = load_pem_private_key(path.read_bytes(), None)
        assert key.public_key().public_bytes_raw() == public_key  # type: ignore[union-attr]
    assert (directory / "keys").stat().st_mode & 0o777 == 0o700
    for path in directory.rglob("*.key.pem"):
        assert path.stat().st_mode & 0o777 == 0o600


def test_the_passphrase_encrypts_the_authorities_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOVRAFT_KEY_PASSPHRASE", "correct horse")
    assert run(["init", "--out", str(tmp_path / "c")]) == 0
    for path in (tmp_path / "c" / "keys").iterdir():
        with pytest.raises(TypeError, match="encrypted"):
            load_pem_private_key(path.read_bytes(), None)
        load_pem_private_key(path.read_bytes(), b"correct horse")


def test_the_index_names_files_relative_to_the_directory(tmp_path: Path) -> None:
    assert run(["init", "--out", str(tmp_path / "before")]) == 0
    (tmp_path / "before").rename(tmp_path / "after")
    content = json.loads((tmp_path / "after" / "cluster.json").read_text())
    for key in content["keys"]:
        assert (tmp_path / "after" / key["uri"].removeprefix("file2:")).is_file()
    assert (tmp_path / "after" / content["genesis"]).is_file()
    for node in load_directory(tmp_path / "after").nodes:
        load_node_files(Path(node.config))


def test_two_clusters_never_have_one_id(tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert run(["init", "--out", str(tmp_path / name), "--name", "same"]) == 0
    assert genesis_of(tmp_path / "a").cluster_id != genesis_of(tmp_path / "b").cluster_id
    assert genesis_of(tmp_path / "a").nonce != genesis_of(tmp_path / "b").nonce


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "c"
    assert run(["init", "--out", str(directory)]) == 0
    before = {path: path.read_bytes() for path in files_of(directory) if path.is_file()}
    capsys.readouterr()
    assert run(["init", "--out", str(directory)]) == 2
    printed = capsys.readouterr()
    assert (printed.out, len(printed.err.splitlines())) == ("", 1)
    assert "exists already" in printed.err
    assert {path: path.read_bytes() for path in files_of(directory) if path.is_file()} == before


def test_a_directory_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert run(["init", "--out", str(tmp_path)]) == 2
    assert files_of(tmp_path) == [tmp_path / "notes.txt"]


def test_an_empty_directory_is_filled(tmp_path: Path) -> None:
    assert run(["init", "--out", str(tmp_path)]) == 0
    load_node_files(tmp_path / "nodes" / "node-1" / "node.toml")


@pytest.mark.parametrize("there_before", [True, False])
def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there_before: bool) -> None:
    directory = tmp_path / "c"
    if there_before:
        directory.mkdir()

    def fail(*_: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cluster_creation, "_index", fail)
    plan = plan_cluster(name="c", nodes=1, quorum=QuorumRule.MAJORITY, profile="lan")
    with pytest.raises(ConfigError, match="No space left"):
        create_cluster(plan, directory)
    assert files_of(tmp_path) == ([directory] if there_before else [])


def test_ports_follow_the_base_port(tmp_path: Path) -> None:
    assert run(["init", "--out", str(tmp_path / "c"), "--nodes", "4", "--base-port", "7100"]) == 0
    assert [member.address for member in genesis_of(tmp_path / "c").members] == [
        f"127.0.0.1:{port}" for port in range(7100, 7104)
    ]


def test_without_a_base_port_each_node_has_its_own_port(tmp_path: Path) -> None:
    assert run(["init", "--out", str(tmp_path / "c"), "--nodes", "9"]) == 0
    ports = {member.address for member in genesis_of(tmp_path / "c").members}
    assert len(ports) == 9


def test_ports_that_do_not_exist_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["init", "--out", str(tmp_path / "c"), "--base-port", "65534"]) == 2
    assert "65534" in capsys.readouterr().err
    assert run(["init", "--out", str(tmp_path / "d"), "--base-port", "65533"]) == 0


@pytest.mark.parametrize("arguments", [["--nodes", "0"], ["--nodes", "10"], ["--quorum", "half"], ["--profile", "x"]])
def test_impossible_options_are_refused(tmp_path: Path, arguments: list[str]) -> None:
    assert run(["init", "--out", str(tmp_path / "c"), *arguments]) == 2
    assert files_of(tmp_path) == []


def test_a_name_that_genesis_refuses_is_refused_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["init", "--out", str(tmp_path / "c"), "--name", "two\nlines"]) == 2
    assert "name" in capsys.readouterr().err
    assert files_of(tmp_path) == []


@pytest.mark.parametrize("over", [0, 1])
def test_a_socket_path_must_fit(tmp_path: Path, over: int, capsys: pytest.CaptureFixture[str]) -> None:
    room = 103 - len(str(tmp_path / "x/run/node-1.sock")) + 1
    directory = tmp_path / ("d" * (room + over))
    assert run(["init", "--out", str(directory)]) == (2 if over else 0)
    assert ("shorter `--out`" in capsys.readouterr().err) is bool(over)
    assert directory.exists() is not bool(over)


def test_byzantine_and_wan_reach_the_genesis(tmp_path: Path) -> None:
    arguments = ["--nodes", "4", "--quorum", "byzantine", "--profile", "wan"]
    assert run(["init", "--out", str(tmp_path / "c"), *arguments]) == 0
    genesis = genesis_of(tmp_path / "c")
    assert (genesis.quorum, genesis.electorate().quorum_count, genesis.lease_ms) == (QuorumRule.BYZANTINE, 3, 4_000)
    assert load_node_files(tmp_path / "c" / "nodes" / "node-4" / "node.toml").config.profile.heartbeat_ms == 400


def test_a_description_and_its_options_exclude_each_other(tmp_path: Path) -> None:
    file = tmp_path / "cluster.toml"
    file.write_text('[cluster]\nname = "x"\n[[nodes]]\nid = "a"\n')
    assert run(["init", "--out", str(tmp_path / "c"), "--from", str(file), "--nodes", "3"]) == 2
    assert run(["init", "--out", str(tmp_path / "c"), "--from", str(file)]) == 0
    assert [member.id for member in genesis_of(tmp_path / "c").members] == ["a"]


def test_what_is_printed_is_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["init", "--out", str(tmp_path / "c"), "-o", "json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["cluster"] == genesis_of(tmp_path / "c").cluster_id
    assert printed["nodes"] == ["node-1", "node-2", "node-3"]


def test_a_cluster_without_an_index_was_never_finished(tmp_path: Path) -> None:
    assert run(["init", "--out", str(tmp_path / "c")]) == 0
    (tmp_path / "c" / "cluster.json").unlink()
    with pytest.raises(ConfigError, match="govraft init"):
        load_directory(tmp_path / "c")


@pytest.mark.parametrize("content", ["", "[]", '{"version":2,"name":"x","cluster":"","nodes":[]}', "\xff"])
def test_a_damaged_index_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "cluster.json").write_text(content, encoding="latin-1")
    with pytest.raises(ConfigError):
        load_directory(tmp_path)


def test_too_many_nodes_are_refused_by_the_plan() -> None:
    with pytest.raises(InputError, match="9 voters"):
        plan_cluster(name="x", nodes=10, quorum=QuorumRule.MAJORITY, profile="lan")
