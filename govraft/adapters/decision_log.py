"""The decision log of a node: an append-only SQLite file of its own, so that its syncs never wait for consensus.

Rules:
1. Records are added at the end and never changed. COMMIT syncs: what `append` returned of is durable.
2. The log's id and its secret are made with the file. A lost file is a new log, never a shorter one of the same name.
3. After any failure the file is closed; the next call opens it again and takes what it finds as the truth.
4. Opening reads the roots of the full blocks and the records after them, not the whole file: what damage there is
   shows when a proof needs it, and when the log is exported and verified.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from govraft.adapters.store_guard import sync_directory
from govraft.adapters.store_log import use_log
from govraft.core.evidence.decisions import Mask, Noted, decode_leaf, encode_noted
from govraft.core.lineage.block_tree import BLOCK_LEAVES, BlockTree
from govraft.errors import CorruptionError, InputError, LineageError, StorageError
from govraft.ports.decisions import LogHead, StoredAnchor

__all__ = ["DecisionLogFile", "DecisionLogReader", "LogIdentity"]

_FORMAT = "govraft.decisions.v1"
_SCHEMA = (
    "CREATE TABLE identity (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE record (idx INTEGER PRIMARY KEY, leaf BLOB NOT NULL) STRICT",
    "CREATE TABLE block (idx INTEGER PRIMARY KEY, root BLOB NOT NULL) STRICT",
    "CREATE TABLE anchor (size INTEGER PRIMARY KEY, root BLOB NOT NULL, seq INTEGER NOT NULL) STRICT",
)
_BUSY_TIMEOUT_S = 5.0
_RECORDS_PER_BREATH = 16
_BREATH_S = 0.000_5


class LogIdentity(NamedTuple):
    """What a log was made as. `secret` keys what is masked: it never leaves the file."""

    log: str
    cluster: str
    node: str
    secret: bytes


class DecisionLogFile:
    """`ports.DecisionStore` in the file `path`. One thread at a time, which need not always be the same."""

    def __init__(self, path: Path, *, cluster: str, node: str, masks: Sequence[str] = ()) -> None:
        """Name the log; nothing is opened yet.

        Args:
            path: The file; its directory exists.
            cluster: Cluster id; a log of another cluster is refused.
            node: Node id; a log of another node is refused.
            masks: Paths that records do not show.
        """
        self._path = path
        self._cluster = cluster
        self._node = node
        self._masks = tuple(masks)
        self._open: _Open | None = None

    def head(self) -> LogHead:
        """The newest durable state. See `ports.DecisionStore.head`."""
        with self._opened() as log:
            return log.head()

    def append(self, noted: Sequence[Noted]) -> LogHead:
        """Add records; durable on return. See `ports.DecisionStore.append`."""
        with self._opened() as log:
            return log.append(noted)

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Proof that the log only grew. See `ports.DecisionStore.consistency`."""
        with self._opened() as log:
            return log.tree.consistency_proof(old, new)

    def root(self, size: int) -> bytes:
        """The root that the log had at a size. Raises `InputError` if it never had it, and `StorageError`."""
        with self._opened() as log:
            return log.tree.root(size)

    def keep_anchor(self, anchor: StoredAnchor) -> None:
        """Remember that the lineage holds an anchor, for exports. Raises `StorageError`."""
        with self._opened() as log:
            log.connection.execute("INSERT OR IGNORE INTO anchor VALUES (?, ?, ?)", anchor)

    def close(self) -> None:
        """Release the file. Idempotent."""
        log, self._open = self._open, None
        if log is not None:
            with contextlib.suppress(sqlite3.Error):
                log.connection.close()

    @contextlib.contextmanager
    def _opened(self) -> Iterator[_Open]:
        try:
            if self._open is None:
                self._open = _open(self._path, self._cluster, self._node, self._masks)
            yield self._open
        except InputError:
            raise
        except (sqlite3.Error, OSError, LineageError) as error:
            # SAFETY: what a failed write has left is not known: nothing is added to a tree that may differ from the
            # file (test_decision_log.py::test_after_a_failed_write_the_file_is_looked_at_again).
            self.close()
            raise _failure(self._path, error) from error
        except BaseException:
            self.close()
            raise


