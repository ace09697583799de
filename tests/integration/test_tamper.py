"""A node whose files were changed while it was down: it refuses to start, or isolates itself, and says what is wrong."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from integration.cluster_harness import Cluster, Node, eventually

from govraft.adapters.store_rows import journal_checksum, leaf_checksum, record_row
from govraft.core.codec.canonical import pack, unpack
from govraft.core.lineage.leaf import Leaf
from govraft.core.lineage.tree import MerkleTree
from govraft.core.machine.machine import Machine
from govraft.errors import GovraftError
from govraft.ports.store import CosignerRecord

pytestmark = pytest.mark.cluster

VICTIM = "node-3"


@pytest.fixture(scope="module")
def stopped() -> Iterator[Cluster]:
    """A cluster with some history, of which node-1 and node-2 run; node-3 was stopped in order."""
    with Cluster() as cluster:
        cluster.start()
        cluster.activate_policy(cluster.nodes["node-1"])
        for number in range(5):
            cluster.nodes["node-1"].client.submit(cluster.quarantine(f"agent-{number}"))
        cluster.settled()
        victim = cluster.nodes[VICTIM]
        assert victim.stop() == 0
        shutil.copytree(victim.home, victim.home.with_name("pristine"))
        cluster.wait_allow("node-1", "node-2")
        yield cluster


@pytest.fixture
def victim(stopped: Cluster) -> Iterator[Node]:
    """The stopped node, its files as they were; whatever a test does to them is undone."""
    node = stopped.nodes[VICTIM]
    yield node
    node.kill()
    shutil.rmtree(node.home)
    shutil.copytree(node.home.with_name("pristine"), node.home)


def execute(node: Node, *statements: tuple[str, tuple[object, ...]]) -> None:
    with closing(sqlite3.connect(node.database)) as connection, connection:
        for statement, values in statements:
            connection.execute(statement, values)


def journal(node: Node) -> list[tuple[int, int, bytes]]:
    with closing(sqlite3.connect(node.database)) as connection:
        return list(connection.execute("SELECT idx, term, payload FROM journal ORDER BY idx"))


def leaves(node: Node) -> list[bytes]:
    with closing(sqlite3.connect(node.database)) as connection:
        return [row[0] for row in connection.execute("SELECT leaf FROM leaves ORDER BY seq")]


def checksum(node: Node, seq: int, leaf: bytes) -> bytes:
    """What the row of `seq` must say for `leaf` to be taken for its own."""
    with closing(sqlite3.connect(node.database)) as connection:
        (index,) = connection.execute("SELECT idx FROM leaves WHERE seq = ?", (seq,)).fetchone()
    return leaf_checksum(seq, index, leaf)


def last_command(node: Node) -> tuple[int, int, bytes]:
    """The newest journal row that holds a command, not one of the engine's own entries."""
    return next(row for row in reversed(journal(node)) if b"envelope" in row[2])


def altered(payload: bytes) -> bytes:
    """The entry with one byte of its envelope changed: readable, but no longer what was signed."""
    marker, entry = payload[:1], unpack(payload[1:], max_bytes=len(payload))
    entry["envelope"] = (
        entry["envelope"].replace(b"agent-4", b"agent-5").replace(b"YWdlbnQtNA", b"YWdlbnQtNQ")[:-3] + b"]} "
    )
    return marker + pack(entry)


def content(node: Node) -> object:
    """What the database says, its count of writes left out; its bytes if it cannot be read."""
    tables = ("meta", "journal", "leaves", "records WHERE name <> 'summary'")
    if not node.database.exists():
        return None
    try:
        with closing(sqlite3.connect(f"file:{node.database}?immutable=1", uri=True)) as connection:
            return [list(connection.execute(f"SELECT * FROM {table}")) for table in tables]
    except sqlite3.Error:
        return node.database.read_bytes()


def change_journal(node: Node) -> None:
    index, _, payload = last_command(node)
    execute(node, ("UPDATE journal SET payload = ? WHERE idx = ?", (altered(payload), index)))


def change_journal_and_checksum(node: Node) -> None:
    index, term, payload = last_command(node)
    changed = altered(payload)
    values = (changed, journal_checksum(index, term, changed), index)
    execute(node, ("UPDATE journal SET payload = ?, checksum = ? WHERE idx = ?", values))


def drop_journal_row(node: Node) -> None:
    execute(node, ("DELETE FROM journal WHERE idx = ?", (journal(node)[-2][0],)))


