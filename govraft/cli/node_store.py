"""`govraft-node check-store`, `create-store`, `learn-epochs`: what is wrong with a node's store, and the way back."""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from govraft.adapters.snapshot_file import snapshot_path, write_snapshot
from govraft.adapters.sqlite_store import SqliteStore, create_store
from govraft.adapters.store_examination import Condition, Finding, borrow_copy, examine_database
from govraft.core.codec.canonical import unpack
from govraft.core.convergence.messages import ProvenChange
from govraft.core.machine.electorate_view import electorate_of
from govraft.core.model.electorate import Electorate
from govraft.core.model.genesis import Genesis
from govraft.core.model.limits import FRAME_BYTES
from govraft.errors import (
    ConfigError,
    CorruptionError,
    GovraftError,
    InputError,
    InvariantViolation,
    StorageError,
    VerificationError,
)
from govraft.node.config import DATABASE_NAME, load_config, load_genesis
from govraft.node.snapshots import TAKE_OUT
from govraft.ports.store import StoreBeginning, StoredEpoch, WriteBatch
from govraft.startup import NodeFiles, keep_applied, load_node_files

__all__ = ["Examination", "create", "examine", "learn_epochs"]

_LOST = (
    "Leave the node stopped, for good. The other voters go on as long as they make a quorum.",
    "Keep the directory as it is: it is evidence. Restore no copy of it, and empty nothing: a voter that has forgotten",
    "what it signed can help to certify a second history. Put a new node, with a key of its own, in its place:",
    "`govraft member replace` (docs/operations.md, `Nodes that come and go`). When too few voters are left for that,",
    "make a new cluster and carry the content over.",
)
_FOREIGN = (
    "The store belongs to another node or cluster. Point `node.data_dir` and `node.genesis` at this node's own; if its",
    "own is nowhere to be found, it is lost: leave the node stopped.",
)
_DISK = (
    "The disk, the file system or the permissions failed, not the store. Repair that, and start the node again on the",
    "untouched directory.",
)
_FILES = (
    "genesis: copy it from any other node, byte for byte. Certificate: its PEM is in the genesis. Configuration: write",
    "it again. Key: it cannot be made again; without it leave the node stopped, the others go on.",
)


class Examination(NamedTuple):
    """What was found. `way_back` is empty if the node would start."""

    findings: Sequence[Finding]
    way_back: Sequence[str]

    @property
    def is_whole(self) -> bool:
        """Whether the node would start."""
        return not self.way_back


def examine(config_path: Path, scratch: Path | None) -> Examination:
    """Examine a stopped node's files. Changes nothing but a copy of them, which is removed again.

    Args:
        config_path: The node's configuration.
        scratch: A directory with room for the copy; None for the system's.

    Raises:
        StorageError: The node runs (`storage_in_use`), or there is no room for the copy.
    """
    try:
        files = load_node_files(config_path)
    except ConfigError as error:
        return Examination([Finding("configuration", Condition.DAMAGED, str(error))], _FILES)
    whole = Finding("configuration", Condition.INTACT, f"with genesis, key and certificate of {files.config.node_id}")
    try:
        with tempfile.TemporaryDirectory(prefix="govraft-", dir=scratch) as directory:
            return _examine_store(files, whole, Path(directory))
    except OSError as error:
        message = f"no copy can be made in `{scratch or tempfile.gettempdir()}`: {error.strerror}; name another place"
        raise StorageError(f"{message} with `--scratch`") from error


def create(config_path: Path, export: Path | None = None, donor: Path | None = None) -> Path:
    """Make the store of a node that has never run, as far as anybody knows.

    Nobody can tell here whether the node's key has signed before. So the store is late: the node acks and votes nothing
    until enough other voters have told it what they acked (`node/late_store.py`).

    A node that was added later begins with what an export or another node's store proves, from the genesis on.

    Args:
        config_path: The node's configuration.
        export: Of the lineage. The store begins with the members that it proves, and nothing else of it: the other
            nodes send the entries.
        donor: In place of an export, a directory with a copy of another node's store, or that of a stopped node. The
            store begins with all of it that is certified, and the node need not replay it.

    Raises:
        ConfigError: The configuration, genesis or key cannot be used.
        InputError: The export or the copy cannot be read, or proves nothing; or the node is the only voter. Nothing
            was made.
        StorageError: There is a store, or traces of one, or the disk failed.
    """
    if export is not None and donor is not None:
        raise InputError("give an export or another node's store, not both")
    if donor is not None:
        return _create_of_copy(config_path, donor)
    if export is None:
        files, beginning = load_node_files(config_path), StoreBeginning()
        _require_witnesses(files)
    else:
        beginning = StoreBeginning(epochs=_read_epochs(load_genesis(load_config(config_path)), export))
        files = load_node_files(config_path, epochs=beginning.epochs)
        _require_newcomer(files, beginning.epochs)
    return _make_store(files, beginning)


