"""What of a node's store is whole: examined on a copy, part by part, changing nothing.

A start stops at the first thing that is wrong; an operator wants to know about all of them. Nothing here decides
whether a node may start: the start does, and the last part of an examination is to rehearse it on the copy.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from govraft.adapters import store_rows
from govraft.adapters.snapshot_file import snapshot_path
from govraft.adapters.store_guard import StoreGuard, guard_path
from govraft.adapters.store_log import inspection_mode
from govraft.errors import CorruptionError, GovraftError, StorageError

__all__ = ["Condition", "Finding", "borrow_copy", "examine_database", "kept_still"]


_ENDS = {"journal": "SELECT min(idx), max(idx) FROM journal", "lineage": "SELECT min(seq), max(seq) FROM leaves"}
_ROWS = 256
"""Read at a time."""


class Condition(StrEnum):
    """How a part of the store is."""

    INTACT = "intact"
    DAMAGED = "damaged"
    MISSING = "missing"
    UNKNOWN = "unknown"


class Finding(NamedTuple):
    """One part, how it is, and what was seen: one line for people."""

    part: str
    condition: Condition
    detail: str = ""


@contextlib.contextmanager
def borrow_copy(database: Path, scratch: Path) -> Iterator[Path]:
    """A copy of a stopped node's store in `scratch`, which must be an empty directory. Yields its database.

    Raises:
        StorageError: The node runs (`storage_in_use`), or a file cannot be read or copied.
    """
    copy = scratch / database.name
    try:
        with kept_still(database):
            for source in (database, *_companions(database)):
                if source.is_file():
                    shutil.copyfile(source, scratch / source.name)
    except OSError as error:
        message = f"cannot copy `{error.filename or database}`: {error.strerror}"
        raise StorageError(message, path=str(database)) from error
    yield copy


def examine_database(copy: Path, *, cluster_id: str, node_id: str) -> list[Finding]:
    """Look at guard, file structure, records, journal and lineage of a copy."""
    guard, writes = _examine_guard(copy)
    if not copy.is_file():
        return [guard, Finding("database", Condition.MISSING, f"there is no {copy.name}")]
    with contextlib.closing(_connect(copy)) as connection:
        identity = _attempt(lambda: store_rows.check_identity(connection, copy, cluster_id, node_id), copy)
        structure = _attempt(lambda: store_rows.check_structure(connection, copy), copy)
        defect = identity or structure
        database = _finding("database", defect, f"of node {node_id}")
        if identity is not None and structure is not None:
            unread = "cannot be told while the database is not readable"
            rest = [Finding(part, Condition.UNKNOWN, unread) for part in ("records", "journal", "lineage")]
            return [guard, database, *rest]
        return [guard, database, *_examine_rows(connection, copy, writes)]


def _examine_guard(copy: Path) -> tuple[Finding, int | None]:
    if not guard_path(copy).exists():
        return Finding("guard", Condition.MISSING, f"there is no {guard_path(copy).name}"), None
    try:
        guard = StoreGuard(copy)
    except GovraftError as error:
        return Finding("guard", Condition.DAMAGED, _named(error, copy)), None
    guard.release()
    if guard.writes is None:
        return Finding("guard", Condition.DAMAGED, "it is empty"), None
    return Finding("guard", Condition.INTACT, f"{guard.writes} writes"), guard.writes


def _examine_rows(connection: sqlite3.Connection, copy: Path, writes: int | None) -> list[Finding]:
    defects: dict[str, str | None] = {}
    for part in _ENDS:
        defects[part] = _attempt(functools.partial(_walk, connection, copy, part), copy)
    try:
        state, summary = store_rows.read_state(connection, copy, has_run_before=True)
    except store_rows.UNREADABLE as error:
        whole: str | None = _named(store_rows.failure(error, copy), copy)
    except StorageError as error:
        whole = _named(error, copy)
    else:
        counts = {"journal": f"{summary.journal_count} entries", "lineage": f"{summary.leaf_count} leaves"}
        records = f"last signed seq {summary.cosigner_seq}"
        if state.isolation is not None:
            records += f"; the node isolated itself: {state.isolation.detail}"
        if state.late:
            records += "; the store is late: others have yet to tell what the node may have signed"
        if writes is not None and summary.writes < writes:
            records = f"they are older than the guard by {writes - summary.writes} writes: a copy, or the log is lost"
            return [Finding("records", Condition.DAMAGED, records), *_row_findings(defects, counts)]
        return [Finding("records", Condition.INTACT, records), *_row_findings(defects, counts)]
    if any(defects.values()):
        # What `read_state` met may be the same damage.
        unread = Finding("records", Condition.UNKNOWN, "cannot be told apart from the damage below")
        own = whole is not None and "record" in whole
        return [Finding("records", Condition.DAMAGED, whole or "") if own else unread, *_row_findings(defects, {})]
    return [Finding("records", Condition.DAMAGED, whole or ""), *_row_findings(defects, {})]


def _row_findings(defects: dict[str, str | None], counts: dict[str, str]) -> list[Finding]:
    return [_finding(part, defect, counts.get(part, "")) for part, defect in defects.items()]


def _walk(connection: sqlite3.Connection, copy: Path, part: str) -> None:
    """Read each row of a table, some at a time."""
    first, last = connection.execute(_ENDS[part]).fetchone()
    if first is None:
        return
    for start in range(first, last + 1, _ROWS):
        end = min(last, start + _ROWS - 1)
        if part == "journal":
            store_rows.read_journal_rows(connection, copy, start, end)
        elif len(store_rows.read_leaf_rows(connection, copy, start, end)) != end - start + 1:
            raise CorruptionError(f"`{copy}` lacks leaves between seq {start} and {end}", path=str(copy))


def _attempt(look: Callable[[], None], copy: Path) -> str | None:
    """What `look` found wrong."""
    try:
        look()
    except store_rows.UNREADABLE as error:
        return _named(store_rows.failure(error, copy), copy)
    except StorageError as error:
        return _named(error, copy)
    return None


def _finding(part: str, defect: str | None, whole: str) -> Finding:
    if defect is None:
        return Finding(part, Condition.INTACT, whole)
    return Finding(part, Condition.DAMAGED, defect)


def _named(error: GovraftError, copy: Path) -> str:
    """The message without the path of the copy, which means nothing to anybody."""
    return str(error).replace(f"`{copy}`", "it").replace(str(copy.parent) + os.sep, "")


def _companions(database: Path) -> tuple[Path, ...]:
    log = database.with_name(database.name + "-wal")
    return (log, guard_path(database), snapshot_path(database))


@contextlib.contextmanager
def kept_still(database: Path) -> Iterator[None]:
    """Keep the node from starting meanwhile, as it would keep another one: by the lock of the guard."""
    try:
        descriptor = os.open(guard_path(database), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        # Without a guard no node runs on it.
        yield
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = f"`{database}` is in use: stop the node first; while it runs, `govraft status` tells how it is"
            raise StorageError(message, code="storage_in_use", path=str(database)) from error
        yield
    finally:
        os.close(descriptor)


def _connect(copy: Path) -> sqlite3.Connection:
    # Read only, so that closing it leaves the log of the copy as it is: the rehearsal must find what a start would.
    connection = sqlite3.connect(
        f"file:{quote(str(copy))}?mode={inspection_mode(copy)}", uri=True, isolation_level=None
    )
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    return connection
