"""Damage of every kind to a node's files: it refuses and names it, or is provably unharmed; and the way back is told.

What a knowing tamperer does is in test_tamper.py, and at the end here. Most cases rehearse the start in this process, on
a copy, which is what `check-store` does; that a real start agrees is shown for one case of each kind.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result
from integration import damage
from integration.cluster_harness import Cluster, Node, eventually

from govraft.adapters.store_examination import Condition
from govraft.adapters.store_rows import record_row
from govraft.cli.node import main
from govraft.cli.node_store import Examination, examine
from govraft.core.lineage.tree import MerkleTree
from govraft.ports.store import CosignerRecord

pytestmark = pytest.mark.cluster

VICTIM = "node-3"
BLOCKS = int(os.environ.get("GOVRAFT_DAMAGED_BLOCKS", "3"))
"""How many blocks of a file are damaged, one after the other. A thousand takes minutes and leaves out none."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of which node-1 and node-2 run. Of node-3 there are three copies.

    `killed` has a write-ahead log, as the node was killed; `older` is from the middle of its life; `stopped` is from an
    orderly end.
    """
    with Cluster() as cluster:
        cluster.start()
        node = cluster.nodes["node-1"]
        cluster.activate_policy(node)
        victim = cluster.nodes[VICTIM]
        copies = victim.home.parent
        for stage in ("older", "killed"):
            for number in range(8):
                node.client.submit(cluster.quarantine(f"{stage}-{number}"))
            cluster.settled()
            victim.process.signal(signal.SIGKILL)
            victim.process.wait()
            shutil.copytree(victim.home, copies / stage)
            if stage == "older":
                cluster.start(VICTIM)
        cluster.start(VICTIM)
        cluster.settled()
        assert victim.stop() == 0
        shutil.copytree(victim.home, copies / "stopped")
        yield cluster


@pytest.fixture
def victim(running: Cluster) -> Iterator[Node]:
    node = running.nodes[VICTIM]
    yield node
    node.kill()
    put(node, "stopped")


def put(node: Node, stage: str) -> Path:
    """Give the node the files of that stage of its life; its data directory."""
    shutil.rmtree(node.home)
    shutil.copytree(node.home.parent / stage, node.home)
    return node.home / "data"


def keep(node: Node) -> None:
    """The node has run: what it was before must never come back, not even in a test."""
    assert node.stop() == 0
    shutil.rmtree(node.home.parent / "stopped")
    shutil.copytree(node.home, node.home.parent / "stopped")


def look(node: Node) -> Examination:
    """Examine the node; nothing may change."""
    before = damage.digests(node.home)
    found = examine(node.config, None)
    assert damage.digests(node.home) == before, "the examination changed something"
    return found


def command(node: Node, name: str = "check-store") -> Result:
    return CliRunner().invoke(main, [name, "--config", str(node.config)])


STORE = {
    "database": ("stopped", "data/node.db"),
    "database before its log was folded in": ("killed", "data/node.db"),
    "write-ahead log": ("killed", "data/node.db-wal"),
    "guard": ("stopped", "data/node.db.guard"),
}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("what", STORE)
def test_whatever_happens_to_a_file_is_refused_or_does_no_harm(victim: Node, what: str, tmp_path: Path) -> None:
    """Refused: something is named, and a way back told. Not refused: what the node would serve is as it was."""
    stage, name = STORE[what]
    data = put(victim, stage)
    file, refused, unharmed = victim.home / name, 0, []
    whole = tmp_path / "whole"
    shutil.copytree(data, whole)
    assert look(victim).is_whole
    expected = damage.dump(whole / "node.db")
    shutil.copy(data / file.name, tmp_path / "original")
    for kind, hurt in damage.everywhere(file, BLOCKS):
        hurt(file)
        found = look(victim)
        if found.is_whole:
            unharmed.append(kind)
            shutil.rmtree(tmp_path / "kept", ignore_errors=True)
            shutil.copytree(data, tmp_path / "kept")
            assert damage.dump(tmp_path / "kept" / "node.db") == expected, f"{kind}: served, but not what was stored"
        else:
            refused += 1
            start = found.findings[-1]
            assert start.condition is not Condition.INTACT, (kind, found)
            assert start.detail and "\n" not in start.detail and "Traceback" not in start.detail, kind
            assert "node.db" in start.detail, (kind, start.detail)
        shutil.copy(tmp_path / "original", file)
    print(f"\n{what}: {refused} refused, {len(unharmed)} did no harm")
    # What the log holds supersedes the pages below it, so much damage there does no harm.
    assert refused > len(unharmed) or stage == "killed"
    assert not {"deleted", "emptied", "rubbish", "all zero"} & set(unharmed)


FILES = {
    "key": ("node-3.key.pem", "key"),
    "certificate": ("node-3.cert.pem", "cert"),
    "configuration": ("node.toml", "configuration damaged"),
}


@pytest.mark.parametrize("what", FILES)
def test_damaged_key_material_and_configuration_are_named(victim: Node, what: str, tmp_path: Path) -> None:
    name, said = FILES[what]
    file = victim.home / name
    shutil.copy(file, tmp_path / "original")
    mode = file.stat().st_mode & 0o777
    for kind, hurt in (
        ("deleted", damage.delete),
        ("emptied", damage.replace(b"")),
        ("half", damage.cut(file.stat().st_size // 2)),
        ("rubbish", damage.replace(b"\xff\x00rubbish" * 20)),
        ("one bit", damage.flip(60 if what != "configuration" else 0, 0x80)),
        ("of another node", damage.replace(of_another(victim, name))),
    ):
        hurt(file)
        if file.exists():
            file.chmod(mode)
        result = command(victim)
        assert (result.exit_code, said in result.output) == (2, True), (kind, result.output)
        assert "The way back" in result.output and "Traceback" not in result.output
        file.unlink(missing_ok=True)
        shutil.copy(tmp_path / "original", file)
        file.chmod(mode)
    assert look(victim).is_whole


def of_another(victim: Node, name: str) -> bytes:
    """The same file of node-1; its configuration names files that are not there."""
    return (victim.home.parent / "node-1" / name.replace("3", "1")).read_bytes()


def older_database(node: Node) -> None:
    """Only the database is put back, as a careless restore would."""
    for name in ("node.db", "node.db-wal"):
        (node.home / "data" / name).unlink(missing_ok=True)
        source = node.home.parent / "older" / "data" / name
        if source.exists():
            shutil.copy(source, node.home / "data" / name)


def database_of_another(node: Node) -> None:
    source = node.home.parent / "node-1" / "data" / "node.db"
    with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(node.database)) as other:
        one.backup(other)


def emptied_directory(node: Node) -> None:
    shutil.rmtree(node.home / "data")


def no_log(node: Node) -> None:
    put(node, "killed")
    (node.home / "data" / "node.db-wal").unlink()


def no_guard(node: Node) -> None:
    (node.home / "data" / "node.db.guard").unlink()


def no_database(node: Node) -> None:
    node.database.unlink()


def bad_snapshot(node: Node) -> None:
    (node.home / "data" / "node.db.snapshot").write_bytes(b"half a snapshot")


def bad_page(node: Node) -> None:
    damage.fill(2 * damage.PAGE, damage.PAGE)(node.database)


WAYS_BACK = {
    "older database": (older_database, "lacks the last", "Leave the node stopped, for good"),
    "database of another": (database_of_another, "belongs to node_id `node-1`", "Point `node.data_dir`"),
    "emptied directory": (emptied_directory, "does not exist", "Only if this node has never run"),
    "no write-ahead log": (no_log, "lacks the last", "Leave the node stopped, for good"),
    "no guard": (no_guard, "has lost `node.db.guard`", "Leave the node stopped, for good"),
    "no database": (no_database, "is missing, but the node has run", "Leave the node stopped, for good"),
    "a zero page": (bad_page, "damaged", "Leave the node stopped, for good"),
    "a bad snapshot": (bad_snapshot, "node.db.snapshot", "it replays its journal"),
}


@pytest.mark.parametrize("what", WAYS_BACK)
def test_a_refused_start_names_the_damage_and_the_command_that_tells_the_way_back(victim: Node, what: str) -> None:
    hurt, said, way_back = WAYS_BACK[what]
    hurt(victim)
    before = damage.digests(victim.home)
    code, log = victim.run_to_end()
    assert (code, said in log) == (3, True), log
    assert len(log.strip().splitlines()) == 1, log
    assert f"govraft-node check-store --config {victim.config}" in log
    result = command(victim)
    assert (result.exit_code, way_back in result.output) == (3, True), result.output
    assert said in result.output
    after = damage.digests(victim.home)
    if hurt is bad_snapshot:
        # Found last, after the store was opened and its count of writes had risen.
        before, after = (
            {name: value for name, value in item.items() if "node.db" not in name} for item in (before, after)
        )
    assert after == before, "the evidence was changed"


def test_the_way_back_from_a_bad_snapshot_works(running: Cluster, victim: Node) -> None:
    bad_snapshot(victim)
    (victim.home / "data" / "node.db.snapshot").rename(victim.home / "moved-away")
    assert "the node would start" in command(victim).output
    (victim.home / "moved-away").unlink()
    running.start(VICTIM)
    running.settled()
    keep(victim)


def test_the_others_go_on_without_the_damaged_one(running: Cluster, victim: Node) -> None:
    bad_page(victim)
    victim.run_to_end()
    receipt = running.nodes["node-1"].client.submit(running.quarantine("meanwhile"))
    assert running.nodes["node-2"].check("anybody", at_least=receipt.certified_seq)


def test_an_emptied_data_directory_is_not_a_new_node(victim: Node) -> None:
    """Neither without the directory, nor with an empty one, nor with an empty guard; and nothing is made there."""
    for make in (lambda data: None, Path.mkdir, lambda data: (data.mkdir(), (data / "node.db.guard").touch())):
        shutil.rmtree(victim.home / "data", ignore_errors=True)
        make(victim.home / "data")
        code, log = victim.run_to_end()
        assert (code, "does not exist; if the node has run before, its store is lost" in log) == (3, True), log
        assert not victim.database.exists()


def test_a_store_is_made_once(victim: Node) -> None:
    for hurt in (lambda node: None, no_guard, no_database):
        put(victim, "stopped")
        hurt(victim)
        before = damage.digests(victim.home)
        result = command(victim, "create-store")
        assert (result.exit_code, "exists already" in result.output) == (3, True), result.output
        assert damage.digests(victim.home) == before
    emptied_directory(victim)
    assert command(victim, "create-store").exit_code == 0
    assert look(victim).is_whole


def test_a_store_in_use_is_left_alone(running: Cluster) -> None:
    node = running.nodes["node-1"]
    result = command(node)
    assert (result.exit_code, "stop the node first" in result.output) == (3, True), result.output
    assert node.may_allow()


def test_an_examination_that_finds_no_room_says_so(victim: Node, tmp_path: Path) -> None:
    missing = tmp_path / "file"
    missing.touch()
    result = CliRunner().invoke(main, ["check-store", "--config", str(victim.config), "--scratch", str(missing)])
    assert result.exit_code == 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "copyfile", _no_room)
        result = command(victim)
    assert (result.exit_code, "No space left" in result.output) == (3, True), result.output
    assert "untouched directory" in result.output


def _no_room(source: Path, target: Path) -> None:
    raise OSError(28, "No space left on device", str(target))


def record(node: Node, name: str) -> dict[str, Any]:
    with closing(sqlite3.connect(node.database)) as connection:
        (text,) = connection.execute("SELECT value FROM records WHERE name = ?", (name,)).fetchone()
    return dict(msgspec.json.decode(text))


def forget_entries(node: Node, *, uncommitted_too: bool) -> None:
    """Take the newest entry out of the journal, and mend every count and checksum that speaks of it."""
    summary, hard_state = record(node, "summary"), record(node, "hard_state")
    last = summary["journal_last"]
    rows = [record_row("summary", summary | {"journal_last": last - 1})]
    if uncommitted_too:
        rows.append(record_row("hard_state", hard_state | {"commit_index": min(hard_state["commit_index"], last - 1)}))
    with closing(sqlite3.connect(node.database)) as connection, connection:
        connection.execute("DELETE FROM journal WHERE idx = ?", (last,))
        connection.executemany("INSERT OR REPLACE INTO records VALUES (?, ?, ?)", rows)


def lower_the_term(node: Node) -> None:
    """Take back a term and its vote: Raft's promise, not the lineage's."""
    hard_state = record(node, "hard_state")
    row = record_row("hard_state", hard_state | {"term": -1})
    with closing(sqlite3.connect(node.database)) as connection, connection:
        connection.execute("INSERT OR REPLACE INTO records VALUES (?, ?, ?)", row)


KNOWING = {
    "the newest entry": (lambda node: forget_entries(node, uncommitted_too=False), "holds entries up to"),
    "the newest entry, and that it was committed": (
        lambda node: forget_entries(node, uncommitted_too=True),
        "journal",
    ),
    "an impossible term": (lower_the_term, "hard_state|index|term"),
}


@pytest.mark.parametrize("what", KNOWING)
def test_what_a_knowing_tamperer_takes_away_is_missed(victim: Node, what: str) -> None:
    hurt, said = KNOWING[what]
    hurt(victim)
    found = look(victim)
    assert not found.is_whole
    assert re.search(said, found.findings[-1].detail), found.findings[-1]
    assert found.way_back[0].startswith("Leave the node stopped")


def lower_what_was_signed(node: Node) -> None:
    """Take back the last two seqs that the node has acked, and mend every count and checksum that speaks of them."""
    with closing(sqlite3.connect(node.database)) as connection, connection:
        leaves = [row[0] for row in connection.execute("SELECT leaf FROM leaves ORDER BY seq")]
        lineage = MerkleTree()
        for leaf in leaves[:-2]:
            lineage.append(leaf)
        (text,) = connection.execute("SELECT value FROM records WHERE name = 'summary'").fetchone()
        summary = msgspec.json.decode(text) | {"cosigner_seq": len(leaves) - 2}
        for row in (
            record_row("cosigner", CosignerRecord(len(leaves) - 2, lineage.root())),
            record_row("summary", summary),
        ):
            connection.execute("INSERT OR REPLACE INTO records VALUES (?, ?, ?)", row)


def test_a_lowered_cosigner_record_is_found_out_by_the_others() -> None:
    """A knowing tamperer who lowers what was signed, and recomputes all checksums, deceives nothing that is local.

    The other members show the node what its key has signed: it signs nothing more. It is of no use to other tests then.
    """
    with Cluster() as cluster:
        cluster.start()
        for number in range(3):
            cluster.nodes["node-1"].client.submit(cluster.quarantine(f"number-{number}"))
        cluster.settled()
        victim = cluster.nodes[VICTIM]
        assert victim.stop() == 0
        lower_what_was_signed(victim)
        assert look(victim).is_whole
        victim.start()
        eventually(lambda: victim.check("number-0").reason == "node_isolated", cluster.describe)
        assert victim.status()["isolation"]["reason"] == "store_older_than_own_signatures"
