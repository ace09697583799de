import os
import sqlite3
import stat
import threading

import pytest

from govraft.adapters.decision_log import DecisionLogFile, DecisionLogReader
from govraft.core.evidence.decisions import Mask, Noted, decode_leaf, gap_fields
from govraft.core.lineage.proofs import verify_consistency
from govraft.core.lineage.tree import MerkleTree
from govraft.errors import InputError, StorageError
from govraft.ports.decisions import StoredAnchor

CLUSTER = "ab" * 32


def noted(number, **fields):
    return Noted(gap_fields("n1", 1_700_000_000_000 + number, number + 1))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "decisions.db"


_opened = []


def open_log(path, **options):
    _opened.append(DecisionLogFile(path, cluster=CLUSTER, node="n1", **options))
    return _opened[-1]


@pytest.fixture(autouse=True)
def _close_all():
    yield
    while _opened:
        _opened.pop().close()


@pytest.fixture
def log(path):
    log = open_log(path)
    yield log
    log.close()


def batch(first, count):
    return [noted(number) for number in range(first, first + count)]


def test_an_appended_record_is_there_after_the_next_start(log, path):
    head = log.append(batch(0, 3))
    assert (head.size, len(head.log)) == (3, 32)
    log.close()
    assert open_log(path).head() == head


def test_its_root_is_that_of_the_tree_over_its_records(log, path):
    log.append(batch(0, 200))
    head = log.append(batch(200, 400))
    reader, tree = DecisionLogReader(path), MerkleTree()
    for index, leaf in enumerate(reader.leaves(0, 600)):
        assert decode_leaf(leaf).index == index
        tree.append(leaf)
    assert head.root == tree.root() == reader.tree.root()
    reader.close()


def test_it_goes_on_where_it_was(log, path):
    first = log.append(batch(0, 600))
    log.close()
    again = open_log(path)
    second = again.append(batch(600, 300))
    assert (second.log, second.size) == (first.log, 900)
    verify_consistency(600, first.root, 900, second.root, again.consistency(600, 900))
    assert again.root(600) == first.root
    again.close()


def test_a_lost_file_is_another_log(log, path):
    first = log.append(batch(0, 1))
    log.close()
    path.unlink()
    assert open_log(path).head().log != first.log


@pytest.mark.parametrize("foreign", [{"cluster": "cd" * 32, "node": "n1"}, {"cluster": CLUSTER, "node": "n2"}])
def test_a_log_of_somebody_else_is_left_alone(log, path, foreign):
    log.append(batch(0, 1))
    log.close()
    with pytest.raises(StorageError, match="move it away"):
        DecisionLogFile(path, **foreign).append(batch(1, 1))
    assert open_log(path).head().size == 1


def test_only_the_user_of_the_node_may_read_it(log, path):
    old = os.umask(0)
    try:
        log.append(batch(0, 1))
    finally:
        os.umask(old)
    for name in ("", "-wal", "-shm"):
        assert stat.S_IMODE(path.with_name(path.name + name).stat().st_mode) == 0o600


def test_after_a_failed_write_the_file_is_looked_at_again(log, path):
    before = log.append(batch(0, 10))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("CREATE TRIGGER full BEFORE INSERT ON record WHEN NEW.idx = 12 BEGIN SELECT RAISE(FAIL, 'full'); END")
    with pytest.raises(StorageError, match="full"):
        log.append(batch(10, 5))
    other.execute("DROP TRIGGER full")
    other.close()
    assert log.head() == before
    after = log.append(batch(10, 5))
    assert after.size == 15
    verify_consistency(10, before.root, 15, after.root, log.consistency(10, 15))


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM record WHERE idx = 259",
        "DELETE FROM block WHERE idx = 0",
        "UPDATE identity SET value = x'00' WHERE name = 'format'",
        "DELETE FROM identity WHERE name = 'secret'",
        "DROP TABLE record",
    ],
)
def test_a_damaged_file_is_refused(log, path, damage):
    log.append(batch(0, 600))
    log.close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute(damage)
    other.close()
    if "record WHERE" in damage:
        # Inside of a full block: found when a proof needs it.
        with pytest.raises(StorageError):
            open_log(path).consistency(257, 600)
        reader = DecisionLogReader(path)
        with pytest.raises(StorageError, match="record 259 is missing"):
            list(reader.leaves(0, 600))
        reader.close()
    else:
        with pytest.raises(StorageError):
            open_log(path).head()


def test_a_record_that_is_missing_after_the_last_full_block_is_noticed(log, path):
    log.append(batch(0, 600))
    log.close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("DELETE FROM record WHERE idx = 550")
    other.close()
    with pytest.raises(StorageError, match="record 550 is missing"):
        open_log(path).head()


def test_a_commit_is_synced(log):
    """No test can take the power away; SQLite can be asked whether it waits for the disk."""
    log.append(batch(0, 1))
    assert log._open.connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_a_changed_record_gives_no_proof(log, path):
    log.append(batch(0, 600))
    log.close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("UPDATE record SET leaf = x'c0' WHERE idx = 300")
    other.close()
    with pytest.raises(StorageError, match="not those that were appended"):
        open_log(path).consistency(257, 600)


def test_sizes_it_never_had_are_the_callers_mistake(log):
    log.append(batch(0, 2))
    with pytest.raises(InputError):
        log.consistency(1, 3)
    assert log.append(batch(2, 1)).size == 3


@pytest.mark.parametrize("content", [b"junk" * 1000, b""])
def test_what_is_no_log_is_not_read(path, content):
    path.write_bytes(content)
    with pytest.raises(StorageError):
        DecisionLogReader(path)
    if content:
        with pytest.raises(StorageError):
            open_log(path).head()
        assert path.read_bytes() == content


def test_a_missing_log_is_not_made_by_looking(path):
    with pytest.raises(StorageError, match="does not exist"):
        DecisionLogReader(path)
    assert not path.exists()


def test_a_directory_that_is_not_there_is_a_failure_and_no_crash(tmp_path):
    with pytest.raises(StorageError):
        open_log(tmp_path / "none" / "decisions.db").append(batch(0, 1))


def test_a_link_in_its_place_is_not_followed(path, tmp_path):
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError):
        open_log(path).append(batch(0, 1))
    assert not (tmp_path / "elsewhere").exists()


def test_a_reader_sees_one_state_while_the_log_grows(log, path):
    log.append(batch(0, 5))
    reader = DecisionLogReader(path)
    log.append(batch(5, 5))
    assert len(list(reader.leaves(0, reader.tree.size))) == 5
    reader.close()


def test_anchors_are_kept(log, path):
    head = log.append(batch(0, 5))
    for _ in range(2):
        log.keep_anchor(StoredAnchor(5, head.root, 77))
    reader = DecisionLogReader(path)
    assert reader.anchors() == [StoredAnchor(5, head.root, 77)]
    reader.close()


def test_any_thread_may_call(log):
    log.append(batch(0, 1))
    sizes = []
    thread = threading.Thread(target=lambda: sizes.append(log.append(batch(1, 1)).size))
    thread.start()
    thread.join()
    assert sizes == [2]


def test_the_secret_of_the_masks_is_the_logs_own(tmp_path):
    roots = set()
    for name in ("a.db", "b.db"):
        log = open_log(tmp_path / name, masks=["principal"])
        log.head()
        reader = DecisionLogReader(tmp_path / name)
        roots.add(Mask(["principal"], reader.identity.secret).keyed(b"x"))
        reader.close()
        log.close()
    assert len(roots) == 2
