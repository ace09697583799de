"""Everything that a node reads before it opens a socket, held against each other.

`govraft-node check-config` and `govraft-node run` call the same function, so that what the one accepts the other does.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from govraft.adapters.node_key import NodeIdentity
from govraft.core.codec.canonical import unpack
from govraft.core.machine.electorate_view import electorate_of
from govraft.core.model.electorate import Electorate
from govraft.core.model.genesis import Genesis
from govraft.core.model.limits import FRAME_BYTES
from govraft.errors import ConfigError, GovraftError, StorageError
from govraft.node.config import NodeConfig, load_config, load_genesis
from govraft.ports.store import StoredEpoch

__all__ = ["NodeFiles", "load_node_files"]


class NodeFiles(NamedTuple):
    """A configuration with the genesis and the key that it names."""

    config: NodeConfig
    genesis: Genesis
    identity: NodeIdentity


def load_node_files(path: Path, *, epochs: Sequence[StoredEpoch] | None = None) -> NodeFiles:
    """Read and check a node's configuration, genesis, key and certificate.

    Whoever is no member of the genesis, or under another key, must be one of a later electorate. It may have been
    removed since: it starts, and denies.

    Args:
        path: Of the configuration.
        epochs: What proves the electorates after the genesis; None for what the node's store has.

    Raises:
        ConfigError: One of them cannot be used; names the file and the key.
    """
    config = load_config(path)
    genesis = load_genesis(config)
    identity = NodeIdentity.load(config.key_path, config.certificate_path, _passphrase(config))
    if not _is_member(genesis.electorate(), config, identity):
        known = _stored_epochs(config) if epochs is None else epochs
        if known is not None and not any(_is_member(item, config, identity) for item in _electorates(known)):
            raise _no_member(config, genesis)
    # Nobody would accept a connection of such a node: better to say so here than to be up and never be heard.
    if not identity.is_valid_at(dt.datetime.now(dt.UTC)):
        message = f"`{config.certificate_path}` has expired or is not valid yet; check the clock, then the certificate"
        raise ConfigError(message, file=str(config.file), key="node.certificate")
    return NodeFiles(config, genesis, identity)


def _is_member(electorate: Electorate, config: NodeConfig, identity: NodeIdentity) -> bool:
    # The other members compare both; a node with another pair would be up and never be heard.
    own = electorate.find(config.node_id)
    return own is not None and (own.public_key, own.certificate) == (identity.public_key, identity.certificate)


def _stored_epochs(config: NodeConfig) -> Sequence[StoredEpoch] | None:
    """What the store has; None if it cannot be read, which its opening will say better."""
    # Imported here: most configurations can be checked without a store.
    from govraft.adapters.sqlite_store import read_epochs

    if not config.database.exists():
        return ()
    try:
        return read_epochs(config.database)
    except StorageError:
        return None


def _electorates(epochs: Sequence[StoredEpoch]) -> list[Electorate]:
    """Unproven: they only decide what is said before the start; the start verifies them."""
    found = []
    for stored in epochs:
        try:
            found.append(electorate_of(unpack(stored.records, max_bytes=FRAME_BYTES)))
        except (GovraftError, msgspec.MsgspecError, AttributeError, TypeError, ValueError):
            continue
    return found


def _no_member(config: NodeConfig, genesis: Genesis) -> ConfigError:
    joining = "if it was added since, `govraft-node create-store --from` tells its store so"
    if genesis.electorate().find(config.node_id) is None:
        members = ", ".join(member.id for member in genesis.members)
        message = f"`{config.node_id}` is no member; genesis has {members}; {joining}"
        return ConfigError(message, file=str(config.file), key="node.id")
    rotated = "if its key was changed since, `govraft-node learn-epochs` tells its store so"
    message = f"`{config.certificate_path}` is not the certificate that genesis pins for `{config.node_id}`; {rotated}"
    return ConfigError(message, file=str(config.file), key="node.certificate")


def _passphrase(config: NodeConfig) -> bytes | None:
    if config.key_passphrase_path is None:
        return None
    try:
        return config.key_passphrase_path.read_bytes().rstrip(b"\r\n")
    except OSError as error:
        message = f"`{config.key_passphrase_path}`: {error.strerror}"
        raise ConfigError(message, file=str(config.file), key="node.key_passphrase_file") from error
