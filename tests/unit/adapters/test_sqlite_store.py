"""The SQLite store: what it keeps through a kill, and what it refuses to open."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from govraft.adapters.sqlite_store import SqliteStore, create_store, read_leaves
from govraft.adapters.store_guard import StoreGuard, guard_path
from govraft.adapters.store_rows import journal_checksum, leaf_checksum
from govraft.errors import CorruptionError, InvariantViolation, StorageError
from govraft.ports.store import (
    CosignerRecord,
    HardState,
    JournalEntry,
    Store,
    StoreBeginning,
    StoredEpoch,
    StoredLeaf,
    StoredState,
    WriteBatch,
)

CLUSTER = "c" * 64
NODE = "node-1"


_opened: list[SqliteStore] = []


def open_store(path: Path, cluster_id: str = CLUSTER, node_id: str = NODE) -> SqliteStore:
    _opened.append(SqliteStore(path, cluster_id=cluster_id, node_id=node_id))
    return _opened[-1]


@pytest.fixture(autouse=True)
def _close_all() -> Iterator[None]:
    yield
    while _opened:
        _opened.pop().close()


def one_write(number: int) -> WriteBatch:
    """Everything that one entry makes a node write."""
    batch = WriteBatch()
    batch.append(JournalEntry(number, 7, b"entry %d" % number + bytes(500)))
    batch.set_hard_state(HardState(7, "node-2", number - 1))
    batch.add_leaf(number, b"leaf %d" % number + bytes(300), number - 1)
    batch.add_epoch(*epoch_fields(number + 1))
    batch.set_cosigner(CosignerRecord(number, bytes([number % 256]) * 32))
    return batch


def epoch_fields(epoch: int) -> tuple[int, int, bytes, bytes, bytes, bytes]:
    return epoch, 2 * epoch, b"lease %d" % epoch, b"records", b"leaf", b""


def expected_state(count: int, *, has_run_before: bool) -> StoredState:
    return StoredState(
        journal=[JournalEntry(n, 7, b"entry %d" % n + bytes(500)) for n in range(1, count + 1)],
        hard_state=HardState(7, "node-2", count - 1) if count else HardState(),
        leaves=[StoredLeaf(n - 1, b"leaf %d" % n + bytes(300)) for n in range(1, count + 1)],
        cosigner=CosignerRecord(count, bytes([count % 256]) * 32) if count else None,
        isolation=None,
        has_run_before=has_run_before,
        epochs=tuple(StoredEpoch(*epoch_fields(n + 1)) for n in range(1, count + 1)),
    )


def loaded(store: SqliteStore) -> StoredState:
    """What the store holds, with its two long sequences read into lists."""
    state = store.load()
    return msgspec.structs.replace(state, journal=list(state.journal), leaves=list(state.leaves))


def leaf_bytes(count: int) -> list[bytes]:
    return [row.leaf for row in expected_state(count, has_run_before=True).leaves]


def fill(path: Path, count: int) -> None:
    store = open_store(path)
    for number in range(1, count + 1):
        store.write(one_write(number))
    store.close()


def files_of(path: Path) -> list[Path]:
    return [path, path.with_name(path.name + "-wal"), guard_path(path)]


def contents(path: Path) -> dict[str, bytes | None]:
    return {file.name: file.read_bytes() if file.exists() else None for file in files_of(path)}


def tamper(path: Path, statement: str, *values: object) -> None:
    """Change a row as a stranger with a standard tool would."""
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(statement, values)
    connection.close()


def assert_refused(path: Path, message: str) -> None:
    """Opening fails as corruption, names the file, and changes no byte of it."""
    before = contents(path)
    with pytest.raises(CorruptionError, match=message) as caught:
        open_store(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert contents(path) == before


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "node.db"


@pytest.fixture
def killed(tmp_path: Path) -> Iterator[Path]:
    """The files of a store whose process died after 30 writes: the write-ahead log was never folded in."""
    alive = tmp_path / "alive" / "node.db"
    dead = tmp_path / "dead" / "node.db"
    alive.parent.mkdir()
    dead.parent.mkdir()
    store = open_store(alive)
    for number in range(1, 31):
        store.write(one_write(number))
    for file in files_of(alive):
        shutil.copy(file, dead.parent / file.name)
    yield dead
    store.close()


def test_a_new_store_is_empty_and_says_so(path: Path) -> None:
    store: Store = open_store(path)
    assert loaded(store) == expected_state(0, has_run_before=False)
    store.close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_everything_written_is_there_after_reopening(path: Path) -> None:
    fill(path, 20)
    store = open_store(path)
    assert loaded(store) == expected_state(20, has_run_before=True)
    store.write(one_write(21))
    assert loaded(store) == expected_state(21, has_run_before=True)
    store.close()


def test_an_epoch_that_is_there_is_written_once(path: Path) -> None:
    fill(path, 3)
    store = open_store(path)
    batch = WriteBatch()
    batch.add_epoch(2, 4, b"a later certificate of the same", b"", b"", b"")
    store.write(batch)
    store.close()
    assert open_store(path).load().epochs == expected_state(3, has_run_before=True).epochs


@pytest.mark.parametrize(("epoch", "seq"), [(6, 20), (2, 5), (5, 8), (1, 4)])
def test_an_epoch_out_of_order_is_refused(path: Path, epoch: int, seq: int) -> None:
    fill(path, 3)
    store = open_store(path)
    batch = WriteBatch()
    batch.add_epoch(epoch, seq, b"lease", b"", b"", b"")
    with pytest.raises(InvariantViolation, match=f"epoch {epoch}"):
        store.write(batch)
    assert store.load().epochs == expected_state(3, has_run_before=True).epochs


def test_the_store_of_a_joining_node_begins_with_the_epochs(path: Path) -> None:
    epochs = expected_state(3, has_run_before=False).epochs
    create_store(path, cluster_id=CLUSTER, node_id=NODE, late=False, beginning=StoreBeginning(epochs=epochs))
    store = SqliteStore(path, cluster_id=CLUSTER, node_id=NODE, may_create=False)
    state = store.load()
    assert (state.epochs, state.has_run_before, len(state.leaves)) == (epochs, False, 0)
    batch = WriteBatch()
    batch.add_epoch(*epoch_fields(5))
    store.write(batch)
    store.close()
    assert len(open_store(path).load().epochs) == 4


def test_a_store_that_was_only_opened_counts_as_run_before(path: Path) -> None:
    open_store(path).close()
    store = open_store(path)
    assert store.load().has_run_before
    store.close()


def test_writes_happen_in_call_order(path: Path) -> None:
    store = open_store(path)
    batch = WriteBatch()
    batch.append(JournalEntry(1, 1, b"old 1"))
    batch.append(JournalEntry(2, 1, b"old 2"))
    batch.truncate_from(2)
    batch.append(JournalEntry(2, 2, b"new 2"))
    batch.set_isolation("lineage_inconsistent", "two roots", b"\x00\xffevidence")
    batch.set_isolation("other", "ignored", b"")
    store.write(batch)
    store.close()
    store = open_store(path)
    state = loaded(store)
    store.close()
    assert state.journal == [JournalEntry(1, 1, b"old 1"), JournalEntry(2, 2, b"new 2")]
    assert state.isolation is not None
    assert (state.isolation.reason, state.isolation.evidence) == ("lineage_inconsistent", b"\x00\xffevidence")


def test_a_batch_that_breaks_a_rule_writes_nothing_and_stops_nothing(path: Path) -> None:
    fill(path, 3)
    store = open_store(path)
    bad = WriteBatch()
    bad.append(JournalEntry(4, 7, b"first half"))
    bad.set_cosigner(CosignerRecord(2, bytes(32)))
    with pytest.raises(InvariantViolation, match="must not go from seq 3"):
        store.write(bad)
    assert loaded(store) == expected_state(3, has_run_before=True)
    store.write(one_write(4))
    store.close()


def test_every_commit_is_synced(path: Path) -> None:
    store = open_store(path)
    connection = store._connection
    assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2
    assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    store.close()


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_every_commit_calls_the_disk(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-e", "trace=fsync,fdatasync", "-o", str(trace), sys.executable, "-c", WRITER]
    subprocess.run([*command, str(tmp_path / "node.db"), "1", "20"], check=True, capture_output=True, timeout=30)
    assert trace.read_text().count("sync(") >= 20


WRITER = """
import sys
from pathlib import Path
from govraft.adapters.sqlite_store import SqliteStore
from govraft.ports.store import CosignerRecord, HardState, JournalEntry, WriteBatch
store = SqliteStore(Path(sys.argv[1]), cluster_id="c" * 64, node_id="node-1")
for number in range(int(sys.argv[2]), int(sys.argv[3]) + 1):
    batch = WriteBatch()
    batch.append(JournalEntry(number, 7, b"entry %d" % number + bytes(500)))
    batch.set_hard_state(HardState(7, "node-2", number - 1))
    batch.add_leaf(number, b"leaf %d" % number + bytes(300), number - 1)
    batch.add_epoch(number + 1, 2 * number + 2, b"lease %d" % (number + 1), b"records", b"leaf", b"")
    batch.set_cosigner(CosignerRecord(number, bytes([number % 256]) * 32))
    store.write(batch)
    print(number, flush=True)
