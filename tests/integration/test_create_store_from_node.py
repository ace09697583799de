"""Stores of nodes that were added later, made of another node's store: they start where it was certified, or nowhere."""

from __future__ import annotations

import asyncio
import re
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner
from integration.cluster_harness import Cluster, eventually

from govraft.adapters.snapshot_file import snapshot_path
from govraft.adapters.sqlite_store import SqliteStore
from govraft.cli.main import run
from govraft.cli.member_creation import create_in_directory
from govraft.cli.node import main as node_program
from govraft.client.async_client import AsyncClient
from govraft.core.machine.snapshot import Snapshot

pytestmark = pytest.mark.cluster

COMMANDS = 110
STORAGE = "\n[storage]\nsnapshot_entries = 100\nwindow_entries = 64\n"


class Made(NamedTuple):
    cluster: Cluster
    copy: Path


def submit_many(cluster: Cluster) -> None:
    """More than a snapshot waits for, all at once."""

    async def submit() -> None:
        client = AsyncClient(cluster.nodes["node-1"].endpoint, timeout=20.0)
        await asyncio.gather(*(client.submit(cluster.quarantine(f"a{number}")) for number in range(COMMANDS)))
        await client.close()

    asyncio.run(submit())
    # The certificate that makes a snapshot of them comes within a lease.
    eventually(lambda: snapshot_path(cluster.nodes["node-1"].database).exists(), cluster.describe)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """Of a cluster with two voters and an observer that has no store, after more entries than a snapshot waits for."""
    with Cluster(1) as cluster:
        node = cluster.nodes["node-1"]
        node.config.write_text(node.config.read_text() + STORAGE)
        cluster.start()
        cluster.permit_all()
        cluster.add_node("node-2")
        submit_many(cluster)
        for name in ("node-3", "node-4", "node-5"):
            fields = create_in_directory(cluster.home, name, listen="127.0.0.1:9")
            if name != "node-5":
                cluster.submit(cluster.commands.add_member(fields, cluster.home / "nodes" / name))
        copy = tmp_path_factory.mktemp("copy")
        node.copy_store(copy)
        yield Made(cluster, copy)


def emptied(made: Made, node: str) -> Path:
    """The configuration of a node with a data directory that is not there yet."""
    home = made.cluster.home / "nodes" / node
    path = home / "other.toml"
    path.write_text((home / "node.toml").read_text().replace('"data"', '"other"'))
    shutil.rmtree(home / "other", ignore_errors=True)
    return path


def invoke(config: Path, copy: Path, *more: str) -> tuple[int, str]:
    arguments = ["create-store", "--config", str(config), "--from-node", str(copy), *more]
    done = CliRunner().invoke(node_program, arguments)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output.strip()


def refused(made: Made, copy: Path, match: str, node: str = "node-3") -> None:
    config = emptied(made, node)
    code, said = invoke(config, copy)
    assert (code, len(said.splitlines())) == (2, 1), said
    assert re.search(match, said), said
    assert not (config.parent / "other").exists(), "nothing is made"


def test_it_begins_where_the_donor_was_certified_and_promises_nothing(made: Made) -> None:
    config = emptied(made, "node-3")
    before = {file.name: file.read_bytes() for file in made.copy.iterdir()}
    code, said = invoke(config, made.copy)
    assert code == 0, said
    assert {file.name: file.read_bytes() for file in made.copy.iterdir()} == before, "the copy is as it was"
    database = config.parent / "other" / "node.db"
    snapshot = Snapshot.decode(snapshot_path(database).read_bytes())
    store = SqliteStore(database, cluster_id=made.cluster.genesis.cluster_id, node_id="node-3", may_create=False)
    try:
        state = store.load()
        journal, leaves = list(state.journal), list(state.leaves)
    finally:
        store.close()
    certified = int(snapshot.certificate.split(b"\n")[1])
    assert snapshot.seq <= certified < len(leaves) == state.epochs[-1].seq
    assert journal[-1].index == len(journal) == leaves[-1].index
    assert (state.hard_state.commit_index, state.hard_state.voted_for) == (len(journal), None)
    assert state.hard_state.term == journal[-1].term
    assert (state.cosigner, state.isolation, state.has_run_before) == (None, None, False)
    assert [row.epoch for row in state.epochs] == [2, 3, 4, 5]
    assert invoke(config, made.copy)[0] == 3