def drop_newest_journal_row(node: Node) -> None:
    execute(node, ("DELETE FROM journal WHERE idx = ?", (journal(node)[-1][0],)))


def swap_leaves(node: Node) -> None:
    found = leaves(node)
    swapped = [(found[4], checksum(node, 4, found[4]), 4), (found[3], checksum(node, 5, found[3]), 5)]
    execute(node, *(("UPDATE leaves SET leaf = ?, checksum = ? WHERE seq = ?", item) for item in swapped))


def swap_leaves_with_their_checksums(node: Node) -> None:
    execute(
        node,
        ("UPDATE leaves SET seq = -4 WHERE seq = 4", ()),
        ("UPDATE leaves SET seq = 4 WHERE seq = 5", ()),
        ("UPDATE leaves SET seq = 5 WHERE seq = -4", ()),
    )


def change_leaf(node: Node) -> None:
    leaf = msgspec.structs.replace(Leaf.decode(leaves(node)[4]), outcome="expired").encode()
    execute(node, ("UPDATE leaves SET leaf = ?, checksum = ? WHERE seq = 5", (leaf, checksum(node, 5, leaf))))


def change_genesis_leaf(node: Node) -> None:
    leaf = msgspec.structs.replace(Leaf.decode(leaves(node)[0]), epoch=2).encode()
    execute(node, ("UPDATE leaves SET leaf = ?, checksum = ? WHERE seq = 1", (leaf, checksum(node, 1, leaf))))


def change_cosigner(node: Node) -> None:
    record = CosignerRecord(len(leaves(node)), b"\x01" * 32)
    execute(node, ("INSERT OR REPLACE INTO records VALUES (?, ?, ?)", record_row("cosigner", record)))