class DecisionLogReader:
    """A decision log, for looking: nothing is changed, and the node may go on writing. One state is seen throughout."""

    def __init__(self, path: Path) -> None:
        """Open a log.

        Raises:
            StorageError: The file cannot be read, or is no decision log.
        """
        self._path = path
        try:
            if not path.is_file():
                raise StorageError(f"decision log `{path}` does not exist: name the `decisions.db` of a node")
            # Without a write-ahead log beside it nobody is writing, and SQLite need not make one to read.
            mode = "ro" if path.with_name(path.name + "-wal").exists() else "ro&immutable=1"
            uri = f"file:{quote(str(path.absolute()))}?mode={mode}"
            self._connection = sqlite3.connect(uri, uri=True, isolation_level=None)
        except (sqlite3.Error, OSError) as error:
            raise _failure(path, error) from error
        try:
            self._connection.execute("BEGIN")
            self.identity = _read_identity(self._connection)
            self._log = _Open(self._connection, self.identity, Mask())
        except (sqlite3.Error, LineageError) as error:
            self._connection.close()
            raise _failure(path, error) from error
        self.tree: BlockTree = self._log.tree

    def leaves(self, first: int, last: int) -> Iterator[bytes]:
        """The leaves of the records from `first` up to, not including, `last`.

        Raises:
            StorageError: They cannot be read.
        """
        expected = first
        try:
            rows = self._connection.execute(
                "SELECT idx, leaf FROM record WHERE idx >= ? AND idx < ? ORDER BY idx", (first, last)
            )
            for index, leaf in rows:
                if index != expected:
                    break
                yield leaf
                expected += 1
        except sqlite3.Error as error:
            raise _failure(self._path, error) from error
        if expected != last:
            raise CorruptionError(f"decision log `{self._path}`: record {expected} is missing")

    def stretch(self, first: int | None, last: int | None, since: int | None, until: int | None) -> tuple[int, int]:
        """The places of the records that somebody wants, the end not included.

        Args:
            first: Not before this record.
            last: Not after this record.
            since: From the first record on that is at this WallMs or later.
            until: To the last record that is before this WallMs.

        Raises:
            InputError: There is no such record.
            StorageError: The log cannot be read.
        """
        size = self.tree.size
        start = max(first or 0, 0 if since is None else self._first_at(since, size))
        end = min(size if last is None else last + 1, size if until is None else self._last_before(until) + 1)
        if start >= end and (size or first or last):
            raise InputError(f"no record is that old and that new: the log has records 0 to {size - 1}")
        return start, end

    def _first_at(self, since: int, size: int) -> int:
        for index, leaf in enumerate(self.leaves(0, size)):
            if decode_leaf(leaf).time >= since:
                return index
        return size

    def _last_before(self, until: int) -> int:
        found = -1
        for index, leaf in enumerate(self.leaves(0, self.tree.size)):
            if decode_leaf(leaf).time < until:
                found = index
        return found

    def anchors(self) -> list[StoredAnchor]:
        """The anchors that the node has seen in the lineage, the oldest first. Raises `StorageError`."""
        try:
            rows = self._connection.execute("SELECT size, root, seq FROM anchor ORDER BY size").fetchall()
        except sqlite3.Error as error:
            raise _failure(self._path, error) from error
        return [StoredAnchor(*row) for row in rows]

    def close(self) -> None:
        """Release the file."""
        self._connection.close()


