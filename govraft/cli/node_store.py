"""`govraft-node check-store` and `create-store`: what is wrong with a node's store, and the way back."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from govraft.adapters.snapshot_file import snapshot_path
from govraft.adapters.sqlite_store import create_store
from govraft.adapters.store_examination import Condition, Finding, borrow_copy, examine_database
from govraft.errors import ConfigError, CorruptionError, GovraftError, InvariantViolation, StorageError
from govraft.node.snapshots import TAKE_OUT
from govraft.startup import NodeFiles, load_node_files

__all__ = ["Examination", "create", "examine"]

_LOST = (
    "Leave the node stopped, for good. The other voters go on as long as they make a quorum.",
    "Keep the directory as it is: it is evidence. Restore no copy of it, and empty nothing: a voter that has forgotten",
    "what it signed can help to certify a second history. It cannot be replaced in this release; when too few voters",
    "are left, make a new cluster and carry the content over (docs/operations.md, `When a store is damaged`).",
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


def create(config_path: Path) -> Path:
    """Make the store of a node that has never run.

    Raises:
        ConfigError: The configuration, genesis or key cannot be used.
        StorageError: There is a store, or traces of one, or the disk failed.
    """
    config, genesis, _ = load_node_files(config_path)
    try:
        config.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make `{config.data_dir}`: {error.strerror}") from error
    create_store(config.database, cluster_id=genesis.cluster_id, node_id=config.node_id)
    return config.database


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
