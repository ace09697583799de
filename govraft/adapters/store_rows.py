"""The SQLite schema of a node's store, and reading it back without trusting it.

Every row of `journal`, `leaves`, `epochs` and `records` carries a sha256 over all of its columns: `quick_check` finds a
broken page structure, the checksums find bytes that changed inside a cell. `records` holds few short JSON values, so
that each write touches one page for all of them; its `summary` repeats what must be there, so that missing rows show.
"""

from __future__ import annotations

import hashlib
import sqlite3
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from govraft.adapters.store_rules import ROOT_BYTES, Progress, Summary, commit_index_bound
from govraft.core.codec.complaints import in_words
from govraft.core.model.genesis import FIRST_EPOCH
from govraft.errors import CorruptionError, StorageError
from govraft.ports.store import (
    CosignerRecord,
    HardState,
    IsolationRecord,
    JournalEntry,
    StoredEpoch,
    StoredEquivocation,
    StoredLeaf,
    StoredState,
)

__all__ = [
    "APPLICATION_ID",
    "SCHEMA",
    "SCHEMA_VERSION",
    "SEQ_MAX",
    "UNREADABLE",
    "Summary",
    "check_identity",
    "check_structure",
    "epoch_row",
    "equivocation_name",
    "failure",
    "journal_checksum",
    "journal_row",
    "leaf_checksum",
    "leaf_row",
    "progress_of",
    "read_epoch_rows",
    "read_journal_rows",
    "read_leaf_rows",
    "read_state",
    "record_row",
]

_EQUIVOCATION = "equivocation/"
"""Beginning of the names of records that hold evidence against a node."""

SEQ_MIN = -(2**63)
SEQ_MAX = 2**63 - 1

APPLICATION_ID = 0x67767266  # "gvrf"
SCHEMA_VERSION = 3

SCHEMA = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE records (name TEXT PRIMARY KEY, value TEXT NOT NULL, checksum BLOB NOT NULL) STRICT, WITHOUT ROWID",
    (
        "CREATE TABLE journal (idx INTEGER PRIMARY KEY, term INTEGER NOT NULL, payload BLOB NOT NULL,"
        " checksum BLOB NOT NULL) STRICT"
    ),
    (
        "CREATE TABLE leaves (seq INTEGER PRIMARY KEY, idx INTEGER NOT NULL, leaf BLOB NOT NULL,"
        " checksum BLOB NOT NULL) STRICT"
    ),
    (
        "CREATE TABLE epochs (epoch INTEGER PRIMARY KEY, seq INTEGER NOT NULL, lease BLOB NOT NULL,"
        " records BLOB NOT NULL, leaf BLOB NOT NULL, proof BLOB NOT NULL, checksum BLOB NOT NULL) STRICT"
    ),
)

_PAIR = struct.Struct(">QQ")

_VERSIONS_START, _VERSIONS_END = 18, 20
"""In the header: of the file format, for writing and for reading. 1 is a rollback journal, 2 a write-ahead log."""

# Failures of the machine; whatever else SQLite reports while reading speaks of the bytes in the file.
_MACHINE_FAILURES = frozenset(
    {
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_AUTH,
    }
)

T = TypeVar("T")


UNREADABLE = (sqlite3.Error, UnicodeDecodeError)
"""What reading a damaged file raises: SQLite's own errors, and its texts or messages that are no UTF-8 any more."""


