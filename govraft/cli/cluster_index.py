"""A directory that `govraft init` made: which nodes, which genesis, which keys. Read, never written, here."""

from __future__ import annotations

from pathlib import Path

import msgspec

from govraft.core.codec.complaints import in_words
from govraft.errors import ConfigError

__all__ = ["CLUSTER_FILE", "ClusterIndex", "KeyEntry", "NodeEntry"]

CLUSTER_FILE = "cluster.json"

_FILE_SCHEMES = ("file", "file2")


class NodeEntry(msgspec.Struct, frozen=True):
    """One node of this host: its id, the path of its client socket, and whether it was removed from the cluster."""

    id: str
    socket: str
    removed: bool = False


class KeyEntry(msgspec.Struct, frozen=True):
    """One authority's private key: the authority's id, the key's URI, the authority's roles."""

    id: str
    uri: str
    roles: tuple[str, ...] = ()


class _File(msgspec.Struct, frozen=True):
    nodes: tuple[NodeEntry, ...]
    genesis: str
    keys: tuple[KeyEntry, ...] = ()


class ClusterIndex:
    """What `DIR/cluster.json` says, its paths resolved against DIR.

    Attributes:
        nodes, keys: As listed, without nodes that were removed.
        genesis: Path of the genesis file.
    """

    def __init__(self, directory: Path) -> None:
        """Read it.

        Raises:
            ConfigError: Missing, unreadable, or not such a file.
        """
        path = directory / CLUSTER_FILE
        try:
            file = msgspec.json.decode(path.read_bytes(), type=_File)
        except OSError as error:
            message = f"cannot be read: {error.strerror}; give a directory made by `govraft init`"
            raise ConfigError(message, file=str(path)) from error
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise ConfigError(f"is not a cluster index: {in_words(error)}", file=str(path)) from error
        paths = [file.genesis, *(node.socket for node in file.nodes), *(key.uri for key in file.keys)]
        if any("\0" in text for text in paths):
            raise ConfigError("is not a cluster index: a path holds a zero byte", file=str(path))
        base = directory.resolve()
        self.genesis = base / file.genesis
        self.nodes = tuple(NodeEntry(node.id, str(base / node.socket)) for node in file.nodes if not node.removed)
        self.keys = tuple(KeyEntry(key.id, _resolve(key.uri, base), key.roles) for key in file.keys)

    def socket_of(self, node_id: str) -> str | None:
        """The socket's path of a node, None if there is no such node."""
        return next((node.socket for node in self.nodes if node.id == node_id), None)

    def key_of(self, authority_id: str) -> KeyEntry | None:
        """The key of an authority, None if its key is not here."""
        return next((key for key in self.keys if key.id == authority_id), None)

    def read_genesis(self) -> bytes:
        """The genesis file's bytes.

        Raises:
            ConfigError: It cannot be read.
        """
        try:
            return self.genesis.read_bytes()
        except OSError as error:
            raise ConfigError(f"cannot be read: {error.strerror}", file=str(self.genesis)) from error


def _resolve(uri: str, base: Path) -> str:
    scheme, _, rest = uri.partition(":")
    if scheme not in _FILE_SCHEMES or rest.startswith("/"):
        return uri
    return f"{scheme}:{base / rest}"
