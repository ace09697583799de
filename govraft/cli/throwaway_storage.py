"""Let the nodes of a cluster run on a file system that forgets: all on this host, made and thrown away together."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from govraft.adapters.file_systems import forgets_store
from govraft.errors import ConfigError, StorageError
from govraft.node.config import NodeConfig, load_config

__all__ = ["allow_forgetful"]


def allow_forgetful(configs: Iterable[Path]) -> str:
    """Write `storage.unsafe_volatile = true` into each configuration whose data directory lies on such a file system.

    Args:
        configs: Files; one that cannot be used is left to the start, which says why.

    Returns:
        One line about it, for people; empty if nothing was written.

    Raises:
        ConfigError: A file cannot be written.
    """
    found: dict[str, str] = {}
    for path in configs:
        try:
            config = load_config(path)
            name = "" if config.unsafe_volatile else forgets_store(config.database)
        except (ConfigError, StorageError):
            continue
        if name:
            _allow(config)
            found[config.node_id] = name
    if not found:
        return ""
    names, where = ", ".join(found), ", ".join(sorted(set(found.values())))
    return f"{names}: `storage.unsafe_volatile = true` is written, as {where} forgets: throw all of it away at once"


def _allow(config: NodeConfig) -> None:
    text = config.file.read_text()
    line = "unsafe_volatile = true\n"
    for header in ("[storage]\n", "[timing]\n"):
        before, found, after = text.partition(header)
        if found:
            text = before + (found + line + after if header == "[storage]\n" else f"[storage]\n{line}\n{found}{after}")
            break
    else:
        text = f"{text.rstrip()}\n\n[storage]\n{line}"
    draft = config.file.with_name(f".{config.file.name}.new")
    try:
        draft.write_text(text)
        draft.replace(config.file)
    except OSError as error:
        raise ConfigError(f"cannot be written: {error.strerror}", file=str(config.file)) from error