def failure(error: sqlite3.Error | UnicodeDecodeError, path: Path) -> StorageError:
    """The error to raise for one that SQLite reported while reading `path`."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None and code & 0xFF in _MACHINE_FAILURES and code != sqlite3.SQLITE_IOERR_SHORT_READ:
        return StorageError(f"cannot read `{path}`: {error}", path=str(path))
    return _corrupt(path, f"is damaged or not a database: {error}")


def journal_checksum(index: int, term: int, payload: bytes) -> bytes:
    """sha256 over all columns of a journal row."""
    return hashlib.sha256(b"journal\0" + _PAIR.pack(index, term) + payload).digest()


def leaf_checksum(seq: int, index: int, leaf: bytes) -> bytes:
    """sha256 over all columns of a leaf row."""
    return hashlib.sha256(b"leaf\0" + _PAIR.pack(seq, index) + leaf).digest()


def journal_row(entry: JournalEntry) -> tuple[int, int, bytes, bytes]:
    """The row of `journal` that holds `entry`."""
    return entry.index, entry.term, entry.payload, journal_checksum(entry.index, entry.term, entry.payload)


def leaf_row(seq: int, stored: StoredLeaf) -> tuple[int, int, bytes, bytes]:
    """The row of `leaves` that holds the leaf of `seq`."""
    return seq, stored.index, stored.leaf, leaf_checksum(seq, stored.index, stored.leaf)


def epoch_row(stored: StoredEpoch) -> tuple[int, int, bytes, bytes, bytes, bytes, bytes]:
    """The row of `epochs` that holds `stored`."""
    blobs = (stored.lease, stored.records, stored.leaf, stored.proof)
    return (stored.epoch, stored.seq, *blobs, _epoch_checksum(stored.epoch, stored.seq, *blobs))


def record_row(name: str, value: object) -> tuple[str, str, bytes]:
    """The row of `records` that holds `value`."""
    text = msgspec.json.encode(value).decode()
    return name, text, _record_checksum(name, text)


def check_identity(connection: sqlite3.Connection, path: Path, cluster_id: str | None, node_id: str | None) -> None:
    """Refuse a file that is not the store of this node. `None` accepts any cluster or node.

    Raises:
        CorruptionError: Not a govraft store, of a newer version, or of another cluster or node.
    """
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise _corrupt(path, "is not a govraft store; point the node at its own file")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != SCHEMA_VERSION:
        raise _corrupt(
            path, f"has schema version {version}, this govraft reads {SCHEMA_VERSION}; use the release that wrote it"
        )
    found = {row[0] for row in connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
    # Anything more, a trigger for one, could change what is written behind the store's back.
    if found != set(SCHEMA):
        raise _corrupt(path, "has tables, indices or triggers that govraft did not make")
    meta = dict(connection.execute("SELECT key, value FROM meta"))
    if set(meta) != {"cluster_id", "node_id"}:
        raise _corrupt(path, "does not say which node it belongs to")
    for key, expected in (("cluster_id", cluster_id), ("node_id", node_id)):
        if expected is not None and meta[key] != expected:
            raise _corrupt(path, f"belongs to {key} `{meta[key]}`, not `{expected}`; point the node at its own file")


def check_structure(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a file whose pages contradict each other.

    Raises:
        CorruptionError: `quick_check` found damage, or the header is no such file's.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        versions = set(file.read(_VERSIONS_END)[_VERSIONS_START:])
    # SQLite would take a file with a newer one of these as one that it must not write: as if the disk were at fault.
    if not versions <= {1, 2}:
        raise _corrupt(path, "is damaged: its header has format versions that do not exist")
    verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        first_line = str(verdict).replace("\n", " ")
        raise _corrupt(path, f"is damaged: {first_line}")


def read_state(connection: sqlite3.Connection, path: Path, *, has_run_before: bool) -> tuple[StoredState, Summary]:
    """Read everything and check it row by row. The two long tables are only walked past: the state has none of them.

    Raises:
        CorruptionError: A row is damaged, missing or contradicts another.
    """
    records = _read_records(connection, path)
    summary = _decode_record(records, "summary", Summary, path)
    state = StoredState(
        journal=(),
        hard_state=_decode_record(records, "hard_state", HardState, path),
        leaves=(),
        cosigner=_decode_record(records, "cosigner", CosignerRecord, path) if "cosigner" in records else None,
        isolation=_decode_record(records, "isolation", IsolationRecord, path) if "isolation" in records else None,
        has_run_before=has_run_before,
        epochs=tuple(read_epoch_rows(connection, path)),
        equivocations=tuple(
            _decode_record(records, name, StoredEquivocation, path)
            for name in sorted(records)
            if name.startswith(_EQUIVOCATION)
        ),
        late=summary.late,
    )
    _check_rows(connection, summary, path)
    _check_summary(state, summary, path)
    return state, summary


def progress_of(state: StoredState, summary: Summary) -> Progress:
    """Where the rules of `store_rules` start from for a loaded store."""
    return Progress(
        journal_first=summary.journal_first,
        journal_last=summary.journal_last,
        leaf_count=summary.leaf_count,
        epoch_seqs=tuple(stored.seq for stored in state.epochs),
        hard_state=state.hard_state,
        cosigner=state.cosigner,
        isolation=state.isolation,
        late=state.late,
    )


def read_leaf_rows(connection: sqlite3.Connection, path: Path, first: int = 1, last: int = SEQ_MAX) -> list[StoredLeaf]:
    """The leaves from `first` to `last`, or to the newest, each checked.

    Raises:
        CorruptionError: A leaf is damaged or missing.
    """
    return [leaf for _, leaf in _leaf_rows(connection, path, first, last)]


def read_journal_rows(connection: sqlite3.Connection, path: Path, first: int, last: int) -> list[JournalEntry]:
    """The journal entries from `first` to `last`, each checked and none missing.

    Raises:
        CorruptionError: An entry is damaged or missing.
    """
    found = list(_journal_rows(connection, path, first, last))
    if len(found) != last - first + 1 or (found and found[0].index != first):
        raise _corrupt(path, f"lacks journal entries between {first} and {last}")
    return found


def _leaf_rows(connection: sqlite3.Connection, path: Path, first: int, last: int) -> Iterator[tuple[int, StoredLeaf]]:
    rows = "SELECT seq, idx, leaf, checksum FROM leaves WHERE seq BETWEEN ? AND ? ORDER BY seq"
    expected = first
    for seq, index, leaf, checksum in connection.execute(rows, (first, last)):
        if seq != expected:
            raise _corrupt(path, f"lacks the leaf of seq {expected}")
        # A damaged record header gives a value of another type, or none, whatever the schema says.
        is_typed = type(index) is int and type(leaf) is bytes
        if not is_typed or index < 0 or leaf_checksum(seq, index, leaf) != checksum:
            raise _corrupt(path, f"has a damaged leaf at seq {seq}")
        yield seq, StoredLeaf(index, leaf)
        expected += 1


def _journal_rows(connection: sqlite3.Connection, path: Path, first: int, last: int) -> Iterator[JournalEntry]:
    rows = "SELECT idx, term, payload, checksum FROM journal WHERE idx BETWEEN ? AND ? ORDER BY idx"
    expected = None
    for index, term, payload, checksum in connection.execute(rows, (first, last)):
        if expected is not None and index != expected:
            raise _corrupt(path, f"lacks journal entry {expected}")
        is_typed = type(term) is int and type(payload) is bytes
        if not is_typed or index < 1 or term < 0 or journal_checksum(index, term, payload) != checksum:
            message = f"has a damaged journal entry at index {index}"
            raise _corrupt(path, message)
        yield JournalEntry(index, term, payload)
        expected = index + 1


def read_epoch_rows(connection: sqlite3.Connection, path: Path) -> list[StoredEpoch]:
    """All epochs, each checked and none missing.

    Raises:
        CorruptionError: A row is damaged or missing.
    """
    found = [StoredEpoch(FIRST_EPOCH, 1, b"", b"", b"", b"")]
    rows = "SELECT epoch, seq, lease, records, leaf, proof, checksum FROM epochs ORDER BY epoch"
    for epoch, seq, *blobs, checksum in connection.execute(rows):
        if epoch != found[-1].epoch + 1:
            raise _corrupt(path, f"lacks epoch {found[-1].epoch + 1}")
        is_typed = type(seq) is int and all(type(blob) is bytes for blob in blobs)
        if not is_typed or seq <= found[-1].seq or _epoch_checksum(epoch, seq, *blobs) != checksum:
            raise _corrupt(path, f"has a damaged row of epoch {epoch}")
        found.append(StoredEpoch(epoch, seq, *blobs))
    return found[1:]


def equivocation_name(evidence: StoredEquivocation) -> str:
    """The name of the record that holds evidence: one for each key."""
    return _EQUIVOCATION + hashlib.sha256(evidence.public_key).hexdigest()


def _read_records(connection: sqlite3.Connection, path: Path) -> dict[str, str]:
    records: dict[str, str] = {}
    for name, value, checksum in connection.execute("SELECT name, value, checksum FROM records"):
        if _record_checksum(name, value) != checksum:
            raise _corrupt(path, f"has a damaged record `{name}`")
        records[name] = value
    return records


def _decode_record(records: dict[str, str], name: str, kind: type[T], path: Path) -> T:
    if name not in records:
        raise _corrupt(path, f"lacks the record `{name}`")
    try:
        return msgspec.json.decode(records[name], type=kind)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise _corrupt(path, f"has an unreadable record `{name}`: {in_words(error)}") from error


def _check_rows(connection: sqlite3.Connection, summary: Summary, path: Path) -> None:
    """Check each row of the journal and the lineage, and that as many are there as the summary says."""
    first = count = 0
    for entry in _journal_rows(connection, path, SEQ_MIN, SEQ_MAX):
        first = first or entry.index
        count += 1
    leaf_count = sum(1 for _ in _leaf_rows(connection, path, 1, SEQ_MAX))
    facts = (
        ("number of journal entries", summary.journal_count, count),
        ("first journal index", summary.journal_first, first or summary.journal_first),
        ("number of leaves", summary.leaf_count, leaf_count),
    )
    _check_facts(facts, path)


def _check_summary(state: StoredState, summary: Summary, path: Path) -> None:
    """Compare the records with what the summary says they must be."""
    facts = (
        ("number of epochs", summary.epoch_count, len(state.epochs)),
        ("last signed seq", summary.cosigner_seq, state.cosigner.seq if state.cosigner else 0),
        ("isolation", summary.isolated, state.isolation is not None),
    )
    _check_facts(facts, path)
    if state.cosigner is not None and len(state.cosigner.root) != ROOT_BYTES:
        raise _corrupt(path, "has a cosigner record with a root of the wrong length")
    bound = commit_index_bound(progress_of(state, summary))
    if not 0 <= state.hard_state.commit_index <= bound or state.hard_state.term < 0:
        raise _corrupt(
            path, f"has committed index {state.hard_state.commit_index} but holds entries up to {bound} only"
        )


def _check_facts(facts: Iterable[tuple[str, object, object]], path: Path) -> None:
    for what, expected, found in facts:
        if expected != found:
            raise _corrupt(path, f"contradicts itself: {what} should be {expected}, is {found}")


def _epoch_checksum(epoch: int, seq: int, *blobs: bytes) -> bytes:
    sizes = b"".join(_PAIR.pack(0, len(blob)) for blob in blobs)
    return hashlib.sha256(b"epoch\0" + _PAIR.pack(epoch, seq) + sizes + b"".join(blobs)).digest()


def _record_checksum(name: str, value: str) -> bytes:
    return hashlib.sha256(b"record\0" + name.encode() + b"\0" + value.encode()).digest()


def _corrupt(path: Path, what: str) -> CorruptionError:
    return CorruptionError(f"`{path}` {what}", path=str(path))