def _create_of_copy(config_path: Path, donor: Path) -> Path:
    # Imported here: they bring the engine's frames and the whole machine.
    from govraft.adapters.engine.frames import read_payload
    from govraft.adapters.store_copy import open_copy
    from govraft.node.joining import prove_beginning

    genesis = load_genesis(load_config(config_path))
    database = donor / DATABASE_NAME
    try:
        with open_copy(database, genesis.cluster_id) as copy:
            beginning = prove_beginning(copy, genesis, read_payload)
            files = load_node_files(config_path, epochs=beginning.epochs)
            _require_newcomer(files, beginning.epochs)
            # SAFETY: a snapshot without its database may be the only witness of a store that was lost
            # (test_create_store_from_node.py::test_traces_of_a_store_are_not_written_over).
            if snapshot_path(files.config.database).exists():
                message = f"`{snapshot_path(files.config.database)}` exists already: the node has a store, or had one"
                raise StorageError(message, code="storage_exists")
            made = _make_store(files, beginning)
    except VerificationError as error:
        message = f"`{database}`: {error}; make another copy, or use `--from EXPORT`; nothing was made"
        raise InputError(message, code=error.code) from error
    except StorageError as error:
        if str(error.diagnostics().get("path", "")).startswith(os.path.realpath(donor)):
            raise InputError(f"{error}; nothing was made", code=error.code) from error
        raise
    if copy.snapshot is not None:
        _put_snapshot(made, copy.snapshot.data)
    return made


def _put_snapshot(database: Path, data: bytes) -> None:
    try:
        write_snapshot(database, data)
    except OSError as error:
        message = f"the store is made, but `{snapshot_path(database)}` cannot be written: {error.strerror}; the node"
        raise StorageError(f"{message} can be started all the same: it replays its journal") from error


def _make_store(files: NodeFiles, beginning: StoreBeginning) -> Path:
    config, genesis, _ = files
    try:
        config.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make `{config.data_dir}`: {error.strerror}") from error
    create_store(config.database, cluster_id=genesis.cluster_id, node_id=config.node_id, late=True, beginning=beginning)
    return config.database


def learn_epochs(config_path: Path, export: Path) -> int:
    """Tell the store of a stopped node of all changes of the members that an export proves.

    For a node that was away while so many members changed, or its own key, that it would reach nobody. An export of
    what is applied, certified or not, lets it start on a key that a change names which is not certified yet.

    Returns:
        How many of them it did not know.

    Raises:
        ConfigError: The configuration, genesis or key cannot be used.
        InputError: The export cannot be read, or proves nothing.
        StorageError: The node runs, or its store is damaged or of another history.
    """
    epochs, waiting = _read_export(load_genesis(load_config(config_path)), export)
    config, genesis, _ = load_node_files(config_path, epochs=epochs, applied=waiting)
    store = SqliteStore(config.database, cluster_id=genesis.cluster_id, node_id=config.node_id, may_create=False)
    try:
        known = store.load().epochs
        for mine, theirs in zip(known, epochs, strict=False):
            if (mine.seq, mine.leaf) != (theirs.seq, theirs.leaf):
                message = f"the store has another epoch {mine.epoch} than the export: one of them is of another history"
                raise CorruptionError(message, path=str(config.database))
        batch = WriteBatch()
        for stored in epochs[len(known) :]:
            batch.add_epoch(stored.epoch, stored.seq, stored.lease, stored.records, stored.leaf, stored.proof)
        store.write(batch)
    finally:
        store.close()
    if waiting:
        keep_applied(config, waiting)
    return max(0, len(epochs) + len(waiting) - len(known))


def _require_witnesses(files: NodeFiles) -> None:
    """Refuse a store of which no other voter could tell whether it stands in the place of a lost one."""
    node_id = files.config.node_id
    # SAFETY: the only voter would certify a second history all alone
    # (test_create_store.py::test_the_only_voter_gets_no_second_store).
    if [voter.id for voter in files.genesis.electorate().voters] == [node_id]:
        message = f"`{node_id}` is the only voter: nobody could tell what it signed before; if its store is lost, make"
        raise InputError(f"{message} a new cluster with `govraft init`", code="voter_has_run")