def test_a_joiner_starts_there_and_serves(tmp_path: Path) -> None:
    with Cluster(1) as cluster:
        first = cluster.nodes["node-1"]
        first.config.write_text(first.config.read_text() + STORAGE)
        cluster.start()
        cluster.permit_all()
        submit_many(cluster)
        joiner = cluster.add_node("node-2", donor=first)
        (started,) = re.findall(r"node started.*?seq=\S*?(\d+)", re.sub(r"\x1b\[[0-9;]*m", "", joiner.log()))
        assert int(started) > 100, "not from the genesis on"
        assert not joiner.check("a7")
        assert joiner.check("somebody")
        cluster.submit(cluster.quarantine("late"))
        cluster.wait_until_serving()
        assert not joiner.check("late")
        assert joiner.status()["voters"] == 2
        assert joiner.lineage() == first.lineage()[: len(joiner.lineage())]
        assert len(joiner.lineage()) > COMMANDS
        # It has what others need, too: who is added next may begin with a copy of it. The store of a stopped node will do.
        joiner.stop()
        joiner.start()
        cluster.wait_until_serving()
        # Its snapshot proves itself to anybody who has the genesis.
        proof = ["verify", str(snapshot_path(joiner.database)), "--genesis", str(cluster.home / "genesis.json")]
        assert run(proof) == 0


def test_a_running_node_is_no_copy(made: Made) -> None:
    refused(made, made.cluster.nodes["node-1"].home / "data", "in use: stop the node first")


@pytest.mark.parametrize("node", ["node-1", "node-2"])
def test_a_voter_does_not_begin_anew(made: Made, node: str) -> None:
    refused(made, made.copy, "is or was a voter", node)


def test_whoever_was_not_added_is_nobody(made: Made) -> None:
    refused(made, made.copy, "`node-5` is no member", "node-5")


def test_an_export_and_a_copy_are_one_too_many(made: Made) -> None:
    code, said = invoke(emptied(made, "node-3"), made.copy, "--from", str(made.copy / "node.db"))
    assert (code, "not both" in said) == (2, True), said


def test_traces_of_a_store_are_not_written_over(made: Made) -> None:
    config = emptied(made, "node-4")
    trace = snapshot_path(config.parent / "other" / "node.db")
    trace.parent.mkdir()
    trace.write_bytes(b"witness")
    code, said = invoke(config, made.copy)
    assert (code, f"`{trace}` exists already" in said) == (3, True), said
    assert [file.name for file in trace.parent.iterdir()] == [trace.name]
    assert trace.read_bytes() == b"witness"


@pytest.fixture
def bad(made: Made, tmp_path: Path) -> Path:
    """A copy to be spoiled."""
    place = tmp_path / "bad"
    shutil.copytree(made.copy, place)
    return place


def test_a_copy_without_its_parts(made: Made, bad: Path) -> None:
    refused(made, bad / "nowhere", "node.db` does not exist")
    snapshot_path(bad / "node.db").unlink()
    refused(made, bad, "there is no snapshot.*use `--from EXPORT`")
    (bad / "node.db").write_bytes(b"no database" * 99)
    refused(made, bad, "not a database")
    (bad / "node.db").unlink()
    (bad / "node.db").mkdir()
    refused(made, bad, "not a regular file")


def test_a_copy_of_another_cluster(made: Made, tmp_path: Path) -> None:
    with Cluster(1) as other:
        refused(made, other.nodes["node-1"].home / "data", "belongs to cluster_id")


def test_a_snapshot_newer_than_the_database(made: Made, bad: Path) -> None:
    spoil(bad, "DELETE FROM leaves WHERE seq > 20")
    refused(made, bad, "ends at seq 20, before the certified seq .*: copy the snapshot first")


def spoil(bad: Path, statement: str) -> None:
    database = sqlite3.connect(bad / "node.db")
    database.execute(statement)
    database.commit()
    database.close()
    for leftover in ("node.db-wal", "node.db-shm"):
        (bad / leftover).unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("statement", "match"),
    [
        ("UPDATE journal SET payload = x'00ff' WHERE idx = 9", "damaged journal entry at index 9"),
        ("UPDATE journal SET term = 9 WHERE idx = 9", "damaged journal entry at index 9"),
        ("DELETE FROM journal WHERE idx = 9", "lacks journal entr"),
        ("UPDATE leaves SET idx = 10 WHERE seq = 8", "damaged leaf at seq 8"),
        ("DELETE FROM leaves WHERE seq = 8", "lacks the leaf of seq 8"),
        ("UPDATE epochs SET seq = 2 WHERE epoch = 3", "epoch 3"),
        ("DELETE FROM epochs WHERE epoch = 2", "lacks epoch 2"),
        ("DELETE FROM epochs WHERE epoch > 2", "is of epoch 3, |cosignatures"),
        ("PRAGMA user_version = 2", "schema version 2"),
        ("CREATE TABLE more (a)", "tables, indices or triggers"),
    ],
)
def test_a_damaged_copy(made: Made, bad: Path, statement: str, match: str) -> None:
    spoil(bad, statement)
    refused(made, bad, match)


@pytest.mark.parametrize("place", [0, 500, -1])
def test_a_damaged_snapshot(made: Made, bad: Path, place: int) -> None:
    file = snapshot_path(bad / "node.db")
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(bytes(data))
    refused(made, bad, "snapshot cannot be used: its checksum does not fit")
