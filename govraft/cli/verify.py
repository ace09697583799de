"""`govraft verify`: offline proof of certificates, receipts and lineage exports, from the genesis alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO

import click

from govraft.cli.input_files import read_bytes
from govraft.cli.output import emit, fields_table, progress, time_text
from govraft.cli.settings import CliCommand, Settings
from govraft.core.evidence.certificate import ProvenCheckpoint, prove_checkpoint
from govraft.core.evidence.lineage_export import LINEAGE_FORMAT, prove_lineage
from govraft.core.evidence.receipt import prove_receipt
from govraft.core.model.genesis import Genesis
from govraft.core.model.limits import GENESIS_BYTES
from govraft.errors import ConfigError, DecodeError, InputError, VerificationError

__all__ = ["verify"]

_FIRST_BYTES = 4096
_FILE_BYTES_MAX = 4 * 1024 * 1024
_LINE_BYTES_MAX = 512 * 1024


@click.command(cls=CliCommand)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--genesis", "genesis_path", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Trusted."
)
@click.pass_obj
def verify(settings: Settings, file: Path, genesis_path: Path | None) -> None:
    """Prove what FILE says, offline; nothing is trusted but the genesis.

    FILE is a quorum certificate (a C2SP signed note), a receipt, or a lineage export. Prints what is proven. Exit
    code 0 if FILE is proven, 1 if it is not, 2 if a file cannot be read.
    """
    genesis = _genesis(settings, genesis_path)
    try:
        source = file.open("rb")
    except OSError as error:
        raise InputError(f"`{file}` cannot be read: {error.strerror}", code="file_unreadable") from error
    with closing(source):
        proven = _prove(source, genesis)
    data = {"proven": True, "cluster": genesis.cluster_id, "name": genesis.name, **proven}
    emit(
        settings.output,
        data,
        fields_table((name.replace("_", " "), _shown(name, value)) for name, value in data.items()),
    )


def _genesis(settings: Settings, path: Path | None) -> Genesis:
    index = settings.cluster_index() if path is None else None
    if path is None and index is not None:
        path = index.genesis
    if path is None:
        raise InputError("verify needs the genesis that you trust: give `--genesis FILE`")
    data = read_bytes(path)
    if len(data) > GENESIS_BYTES:
        raise ConfigError(f"is over {GENESIS_BYTES} bytes", file=str(path))
    try:
        return Genesis.decode(data)
    except DecodeError as error:
        raise ConfigError(str(error), file=str(path)) from error


def _prove(source: BinaryIO, genesis: Genesis) -> dict[str, Any]:
    """By what the file begins with. A file is never taken for another kind than it says it is."""
    first = source.read(_FIRST_BYTES)
    size = source.seek(0, 2)
    source.seek(0)
    if LINEAGE_FORMAT.encode() in first.split(b"\n", 1)[0]:
        return _prove_lineage(source, size, genesis)
    if size > _FILE_BYTES_MAX:
        raise VerificationError("this is no evidence that govraft knows", code="evidence_malformed")
    data = source.read(_FILE_BYTES_MAX)
    if first.lstrip().startswith(b"{"):
        return _prove_receipt(data, genesis)
    return {"kind": "certificate", **_checkpoint(prove_checkpoint(data, genesis))}


def _prove_lineage(source: BinaryIO, size: int, genesis: Genesis) -> dict[str, Any]:
    with progress("replaying", size) as advance:
        proven = prove_lineage(_lines(source, advance), genesis)
    return {
        "kind": "lineage",
        **_checkpoint(proven.checkpoint),
        "applied": proven.applied,
        "rejected": proven.rejected,
        "state_root": proven.state_root.hex(),
        "time": proven.time,
        "policy_version": proven.policy_version,
        "entities": proven.entities,
    }


def _lines(source: BinaryIO, advance: Any) -> Iterator[bytes]:
    while line := source.readline(_LINE_BYTES_MAX):
        advance(len(line))
        yield line


def _prove_receipt(data: bytes, genesis: Genesis) -> dict[str, Any]:
    proven = prove_receipt(data, genesis)
    header = {"cluster", "command_id", "not_after"}
    return {
        "kind": "receipt",
        **_checkpoint(proven.checkpoint),
        "command": proven.command,
        "command_id": proven.command_id,
        "outcome": proven.leaf.outcome,
        "command_seq": proven.leaf.seq,
        "time": proven.leaf.time,
        "fields": {name: value for name, value in proven.payload.items() if name not in header},
    }


def _checkpoint(checkpoint: ProvenCheckpoint) -> dict[str, Any]:
    return {"seq": checkpoint.seq, "root": checkpoint.root.hex(), "cosigners": list(checkpoint.cosigners)}


def _shown(name: str, value: Any) -> object:
    if name == "time":
        return time_text(value)
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return " ".join(f"{key}={item!r}" for key, item in value.items())
    return "yes" if value is True else value