def _require_newcomer(files: NodeFiles, epochs: Sequence[StoredEpoch]) -> None:
    """Refuse to begin anew with a key that may have made promises."""
    node_id, public_key, genesis = files.config.node_id, files.identity.public_key, files.genesis
    electorates = [genesis.electorate(), *(electorate_of(unpack(row.records, max_bytes=FRAME_BYTES)) for row in epochs)]
    found = [electorate.find(node_id) for electorate in electorates]
    own = [member for member in found if member is not None and member.public_key == public_key]
    # SAFETY: only who has run could become a voter, and an empty store would have forgotten what it signed
    # (test_create_store_from.py::test_a_voter_does_not_begin_anew).
    if any(member.voter for member in own):
        message = f"`{node_id}` is or was a voter: its store is lost, if there is none. Remove it, and add a new node"
        raise InputError(message, code="voter_has_run")
    last = found[-1]
    if last is None or last.public_key != public_key:
        message = f"`{node_id}` is no member at the end of what was given; make that after the node was added"
        raise InputError(message, code="member_unknown")


def _read_epochs(genesis: Genesis, export: Path) -> list[StoredEpoch]:
    """What an export proves; one that is not certified to its end is refused."""
    return _read_export(genesis, export, may_wait=False)[0]


def _read_export(
    genesis: Genesis, export: Path, *, may_wait: bool = True
) -> tuple[list[StoredEpoch], Sequence[Electorate]]:
    """The certified changes of an export, and the electorates after them that it says are applied."""
    # Imported here: it replays the lineage, which takes the whole machine.
    from govraft.core.evidence.lineage_export import is_of_applied, prove_lineage, read_applied

    found: list[StoredEpoch] = []
    waiting: Sequence[Electorate] = ()

    def keep(epoch: int, seq: int, change: ProvenChange) -> None:
        found.append(StoredEpoch(epoch, seq, change.lease, change.records, change.leaf, change.proof))

    try:
        with export.open("rb") as lines:
            is_applied = may_wait and is_of_applied(lines.readline())
            lines.seek(0)
            if is_applied:
                waiting = read_applied(lines, genesis, keep)
            else:
                prove_lineage(lines, genesis, keep=keep)
    except OSError as error:
        raise InputError(f"`{export}` cannot be read: {error.strerror}", code="file_unreadable") from error
    except VerificationError as error:
        raise InputError(f"`{export}`: {error}; export it again", code=error.code) from error
    return found, waiting


def _examine_store(files: NodeFiles, whole: Finding, scratch: Path) -> Examination:
    config, genesis, _ = files
    try:
        with borrow_copy(config.database, scratch) as copy:
            found = examine_database(copy, cluster_id=genesis.cluster_id, node_id=config.node_id)
            start = _rehearsal(config.file, copy)
            findings = [whole, *found, *_snapshot_findings(copy, start)]
            if start is None:
                return Examination([*findings, Finding("start", Condition.INTACT, "the node would start")], ())
            said = _in_place(str(start), copy, config.database)
            findings.append(Finding("start", Condition.DAMAGED, said))
            return Examination(findings, _way_back(files, start, copy))
    except StorageError as error:
        if error.code == "storage_in_use":
            raise
        return Examination([whole, Finding("database", Condition.UNKNOWN, str(error))], _DISK)


def _rehearsal(config_path: Path, copy: Path) -> GovraftError | None:
    """What a start on the copy says; None if it would succeed."""
    # Imported here: it brings the engine and the policy library.
    from govraft import daemon

    try:
        daemon.rehearse(config_path, copy)
    except InvariantViolation as violation:
        return CorruptionError(f"a guarantee is broken: {violation}")
    except GovraftError as error:
        return error
    return None


def _is_of_snapshot(error: GovraftError, copy: Path) -> bool:
    return f"`{snapshot_path(copy)}`" in str(error)


def _snapshot_findings(copy: Path, start: GovraftError | None) -> list[Finding]:
    if not snapshot_path(copy).exists():
        return []
    if start is None:
        return [Finding("snapshot", Condition.INTACT)]
    if _is_of_snapshot(start, copy):
        return [Finding("snapshot", Condition.DAMAGED, "see below")]
    return [Finding("snapshot", Condition.UNKNOWN, "not reached")]


def _way_back(files: NodeFiles, start: GovraftError, copy: Path) -> Sequence[str]:
    config, said = files.config, str(start)
    if start.code == "store_missing":
        command = f"govraft-node create-store --config {shlex.quote(str(config.file))}"
        first = f"Only if this node has never run, not even once, since its cluster was made: `{command}`."
        return (first, "Otherwise its store is lost.", *_LOST)
    if " belongs to " in said:
        return _FOREIGN
    if not isinstance(start, CorruptionError):
        return _DISK
    # A snapshot that is ahead of the database is a witness that the database went back in time.
    if _is_of_snapshot(start, copy) and TAKE_OUT not in said:
        snapshot_path(copy).unlink()
        if _rehearsal(config.file, copy) is None:
            return (
                f"Move `{snapshot_path(config.database)}` away and start the node: it replays its journal, which is",
                "whole. A snapshot saves time and holds nothing of its own.",
            )
    return _LOST


def _in_place(said: str, copy: Path, database: Path) -> str:
    return said.replace(str(copy.parent), str(database.parent))