def truncate(node: Node) -> None:
    with node.database.open("r+b") as file:
        file.truncate(node.database.stat().st_size // 2 + 100)


def flip_a_bit(node: Node) -> None:
    content = bytearray(node.database.read_bytes())
    content[content.rindex(b"payloadType")] ^= 1
    node.database.write_bytes(content)


def overwrite(node: Node) -> None:
    node.database.write_bytes(b"not a database at all " * 500)


def take_that_of_another(node: Node) -> None:
    other = node.home.with_name("node-1") / "data" / "node.db"
    with closing(sqlite3.connect(other)) as source, closing(sqlite3.connect(node.database)) as target:
        source.backup(target)


def remove(node: Node) -> None:
    node.database.unlink()


def restore_an_older_copy(node: Node) -> None:
    """Take back the newest row, in a way that all counts and checksums agree: only the guard beside it remembers."""
    with closing(sqlite3.connect(node.database)) as connection, connection:
        (text,) = connection.execute("SELECT value FROM records WHERE name = 'summary'").fetchone()
        summary = json.loads(text)
        summary["writes"] -= 1
        connection.execute("UPDATE records SET value = ?, checksum = ? WHERE name = ?", _summary_row(summary))


def _summary_row(summary: dict[str, object]) -> tuple[str, bytes, str]:
    name, text, checksum = record_row("summary", summary)
    return text, checksum, name


REFUSED: dict[str, tuple[Callable[[Node], None], str]] = {
    "journal row": (change_journal, "damaged journal entry at index"),
    "journal row, checksum recomputed": (change_journal_and_checksum, "differs from the replayed journal at seq 8"),
    "journal row missing": (drop_journal_row, "lacks journal entry"),
    "newest journal row missing": (drop_newest_journal_row, "number of journal entries should be"),
    "lineage rows swapped": (swap_leaves, "differs from the replayed journal at seq 4"),
    "lineage rows renumbered": (swap_leaves_with_their_checksums, "damaged leaf at seq 4"),
    "leaf": (change_leaf, "differs from the replayed journal at seq 5"),
    "genesis leaf": (change_genesis_leaf, "differs from the replayed journal at seq 1"),
    "cosigner record": (change_cosigner, "cosigned another lineage at seq 8"),
    "truncated": (truncate, "damaged"),
    "one bit": (flip_a_bit, "damaged"),
    "not a database": (overwrite, "is damaged or not a database"),
    "of another node": (take_that_of_another, "belongs to node_id `node-1`"),
    "removed": (remove, "is missing, but the node has run with it"),
    "older": (restore_an_older_copy, "lacks the last 1 writes"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_node_with_tampered_data_does_not_start(stopped: Cluster, victim: Node, what: str) -> None:
    tamper, said = REFUSED[what]
    tamper(victim)
    before = content(victim)
    code, log = victim.run_to_end()
    assert (code, said in log) == (3, True), log
    assert "Traceback" not in log
    assert content(victim) == before, "the evidence was changed"
    stopped.wait_allow("node-1")


def test_a_node_with_another_genesis_does_not_start(stopped: Cluster, victim: Node, tmp_path: Path) -> None:
    """First one in which it is no member with its key, then one that would do, but for its own history."""
    with Cluster() as foreign:
        other = tmp_path / "genesis.json"
        shutil.copy(foreign.home / "genesis.json", other)
    point_at(victim, other)
    code, log = victim.run_to_end()
    assert (code, f"belongs to cluster_id `{stopped.genesis.cluster_id}`" in log) == (3, True), log

    fields = json.loads((stopped.home / "genesis.json").read_text())
    other.write_bytes((stopped.home / "genesis.json").read_bytes().replace(fields["nonce"].encode(), b"0" * 32))
    code, log = victim.run_to_end()
    assert (code, f"belongs to cluster_id `{stopped.genesis.cluster_id}`" in log) == (3, True), log

    other.write_bytes(b"{}")
    code, log = victim.run_to_end()
    assert (code, "genesis" in log) == (2, True), log


def point_at(node: Node, genesis: Path) -> None:
    node.config.write_text(node.config.read_text().replace("../../genesis.json", str(genesis)))


def rewrite_history(stopped: Cluster, node: Node) -> None:
    """Change one command and recompute everything that hangs on it: the forgery that only the peers can see."""
    index, term, payload = last_command(node)
    changed = altered(payload)
    machine, lineage = Machine(stopped.genesis), MerkleTree()
    lineage.append(machine.genesis_leaf)
    rows: list[tuple[str, tuple[object, ...]]] = [
        (
            "UPDATE journal SET payload = ?, checksum = ? WHERE idx = ?",
            (changed, journal_checksum(index, term, changed), index),
        )
    ]
    for number, _, entry in journal(node):
        if b"envelope" not in entry:
            continue
        applied = machine.apply((changed if number == index else entry)[1:])
        lineage.append(applied.leaf)
        values = (applied.leaf, checksum(node, applied.seq, applied.leaf), applied.seq)
        rows.append(("UPDATE leaves SET leaf = ?, checksum = ? WHERE seq = ?", values))
    record = CosignerRecord(machine.seq, lineage.root())
    rows.append(("INSERT OR REPLACE INTO records VALUES (?, ?, ?)", record_row("cosigner", record)))
    execute(node, *rows)


@pytest.mark.clause("1 immutable governance lineage")
@pytest.mark.clause("8 immutable consensus lineage")
def test_a_node_with_a_rewritten_history_isolates_itself_for_good(stopped: Cluster, victim: Node) -> None:
    rewrite_history(stopped, victim)
    victim.start()
    isolation = eventually(lambda: victim.status()["isolation"], lambda: stopped.describe() + victim.log())
    # Whatever it is shown first: what a quorum certified, or what its own key has signed.
    if isolation["reason"] == "runtime_state_fragmented":
        assert "section `entities` differs" in isolation["detail"]
        reason = "runtime_state_fragmented"
    else:
        assert isolation["reason"] == "store_older_than_own_signatures"
        reason = "node_isolated"
    assert victim.check("agent-0").reason == victim.check("anybody").reason == reason
    # The others go on, and nothing that they decide makes it come back.
    receipt = stopped.nodes["node-1"].client.submit(stopped.quarantine("later"))
    assert victim.check("anybody").reason == reason
    assert stopped.nodes["node-2"].check("anybody", at_least=receipt.certified_seq)

    victim.kill()
    victim.start()
    eventually(lambda: victim.status()["isolation"] == isolation, lambda: stopped.describe() + victim.log())
    assert victim.check("anybody").reason == reason
    assert stored_isolation(victim)["evidence"], "no evidence was kept"
    with pytest.raises(GovraftError):
        victim.client.submit(stopped.quarantine("by-the-isolated"), timeout=0.2)


def stored_isolation(node: Node) -> dict[str, str]:
    with closing(sqlite3.connect(node.database)) as connection:
        (text,) = connection.execute("SELECT value FROM records WHERE name = 'isolation'").fetchone()
        return dict(json.loads(text))
