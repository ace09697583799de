"""Finding the decision log of a node, and writing it out."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

from govraft.adapters.decision_log import DecisionLogReader
from govraft.cli.settings import Settings
from govraft.core.codec.canonical import pack_json, unpack
from govraft.core.evidence.decision_export import ExportAnchor, encode_end, encode_header
from govraft.core.lineage.frontier import Frontier
from govraft.core.model.limits import RECORD_BYTES
from govraft.errors import CorruptionError, InputError
from govraft.node.config import load_config

__all__ = ["log_path", "write_decisions"]

_DATABASE = "decisions.db"


def log_path(settings: Settings, text: str) -> Path:
    """The decision log that a user names.

    Args:
        settings: For the cluster directory, in which a node can be named by its id.
        text: A `decisions.db`, a data directory, a configuration, or a node id.

    Raises:
        InputError: It names none.
        ConfigError: The configuration cannot be used.
    """
    path = Path(text)
    if path.suffix == ".toml":
        return load_config(path).decision_log
    if path.is_dir():
        return path / _DATABASE
    if path.exists():
        return path
    index = settings.cluster_index()
    if index is not None and any(node.id == text for node in index.nodes):
        return load_config(index.genesis.parent / "nodes" / text / "node.toml").decision_log
    raise InputError(
        f"`{text}` is no decision log: name a decisions.db, a data directory, a node.toml, or with `--cluster` a node"
    )


def write_decisions(reader: DecisionLogReader, out: BinaryIO, first: int, last: int, advance: Any) -> None:
    """Write the records from `first` up to, not including, `last`.

    Raises:
        StorageError: The log cannot be read, or its records are not those that it was made of.
    """
    tree, identity = reader.tree, reader.identity
    frontier = Frontier(first, tree.subtrees(first))
    out.write(
        encode_header(
            cluster=identity.cluster,
            node=identity.node,
            log=identity.log,
            first=first,
            last=last,
            before=frontier.nodes,
        )
    )
    for leaf in reader.leaves(first, last):
        frontier.append(leaf)
        out.write(pack_json(unpack(leaf, max_bytes=RECORD_BYTES)) + b"\n")
        advance()
    # SAFETY: a log that was damaged on its disk is not passed on as if it were whole
    # (test_audit_commands.py::test_a_damaged_log_is_not_exported).
    if frontier.root() != tree.root(last):
        raise CorruptionError(f"the records before {last} are not those that were logged: the file is damaged")
    anchors = [ExportAnchor(*anchor) for anchor in reader.anchors() if first < anchor.size <= last]
    later = next((anchor for anchor in reader.anchors() if anchor.size > last), None)
    if later is not None:
        anchors.append(ExportAnchor(*later, proof=tree.consistency_proof(last, later.size)))
    out.write(
        encode_end(size=tree.size, root=tree.root(), proof=tree.consistency_proof(last, tree.size), anchors=anchors)
    )
