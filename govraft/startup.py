"""Everything that a node reads before it opens a socket, held against each other.

`govraft-node check-config` and `govraft-node run` call the same function, so that what the one accepts the other does.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import NamedTuple

from govraft.adapters.node_key import NodeIdentity
from govraft.core.model.genesis import Genesis
from govraft.errors import ConfigError
from govraft.node.config import NodeConfig, load_config, load_genesis

__all__ = ["NodeFiles", "load_node_files"]


class NodeFiles(NamedTuple):
    """A configuration with the genesis and the key that it names."""

    config: NodeConfig
    genesis: Genesis
    identity: NodeIdentity


def load_node_files(path: Path) -> NodeFiles:
    """Read and check a node's configuration, genesis, key and certificate.

    Raises:
        ConfigError: One of them cannot be used; names the file and the key.
    """
    config = load_config(path)
    genesis = load_genesis(config)
    identity = NodeIdentity.load(config.key_path, config.certificate_path, _passphrase(config))
    member = genesis.electorate().find(config.node_id)
    # The other members compare both; a node with another pair would be up and never be heard.
    if member is None or (member.public_key, member.certificate) != (identity.public_key, identity.certificate):
        message = f"`{config.certificate_path}` is not the certificate that genesis pins for `{config.node_id}`"
        raise ConfigError(message, file=str(config.file), key="node.certificate")
    # Nobody would accept a connection of such a node: better to say so here than to be up and never be heard.
    if not identity.is_valid_at(dt.datetime.now(dt.UTC)):
        message = f"`{config.certificate_path}` has expired or is not valid yet; check the clock, then the certificate"
        raise ConfigError(message, file=str(config.file), key="node.certificate")
    return NodeFiles(config, genesis, identity)


def _passphrase(config: NodeConfig) -> bytes | None:
    if config.key_passphrase_path is None:
        return None
    try:
        return config.key_passphrase_path.read_bytes().rstrip(b"\r\n")
    except OSError as error:
        message = f"`{config.key_passphrase_path}`: {error.strerror}"
        raise ConfigError(message, file=str(config.file), key="node.key_passphrase_file") from error
