"""`govraft lineage`: list, show, export."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import click

from govraft.cli.nodes import choose_client, field_of, read_genesis
from govraft.cli.output import Table, digits, emit, fields_table, note, progress, time_text
from govraft.cli.settings import CliGroup, Settings
from govraft.client.client import Client
from govraft.core.codec.canonical import unpack_json
from govraft.core.codec.envelope import decode_envelope
from govraft.core.crypto.keys import key_id
from govraft.core.evidence.lineage_export import encode_end, encode_header, encode_record
from govraft.core.lineage.leaf import Leaf
from govraft.core.machine.entry import decode_entry
from govraft.core.model.commands import command_name
from govraft.core.model.genesis import Genesis
from govraft.core.model.limits import ENVELOPE_BYTES
from govraft.errors import AvailabilityError, GovraftError, InputError

__all__ = ["lineage"]

_PAGE = 500
_LISTED = 20


@click.group(cls=CliGroup)
def lineage() -> None:
    """The history of the cluster: every command, what became of it, and the proof."""


@lineage.command("list")
@click.option("--from", "first", type=click.IntRange(1), metavar="SEQ", help=f"Default: the last {_LISTED}.")
@click.option("--to", "last", type=click.IntRange(1), metavar="SEQ", help="Default: the newest.")
@click.pass_obj
def list_leaves(settings: Settings, first: int | None, last: int | None) -> None:
    """List what happened, oldest first."""
    with choose_client(settings) as client:
        end = last if last is not None else field_of(client.status(), "seq", int)
        start = first if first is not None else max(1, end - _LISTED + 1)
        found = [_describe(seq, leaf, entry) for seq, leaf, entry in read_lineage(client, start, end)]
    rows = [
        (item["seq"], time_text(item["time"]), item["outcome"], item["command"], item["command_id"]) for item in found
    ]
    emit(settings.output, found, Table(("SEQ", "TIME", "OUTCOME", "COMMAND", "COMMAND ID"), rows))


@lineage.command()
@click.argument("seq", type=click.IntRange(1))
@click.pass_obj
def show(settings: Settings, seq: int) -> None:
    """Show the leaf of SEQ, and the command in its entry."""
    with choose_client(settings) as client:
        found = next(read_lineage(client, seq, seq), None)
    if found is None:
        raise InputError(f"there is no seq {seq} yet", code="seq_unknown")
    genesis = read_genesis(settings)
    item = {**_describe(*found), **_details(found[1], found[2], genesis)}
    hidden = {"entry", "time"}
    rows: list[tuple[str, object]] = [("time", time_text(item["time"]))]
    rows += [(name, item[name]) for name in item if name not in hidden and not isinstance(item[name], dict | list)]
    rows += [("signed by", signer) for signer in item["signers"]]
    rows += [(f"section {name}", value) for name, value in item["sections"].items()]
    rows += [(f"field {name}", json.dumps(value)) for name, value in (item["payload"] or {}).items()]
    emit(settings.output, item, fields_table(rows))


@lineage.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.pass_obj
def export(settings: Settings, file: Path) -> None:
    """Write the whole certified lineage to FILE, for `govraft verify`; `-` writes to stdout."""
    genesis = read_genesis(settings)
    with choose_client(settings) as client:
        certificate = client.read("certificate")
        last, text = field_of(certificate, "seq", int), field_of(certificate, "note", bytes)
        if last < 1:
            raise AvailabilityError("the node holds no certificate yet: try again once it may allow")
        with _open_new(file) as out, progress("exporting", last) as advance:
            out.write(encode_header(genesis, last=last))
            for seq, leaf, entry in read_lineage(client, 1, last):
                out.write(encode_record(seq, leaf, entry))
                advance()
            out.write(encode_end(text))
    note(f"exported seq 1 to {last}; check it with: govraft verify {file} --genesis genesis.json")


def read_lineage(client: Client, first: int, last: int) -> Iterator[tuple[int, bytes, bytes | None]]:
    """Seq, leaf and entry of a range, page by page; ends early where the node's lineage ends.

    Raises:
        GovraftError: The node's answer is not usable.
    """
    seq = first
    while seq <= last:
        page = client.read("lineage", **{"from": seq, "to": min(last, seq + _PAGE - 1)})
        leaves, entries = field_of(page, "leaves", list), field_of(page, "entries", list)
        if len(leaves) != len(entries) or not all(isinstance(leaf, bytes) for leaf in leaves):
            raise GovraftError("the node's answer is no page of the lineage", code="answer_invalid")
        if not leaves:
            return
        for leaf, entry in zip(leaves, entries, strict=True):
            yield seq, leaf, entry
            seq += 1


@contextlib.contextmanager
def _open_new(path: Path) -> Iterator[BinaryIO]:
    """A file that is there once it is whole, or not at all. A device, pipe or link is written to, never replaced."""
    if str(path) == "-":
        yield sys.stdout.buffer
        return
    try:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            with path.open("wb") as special:
                yield special
            return
        with tempfile.NamedTemporaryFile(dir=path.absolute().parent, prefix=f".{path.name}.", delete=False) as draft:
            try:
                yield draft  # type: ignore[misc]
                draft.flush()
                os.fsync(draft.fileno())
                Path(draft.name).chmod(0o644)
                Path(draft.name).replace(path)
            except BaseException:
                Path(draft.name).unlink(missing_ok=True)
                raise
    except BrokenPipeError:
        raise
    except OSError as error:
        raise InputError(f"`{path}` cannot be written: {error.strerror}", code="file_unwritable") from error


def _describe(seq: int, leaf: bytes, entry: bytes | None) -> dict[str, Any]:
    decoded = Leaf.decode(leaf)
    command, command_id, _ = _opened(seq, entry)
    return {
        "seq": seq,
        "time": decoded.time,
        "epoch": decoded.epoch,
        "outcome": decoded.outcome,
        "command": command,
        "command_id": command_id,
        "entry_digest": decoded.entry_digest.hex(),
        "state_root": decoded.state_root.hex(),
    }


def _details(leaf: bytes, entry: bytes | None, genesis: Genesis) -> dict[str, Any]:
    decoded = Leaf.decode(leaf)
    known = {key_id(authority.public_key): authority.id for authority in genesis.authorities}
    signers: list[str] = []
    with contextlib.suppress(InputError):
        if entry is not None:
            opened = decode_envelope(decode_entry(entry).envelope)
            signers = [known.get(part.key_id, f"unknown key {digits(part.key_id)}") for part in opened.signatures]
    return {
        "sections": {name: value.hex() for name, value in decoded.sections.items()},
        "signers": signers,
        "payload": _opened(decoded.seq, entry)[2],
        "entry": None if entry is None else base64.b64encode(entry).decode("ascii"),
    }


def _opened(seq: int, entry: bytes | None) -> tuple[str, str, dict[str, Any] | None]:
    """Command, command id and payload. Rejected entries may hold anything: what cannot be read is said to be so."""
    if entry is None:
        return ("genesis" if seq == 1 else "unknown", "", None)
    try:
        opened = decode_envelope(decode_entry(entry).envelope)
        payload = unpack_json(opened.payload, max_bytes=ENVELOPE_BYTES)
    except InputError:
        return "unreadable", "", None
    name = command_name(opened.payload_type) or opened.payload_type
    if not isinstance(payload, dict):
        return name, "", None
    return name, str(payload.get("command_id", "")), payload