"""


def test_survives_kill(path: Path) -> None:
    rng = random.Random(20)
    written = 0
    for _ in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(written + 1), "1000000"], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        acknowledged = written
        for _ in range(rng.randrange(1, 120)):
            acknowledged = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)
        rest = process.stdout.read().split()
        process.wait()
        process.stdout.close()
        acknowledged = int(rest[-1]) if rest else acknowledged
        store = open_store(path)
        state = loaded(store)
        store.close()
        written = len(state.leaves)
        assert written in (acknowledged, acknowledged + 1), "an acknowledged write is lost, or one came from nowhere"
        assert state == expected_state(written, has_run_before=True)


def test_a_second_opener_is_refused(path: Path) -> None:
    store = open_store(path)
    with pytest.raises(StorageError, match="in use by another process") as caught:
        open_store(path)
    assert caught.value.code == "storage_in_use"
    script = WRITER.replace("for number", "raise SystemExit(9)\nfor number")
    other = subprocess.run(
        [sys.executable, "-c", script, str(path), "1", "1"], capture_output=True, text=True, timeout=30, check=False
    )
    assert other.returncode == 1
    assert "in use by another process" in other.stderr
    store.write(one_write(1))
    store.close()
    open_store(path).close()


def test_a_symlink_does_not_evade_the_lock(path: Path, tmp_path: Path) -> None:
    store = open_store(path)
    link = tmp_path / "link.db"
    link.symlink_to(path)
    with pytest.raises(StorageError, match="in use"):
        open_store(link)
    store.close()


def test_standard_tools_can_read_a_live_store(path: Path, tmp_path: Path) -> None:
    store = open_store(path)
    store.write(one_write(1))
    tool = sqlite3.connect(path)
    assert tool.execute("SELECT count(*) FROM leaves").fetchone() == (1,)
    copy = sqlite3.connect(tmp_path / "copy.db")
    tool.backup(copy)
    copy.close()
    store.write(one_write(2))
    tool.close()
    assert read_leaves(path) == leaf_bytes(2)
    store.close()
    assert read_leaves(tmp_path / "copy.db") == leaf_bytes(1)
    with pytest.raises(CorruptionError, match=r"has lost `copy.db.guard`"):
        open_store(tmp_path / "copy.db")


def test_tools_may_tidy_up_after_a_kill(killed: Path) -> None:
    tool = sqlite3.connect(killed)
    tool.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    tool.close()
    store = open_store(killed)
    assert loaded(store) == expected_state(30, has_run_before=True)
    store.close()


def test_a_killed_store_comes_back(killed: Path) -> None:
    store = open_store(killed)
    assert loaded(store) == expected_state(30, has_run_before=True)
    store.close()


def test_a_lost_write_ahead_log_is_noticed(killed: Path) -> None:
    killed.with_name("node.db-wal").unlink()
    assert_refused(killed, "lacks the last 31 writes")


def test_a_damaged_write_ahead_log_is_noticed(killed: Path) -> None:
    log = killed.with_name("node.db-wal")
    content = bytearray(log.read_bytes())
    content[len(content) // 2] ^= 0x40
    log.write_bytes(content)
    assert_refused(killed, r"lacks the last \d+ writes")


def test_an_older_copy_is_noticed(path: Path) -> None:
    fill(path, 3)
    older = path.read_bytes()
    store = open_store(path)
    store.write(one_write(4))
    store.close()
    path.write_bytes(older)
    assert_refused(path, "older copy")


def test_a_missing_database_is_not_taken_for_a_new_node(path: Path) -> None:
    fill(path, 1)
    path.unlink()
    assert_refused(path, "is missing, but the node has run with it")


@pytest.mark.parametrize("guard", [None, b"", b"short", b"\0" * 24, b"\0" * 25])
def test_a_missing_or_damaged_guard_is_refused(path: Path, guard: bytes | None) -> None:
    fill(path, 1)
    if guard is None:
        guard_path(path).unlink()
    else:
        guard_path(path).write_bytes(guard)
    assert_refused(path, "guard")


def test_an_interrupted_creation_is_repeated(path: Path) -> None:
    guard_path(path).write_bytes(b"")
    path.with_name("node.db.new").write_bytes(b"half a database")
    path.with_name("node.db.new-journal").write_bytes(b"half a journal")
    store = open_store(path)
    assert not store.load().has_run_before
    store.close()
    path.unlink()
    guard_path(path).unlink()
    guard = StoreGuard(path)
    guard.mark(0, sync=True)
    guard.release()
    store = open_store(path)
    assert not store.load().has_run_before
    store.close()
    assert not path.with_name("node.db.new").exists()


@pytest.mark.parametrize("content", [b"", b"not a database at all" * 100, b"SQLite format 3\0" + bytes(4080)])
@pytest.mark.parametrize("guarded", [True, False])
def test_a_file_of_another_kind_is_refused(path: Path, content: bytes, guarded: bool) -> None:
    if guarded:
        fill(path, 1)
    path.write_bytes(content)
    assert_refused(path, "is not a govraft store|not a database|malformed")


def test_another_applications_database_is_refused(path: Path) -> None:
    tamper(path, "CREATE TABLE journal (idx INTEGER PRIMARY KEY)")
    assert_refused(path, "is not a govraft store")
    assert not guard_path(path).exists()


def test_a_directory_or_a_missing_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="not a regular file"):
        open_store(tmp_path)
    with pytest.raises(StorageError, match="cannot open"):
        open_store(tmp_path / "missing" / "node.db")
    with pytest.raises(StorageError, match="does not exist"):
        read_leaves(tmp_path / "missing.db")


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("PRAGMA application_id = 1", "is not a govraft store"),
        ("PRAGMA user_version = 2", "schema version 2, this govraft reads 3"),
        ("UPDATE meta SET value = 'f' WHERE key = 'cluster_id'", "belongs to cluster_id `f`"),
        ("UPDATE meta SET value = 'node-2' WHERE key = 'node_id'", "belongs to node_id `node-2`"),
        ("DELETE FROM meta WHERE key = 'node_id'", "does not say which node"),
        ("DROP TABLE leaves", "tables, indices or triggers"),
        ("CREATE TRIGGER t AFTER INSERT ON journal BEGIN DELETE FROM leaves; END", "tables, indices or triggers"),
        ("UPDATE journal SET term = 8 WHERE idx = 5", "damaged journal entry at index 5"),
        ("UPDATE journal SET payload = x'00' WHERE idx = 5", "damaged journal entry at index 5"),
        ("UPDATE journal SET checksum = x'00' WHERE idx = 5", "damaged journal entry at index 5"),
        ("UPDATE journal SET idx = 11 WHERE idx = 10", "lacks journal entry 10"),
        ("UPDATE journal SET idx = -3 WHERE idx = 1", "lacks journal entry|damaged journal entry"),
        ("DELETE FROM journal WHERE idx = 5", "lacks journal entry 5"),
        ("DELETE FROM journal WHERE idx = 10", "number of journal entries should be 10, is 9"),
        ("DELETE FROM journal WHERE idx = 1", "number of journal entries should be 10, is 9"),
        ("DELETE FROM journal", "number of journal entries should be 10, is 0"),
        ("UPDATE leaves SET leaf = x'00' WHERE seq = 5", "damaged leaf at seq 5"),
        ("UPDATE leaves SET checksum = x'00' WHERE seq = 5", "damaged leaf at seq 5"),
        ("DELETE FROM leaves WHERE seq = 5", "lacks the leaf of seq 5"),
        ("DELETE FROM leaves WHERE seq = 10", "number of leaves should be 10, is 9"),
        ("UPDATE epochs SET lease = x'00' WHERE epoch = 5", "damaged row of epoch 5"),
        ("UPDATE epochs SET records = leaf, leaf = records WHERE epoch = 5", "damaged row of epoch 5"),
        ("UPDATE epochs SET seq = 11 WHERE epoch = 5", "damaged row of epoch 5"),
        ("UPDATE epochs SET epoch = 14 WHERE epoch = 5", "lacks epoch 5"),
        ("UPDATE epochs SET epoch = 1 WHERE epoch = 2", "lacks epoch 2"),
        ("DELETE FROM epochs WHERE epoch = 2", "lacks epoch 2"),
        ("DELETE FROM epochs WHERE epoch = 11", "number of epochs should be 10, is 9"),
        ("DROP TABLE epochs", "tables, indices or triggers"),
        ("UPDATE records SET value = '{}' WHERE name = 'hard_state'", "damaged record `hard_state`"),
        ("UPDATE records SET value = '{\"seq\":1}' WHERE name = 'cosigner'", "damaged record `cosigner`"),
        ("DELETE FROM records WHERE name = 'cosigner'", "last signed seq should be 10, is 0"),
        ("DELETE FROM records WHERE name = 'hard_state'", "lacks the record `hard_state`"),
        ("DELETE FROM records WHERE name = 'summary'", "lacks the record `summary`"),
    ],
)
def test_a_tampered_store_is_refused(path: Path, statement: str, message: str) -> None:
    fill(path, 10)
    tamper(path, statement)
    assert_refused(path, message)


def test_two_exchanged_rows_are_noticed(path: Path) -> None:
    fill(path, 5)
    tamper(path, "UPDATE leaves SET seq = -seq WHERE seq IN (2, 3)")
    tamper(path, "UPDATE leaves SET seq = 5 + seq WHERE seq < 0")
    assert_refused(path, "damaged leaf at seq 2")


def test_a_row_added_with_a_right_checksum_is_noticed(path: Path) -> None:
    fill(path, 5)
    tamper(path, "INSERT INTO leaves VALUES (6, 5, ?, ?)", b"forged", leaf_checksum(6, 5, b"forged"))
    assert_refused(path, "number of leaves should be 5, is 6")
    fill(path.with_name("b.db"), 5)
    tamper(path.with_name("b.db"), "INSERT INTO journal VALUES (6, 1, ?, ?)", b"f", journal_checksum(6, 1, b"f"))
    assert_refused(path.with_name("b.db"), "number of journal entries should be 5, is 6")


def test_another_cluster_or_node_is_refused(path: Path) -> None:
    fill(path, 1)
    before = contents(path)
    with pytest.raises(CorruptionError, match=r"belongs to cluster_id `c+`, not `d+`"):
        open_store(path, cluster_id="d" * 64)
    with pytest.raises(CorruptionError, match="belongs to node_id `node-1`, not `node-2`"):
        open_store(path, node_id="node-2")
    assert contents(path) == before


def flip_every_page(content: bytes, rng: random.Random) -> Iterator[bytes]:
    for start in range(0, len(content), 4096):
        damaged = bytearray(content)
        for position in rng.sample(range(start, start + 4096), 64):
            damaged[position] ^= rng.randrange(1, 256)
        yield bytes(damaged)


def test_damage_anywhere_is_noticed_or_harmless(path: Path) -> None:
    """64 damaged bytes in any page: refused, or so placed that nothing read differs (free space)."""
    fill(path, 10)
    intact, mark = path.read_bytes(), guard_path(path).read_bytes()
    refused = 0
    for damaged in flip_every_page(intact, random.Random(5)):
        path.write_bytes(damaged)
        guard_path(path).write_bytes(mark)
        try:
            store = open_store(path)
        except StorageError as error:
            assert isinstance(error, CorruptionError), error
            assert path.read_bytes() == damaged
            refused += 1
        else:
            assert loaded(store) == expected_state(10, has_run_before=True)
            store.close()
    assert refused >= 4


def test_damage_that_no_row_shows_is_noticed(path: Path) -> None:
    fill(path, 10)
    content = bytearray(path.read_bytes())
    content[36:40] = (3).to_bytes(4, "big")  # the header's number of free pages; there are none
    path.write_bytes(content)
    assert_refused(path, "is damaged: .*reelist")


def test_a_cut_file_is_refused(path: Path) -> None:
    fill(path, 10)
    content = path.read_bytes()
    for size in (len(content) - 4096, len(content) - 1, 5000, 100, 1):
        path.write_bytes(content[:size])
        with pytest.raises(CorruptionError):
            open_store(path)


def test_read_leaves_refuses_a_damaged_leaf(path: Path) -> None:
    fill(path, 3)
    assert read_leaves(path) == leaf_bytes(3)
    tamper(path, "UPDATE leaves SET leaf = x'00' WHERE seq = 3")
    with pytest.raises(CorruptionError, match="damaged leaf at seq 3"):
        read_leaves(path)


def fail_by_full_disk(store: SqliteStore) -> None:
    connection = store._connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")


def fail_by_guard(store: SqliteStore) -> None:
    os.close(store._guard._descriptor)


@pytest.mark.parametrize("fail", [fail_by_full_disk, fail_by_guard])
def test_a_failed_write_is_the_last(path: Path, fail: Callable[[SqliteStore], None]) -> None:
    store = open_store(path)
    store.write(one_write(1))
    fail(store)
    large = WriteBatch()
    large.append(JournalEntry(2, 7, bytes(200_000)))
    with pytest.raises(StorageError, match="cannot write") as caught:
        store.write(large)
    assert not caught.value.definite
    for _ in range(2):
        with pytest.raises(StorageError, match="takes no more writes") as refused:
            store.write(one_write(2))
        assert refused.value.code == "storage_stopped"
    with pytest.raises(StorageError, match="takes no more writes"):
        store.load()
        store.load()
    store.close()
    store = open_store(path)
    found = loaded(store)
    store.close()
    assert found.leaves == expected_state(1, has_run_before=True).leaves
    assert len(found.journal) == (1 if fail is fail_by_full_disk else 2)


def test_a_disk_that_cannot_be_written_stops_the_start(path: Path) -> None:
    fill(path, 1)
    tool = sqlite3.connect(path, isolation_level=None)
    tool.execute("BEGIN IMMEDIATE")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("govraft.adapters.store_files._BUSY_TIMEOUT_S", 0.01)
        with pytest.raises(StorageError, match="cannot write"):
            open_store(path)
    tool.execute("ROLLBACK")
    tool.close()
    open_store(path).close()


def test_a_closed_store_refuses(path: Path) -> None:
    store = open_store(path)
    store.close()
    store.close()
    with pytest.raises(StorageError, match="it is closed"):
        store.write(one_write(1))
    with pytest.raises(StorageError, match="it is closed"):
        store.load()
