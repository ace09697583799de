"""Everything that a node reads before it opens a socket, held against each other.

`govraft-node check-config` and `govraft-node run` call the same function, so that what the one accepts the other does.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from govraft.adapters.file_systems import forgets_store
from govraft.adapters.node_key import NodeIdentity
from govraft.core.codec.canonical import unpack
from govraft.core.machine.electorate_view import electorate_of
from govraft.core.model.electorate import Electorate
from govraft.core.model.genesis import Genesis
from govraft.core.model.limits import FRAME_BYTES
from govraft.errors import ConfigError, GovraftError, InputError, StorageError
from govraft.node.config import NodeConfig, load_config, load_genesis
from govraft.ports.store import StoredEpoch

__all__ = ["NodeFiles", "keep_applied", "load_former_identity", "load_node_files"]

_APPLIED_NAME = "applied-members.json"
"""In the data directory."""


class NodeFiles(NamedTuple):
    """A configuration with the genesis and the key that it names."""

    config: NodeConfig
    genesis: Genesis
    identity: NodeIdentity


def load_node_files(
    path: Path,
    *,
    epochs: Sequence[StoredEpoch] | None = None,
    applied: Sequence[Electorate] | None = None,
    to_run: bool = False,
) -> NodeFiles:
    """Read and check a node's configuration, genesis, key and certificate.

    Whoever is no member of the genesis, or under another key, must be one of a later electorate. It may have been
    removed since: it starts, and denies. Or the change that names it waits for its certificate, and perhaps for this
    node's own ack: it starts, and denies until then.

    Args:
        path: Of the configuration.
        epochs: What proves the electorates after the genesis; None for what the node's store has.
        applied: Electorates after these that are applied and not certified; None for what the store has applied, and
            what it was told of.
        to_run: Whether the node is to be run on its store, which must then be where it is kept.

    Raises:
        ConfigError: One of them cannot be used; names the file and the key.
    """
    config = load_config(path)
    genesis = load_genesis(config)
    identity = NodeIdentity.load(config.key_path, config.certificate_path, _passphrase(config))
    if not _is_member(genesis.electorate(), config, identity):
        known = _stored_epochs(config) if epochs is None else epochs
        named = known is None or any(_is_member(item, config, identity) for item in _electorates(known))
        if not named:
            waiting = _applied(config, genesis) if applied is None else applied
            if waiting is not None and not any(_is_member(item, config, identity) for item in waiting):
                raise _no_member(config, genesis)
    load_former_identity(config)
    # Nobody would accept a connection of such a node: better to say so here than to be up and never be heard.
    if not identity.is_valid_at(dt.datetime.now(dt.UTC)):
        message = f"`{config.certificate_path}` has expired or is not valid yet; check the clock, then the certificate"
        raise ConfigError(message, file=str(config.file), key="node.certificate")
    if to_run:
        _refuse_forgetful(config, genesis)
    return NodeFiles(config, genesis, identity)


def _refuse_forgetful(config: NodeConfig, genesis: Genesis) -> None:
    """Keep a voter off a file system that may give back an older store than the one it signed from."""
    # A directory that is not there has no store either, which is said elsewhere.
    if config.unsafe_volatile or not config.data_dir.is_dir():
        return
    only = "only for a cluster on one host that is thrown away as a whole, set this to true"
    try:
        name = forgets_store(config.database)
        said = f"`{config.data_dir}` lies on {name}, which forgets what a voter must keep: put it on a disk"
    except StorageError as error:
        # SAFETY: what cannot be told is no disk (test_forgetful_storage.py::test_an_unknown_place_is_refused).
        name, said = "unknown", f"{error}; mount /proc"
    # SAFETY: a store that may come back older than it was would vote and sign a second time
    # (test_forgetful_storage.py::test_a_voter_does_not_run_where_its_store_is_forgotten).
    if name and _may_vote(config, genesis):
        raise ConfigError(f"{said}; {only}", file=str(config.file), key="storage.unsafe_volatile")


def _may_vote(config: NodeConfig, genesis: Genesis) -> bool:
    """Whether the node is a voter as far as its store knows, or that cannot be read."""
    known = _stored_epochs(config)
    newest = [genesis.electorate(), *_electorates(known or ())][-1].find(config.node_id)
    return known is None or (newest is not None and newest.voter)


def load_former_identity(config: NodeConfig) -> NodeIdentity | None:
    """The pair that the node had before its key was changed, if the configuration names it.

    Raises:
        ConfigError: It cannot be used.
    """
    return None if config.former_paths is None else NodeIdentity.load(*config.former_paths, _passphrase(config))


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


def keep_applied(config: NodeConfig, electorates: Sequence[Electorate]) -> None:
    """Let a later start know of electorates that are applied elsewhere, and not certified.

    They are a word of nobody, kept beside the store and not in it: they decide what is said before the start, no more.

    Raises:
        StorageError: The file cannot be written.
    """
    path = config.data_dir / _APPLIED_NAME
    draft = path.with_suffix(".new")
    try:
        draft.write_bytes(msgspec.json.encode(electorates))
        draft.rename(path)
    except OSError as error:
        raise StorageError(f"cannot write `{path}`: {error.strerror}", path=str(path)) from error


def _applied(config: NodeConfig, genesis: Genesis) -> Sequence[Electorate] | None:
    """All electorates that the store's entries make, and those it was told of; None if the store cannot be read."""
    # Imported here: they bring the whole machine, and only a node whose key is in doubt needs them.
    from govraft.adapters.engine.frames import read_payload
    from govraft.adapters.store_copy import open_copy
    from govraft.core.machine.machine import Machine

    found = []
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        found += msgspec.json.decode((config.data_dir / _APPLIED_NAME).read_bytes(), type=list[Electorate])
    if not config.database.exists():
        # SAFETY: an empty store in the place of a lost one has forgotten what the node promised under its old key: that
        # a change names the new one does not make it a new node
        # (test_applied_epochs.py::test_a_lost_store_is_not_begun_anew).
        return ()
    machine = Machine(genesis)
    try:
        with open_copy(config.database, genesis.cluster_id) as copy:
            for row in itertools.islice(copy.leaves, 1, None):
                before = machine.epoch
                machine.apply(read_payload(copy.journal[row.index - 1].payload) or b"")
                if machine.epoch != before:
                    found.append(machine.electorate)
    except (StorageError, InputError, IndexError):
        return None
    return found


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
    rotated = (
        "if its key was changed since, `govraft-node learn-epochs` tells its store so; if the change is not certified, "
        "give it what `govraft lineage export --applied` writes"
    )
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