class _Open:
    """An open file, and the tree over what it holds."""

    def __init__(self, connection: sqlite3.Connection, identity: LogIdentity, mask: Mask) -> None:
        self.connection = connection
        self._identity = identity
        self._mask = mask
        self.tree = BlockTree(self._read_block)
        self._load()

    def head(self) -> LogHead:
        return LogHead(self._identity.log, self.tree.size, self.tree.root())

    def append(self, noted: Sequence[Noted]) -> LogHead:
        self.connection.execute("BEGIN IMMEDIATE")
        for start in range(0, len(noted), _RECORDS_PER_BREATH):
            if start:
                # The interpreter's lock goes to the loop, which answers checks, for long enough that it wakes up.
                time.sleep(_BREATH_S)
            self._add(noted[start : start + _RECORDS_PER_BREATH])
        # SAFETY: COMMIT syncs; an allow of a strict log leaves only after it
        # (test_decisions_live.py::test_every_allow_that_left_is_in_a_strict_log_after_a_kill).
        self.connection.execute("COMMIT")
        return self.head()

    def _add(self, noted: Sequence[Noted]) -> None:
        rows = []
        for item in noted:
            leaf = encode_noted(item, self.tree.size, self._mask)
            rows.append((self.tree.size, leaf))
            self.tree.append(leaf)
            if self.tree.size % BLOCK_LEAVES == 0:
                block = self.tree.size // BLOCK_LEAVES - 1
                self.connection.execute("INSERT INTO block VALUES (?, ?)", (block, self.tree.block_root(block)))
        self.connection.executemany("INSERT INTO record VALUES (?, ?)", rows)

    def _load(self) -> None:
        blocks = self.connection.execute("SELECT idx, root FROM block ORDER BY idx").fetchall()
        for expected, (index, root) in enumerate(blocks):
            if index != expected:
                raise LineageError(f"block {expected} is missing")
            self.tree.append_block(root)
        rows = self.connection.execute("SELECT idx, leaf FROM record WHERE idx >= ? ORDER BY idx", (self.tree.size,))
        for index, leaf in rows.fetchall():
            if index != self.tree.size:
                raise LineageError(f"record {self.tree.size} is missing")
            self.tree.append(leaf)

    def _read_block(self, block: int) -> list[bytes]:
        first = block * BLOCK_LEAVES
        rows = self.connection.execute(
            "SELECT leaf FROM record WHERE idx >= ? AND idx < ? ORDER BY idx", (first, first + BLOCK_LEAVES)
        )
        return [leaf for (leaf,) in rows]


def _open(path: Path, cluster: str, node: str, masks: Sequence[str]) -> _Open:
    is_new = not path.exists()
    # Made before SQLite makes it: what was asked is for the node's user only.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
    connection = sqlite3.connect(path, isolation_level=None, timeout=_BUSY_TIMEOUT_S, check_same_thread=False)
    try:
        use_log(connection, path)
        connection.execute("PRAGMA synchronous = FULL")
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,):
            _make(connection, cluster, node)
        if is_new:
            sync_directory(path.parent)
        identity = _read_identity(connection)
        if (identity.cluster, identity.node) != (cluster, node):
            message = f"it belongs to node `{identity.node}` of cluster {identity.cluster[:12]}: move it away"
            raise LineageError(message)
        return _Open(connection, identity, Mask(masks, identity.secret))
    except BaseException:
        connection.close()
        raise


def _make(connection: sqlite3.Connection, cluster: str, node: str) -> None:
    values = {
        "format": _FORMAT.encode(),
        "log": secrets.token_hex(16).encode(),
        "cluster": cluster.encode(),
        "node": node.encode(),
        "secret": secrets.token_bytes(32),
    }
    connection.execute("BEGIN IMMEDIATE")
    for statement in _SCHEMA:
        connection.execute(statement)
    connection.executemany("INSERT INTO identity VALUES (?, ?)", values.items())
    connection.execute("COMMIT")


def _read_identity(connection: sqlite3.Connection) -> LogIdentity:
    found = dict(connection.execute("SELECT name, value FROM identity").fetchall())
    if found.get("format") != _FORMAT.encode():
        raise LineageError("it is no decision log of this version")
    try:
        return LogIdentity(found["log"].decode(), found["cluster"].decode(), found["node"].decode(), found["secret"])
    except (KeyError, AttributeError, UnicodeDecodeError) as error:
        raise LineageError("its identity is damaged") from error


def _failure(path: Path, error: Exception) -> StorageError:
    cause = error.strerror if isinstance(error, OSError) else str(error)
    kind = (
        CorruptionError
        if isinstance(error, LineageError | sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)
        else StorageError
    )
    return kind(f"decision log `{path}`: {cause}", path=str(path))
