"""The one thing that offline proofs trust."""

from __future__ import annotations

from pathlib import Path

from govraft.cli.input_files import read_bytes
from govraft.cli.settings import Settings
from govraft.core.model.genesis import Genesis
from govraft.core.model.limits import GENESIS_BYTES
from govraft.errors import ConfigError, DecodeError, InputError

__all__ = ["trusted_genesis"]


def trusted_genesis(settings: Settings, path: Path | None) -> Genesis:
    """The genesis that an offline proof starts from: of a file, else of the cluster directory. Never of a node.

    Raises:
        InputError: None was named, or it cannot be read.
        ConfigError: It is no genesis.
    """
    index = settings.cluster_index() if path is None else None
    if path is None and index is not None:
        path = index.genesis
    if path is None:
        raise InputError("an offline proof needs the genesis that you trust: give `--genesis FILE`")
    data = read_bytes(path)
    if len(data) > GENESIS_BYTES:
        raise ConfigError(f"is over {GENESIS_BYTES} bytes", file=str(path))
    try:
        return Genesis.decode(data)
    except DecodeError as error:
        raise ConfigError(str(error), file=str(path)) from error
