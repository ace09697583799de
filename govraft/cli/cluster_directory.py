"""The directory that `govraft init` makes, as the commands that run its nodes see it.

::

    cluster.json                 what this page says, for programs; written last
    genesis.json
    nodes/<id>/node.toml, <id>.key.pem, <id>.cert.pem, data/
    keys/<authority>.pem         mode 0600
    run/<id>.sock, <id>.pid      and links.sock, links.pid of the link proxy
    log/<id>.log

Paths in `cluster.json` are relative to the directory, so that it can be moved.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from govraft.core.codec.complaints import in_words
from govraft.errors import ConfigError

__all__ = ["LINKS", "ClusterDirectory", "NodeRecord", "load_directory"]

LINKS = "links"
"""Name of the link proxy among the processes of a cluster."""

_FILE_BYTES_MAX = 1024 * 1024


class NodeRecord(msgspec.Struct, frozen=True):
    """One node. `socket` and `config` are paths; relative in the file, absolute once loaded.

    One that was `removed` from the cluster is not started, and can still be stopped.
    """

    id: str
    socket: str
    config: str
    removed: bool = False


class _File(msgspec.Struct, frozen=True):
    version: int
    name: str
    cluster: str
    nodes: list[NodeRecord]


class ClusterDirectory(msgspec.Struct, frozen=True):
    """A loaded directory; every path absolute."""

    path: Path
    name: str
    cluster_id: str
    nodes: tuple[NodeRecord, ...]

    @property
    def members(self) -> list[NodeRecord]:
        """The nodes that were not removed."""
        return [node for node in self.nodes if not node.removed]

    def find(self, node_id: str) -> NodeRecord:
        """The node of that id.

        Raises:
            ConfigError: There is none.
        """
        for node in self.nodes:
            if node.id == node_id:
                return node
        names = ", ".join(node.id for node in self.nodes)
        raise ConfigError(f"`{node_id}` is no node of this cluster; it has {names}", file=str(self.path))

    def pid_path(self, name: str) -> Path:
        """Where the process of a node, or of the link proxy, is recorded."""
        return self.path / "run" / f"{name}.pid"

    def log_path(self, name: str) -> Path:
        """What such a process wrote to its standard output and error."""
        return self.path / "log" / f"{name}.log"

    @property
    def control_path(self) -> Path:
        """The control socket of the link proxy."""
        return self.path / "run" / f"{LINKS}.sock"


def load_directory(path: Path) -> ClusterDirectory:
    """Read `cluster.json` of a directory that `govraft init` made.

    Raises:
        ConfigError: There is none, or it cannot be used.
    """
    directory = path.resolve()
    file = directory / "cluster.json"
    try:
        with file.open("rb") as stream:
            parsed = msgspec.json.decode(stream.read(_FILE_BYTES_MAX), type=_File)
    except OSError as error:
        message = f"cannot be read: {error.strerror}; make a cluster with `govraft init --out {path}`"
        raise ConfigError(message, file=str(file)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"cannot be used: {in_words(error)}", file=str(file)) from error
    if parsed.version != 1:
        raise ConfigError(f"is {parsed.version}, this govraft reads version 1", file=str(file), key="version")
    if any("\0" in node.socket + node.config for node in parsed.nodes):
        raise ConfigError("cannot be used: a path holds a zero byte", file=str(file), key="nodes")
    nodes = (
        NodeRecord(node.id, str(directory / node.socket), str(directory / node.config), node.removed)
        for node in parsed.nodes
    )
    return ClusterDirectory(directory, parsed.name, parsed.cluster, tuple(nodes))
