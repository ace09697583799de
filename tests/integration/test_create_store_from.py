"""Stores of nodes that were added later: made of an export, or refused."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner
from integration.cluster_harness import Cluster

from govraft.adapters.sqlite_store import SqliteStore, create_store, read_epochs
from govraft.cli.lineage import export_lines
from govraft.cli.member_creation import create_in_directory
from govraft.cli.node import main as node_program
from govraft.startup import load_node_files

pytestmark = pytest.mark.cluster


class Made(NamedTuple):
    cluster: Cluster
    export: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """Of a cluster with a voter and an observer more than its genesis has, the observer without a store."""
    with Cluster(1) as cluster:
        cluster.start()
        cluster.add_node("node-2")
        fields = create_in_directory(cluster.home, "node-3", listen="127.0.0.1:9")
        cluster.submit(cluster.commands.add_member(fields, cluster.home / "nodes" / "node-3"))
        create_in_directory(cluster.home, "node-9", listen="127.0.0.1:9")
        export = cluster.home / "x.jsonl"
        export.write_bytes(b"".join(export_lines(cluster.nodes["node-1"].client, cluster.genesis)))
        yield Made(cluster, export)


@pytest.fixture
def config(made: Made, request: pytest.FixtureRequest) -> Path:
    """Of a node with an empty data directory of its own."""
    return emptied(made, "node-3")


def emptied(made: Made, node: str) -> Path:
    home = made.cluster.home / "nodes" / node
    text = (home / "node.toml").read_text().replace('"data"', '"other"')
    shutil.rmtree(home / "other", ignore_errors=True)
    path = home / "other.toml"
    path.write_text(text)
    return path


def invoke(verb: str, config: Path, export: Path | None) -> tuple[int, str]:
    source = [] if export is None else ["--from", str(export)]
    done = CliRunner().invoke(node_program, [verb, "--config", str(config), *source])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output.strip()


def test_an_observer_begins_with_the_members(made: Made, config: Path) -> None:
    code, said = invoke("create-store", config, made.export)
    assert code == 0, said
    epochs = read_epochs(config.parent / "other" / "node.db")
    assert [(row.epoch, row.seq) for row in epochs] == [(2, 2), (3, 3), (4, 4)]
    files = load_node_files(config)
    store = SqliteStore(
        files.config.database, cluster_id=made.cluster.genesis.cluster_id, node_id="node-3", may_create=False
    )
    state = store.load()
    store.close()
    assert (state.has_run_before, len(state.journal), len(state.leaves), state.late) == (False, 0, 0, True)
    assert invoke("create-store", config, made.export)[0] == 3


def test_without_the_export_it_is_nobody(made: Made, config: Path) -> None:
    code, said = invoke("create-store", config, None)
    assert (code, "is no member" in said, "create-store --from" in said) == (2, True, True), said
    assert not (config.parent / "other").exists()


@pytest.mark.parametrize("node", ["node-1", "node-2"])
def test_a_voter_does_not_begin_anew(made: Made, node: str) -> None:
    code, said = invoke("create-store", emptied(made, node), made.export)
    assert (code, "is or was a voter" in said) == (2, True), said
    assert not (made.cluster.home / "nodes" / node / "other").exists()


def test_whoever_was_not_added_is_nobody(made: Made) -> None:
    code, said = invoke("create-store", emptied(made, "node-9"), made.export)
    assert (code, "`node-9` is no member" in said) == (2, True), said


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "foreign", "missing", "uncertified"])
def test_an_export_that_proves_nothing_is_refused(made: Made, config: Path, tmp_path: Path, damage: str) -> None:
    lines = made.export.read_bytes().splitlines(keepends=True)
    bad = tmp_path / "bad.jsonl"
    if damage == "cut":
        lines = lines[:-1]
    elif damage == "changed":
        lines[2] = lines[2].replace(b'"entry":"', b'"entry":"AA')
    elif damage == "empty":
        lines = []
    elif damage == "foreign":
        lines[0] = lines[0].replace(made.cluster.genesis.cluster_id.encode(), b"0" * 64)
    elif damage == "uncertified":
        lines = [line for line in lines if b'"lease"' not in line]
    if damage != "missing":
        bad.write_bytes(b"".join(lines))
    code, said = invoke("create-store", config, bad)
    assert (code, str(bad) in said, len(said.splitlines())) == (2, True, 1), said
    assert not (config.parent / "other").exists()


def test_epochs_are_learnt_once(made: Made, config: Path) -> None:
    assert invoke("create-store", config, made.export)[0] == 0
    assert invoke("learn-epochs", config, made.export) == (0, f"{config}: 0 changes of the members learnt")
    founder = emptied(made, "node-1")
    files = load_node_files(founder)
    files.config.data_dir.mkdir()
    create_store(files.config.database, cluster_id=files.genesis.cluster_id, node_id="node-1", late=False)
    assert invoke("learn-epochs", founder, made.export) == (0, f"{founder}: 3 changes of the members learnt")
    assert len(read_epochs(founder.parent / "other" / "node.db")) == 3
    assert invoke("learn-epochs", founder, made.export)[1].endswith(": 0 changes of the members learnt")
