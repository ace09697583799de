"""`govraft lineage`: list, show, export, prove."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from govraft.cli.new_file import open_new
from govraft.cli.nodes import choose_client, field_of, read_genesis, read_links
from govraft.cli.output import Table, digits, emit, fields_table, note, progress, time_text, write_data
from govraft.cli.settings import CliGroup, Settings
from govraft.client.client import Client
from govraft.core.codec.canonical import unpack_json
from govraft.core.codec.envelope import decode_envelope
from govraft.core.crypto.keys import key_id
from govraft.core.evidence.lineage_export import encode_end, encode_epoch, encode_header, encode_record
from govraft.core.evidence.lineage_proof import EarlierLineage, encode_proof_file
from govraft.core.lineage.leaf import Leaf
from govraft.core.machine.entry import decode_entry
from govraft.core.model.commands import command_name
from govraft.core.model.genesis import FIRST_EPOCH, Genesis
from govraft.core.model.limits import ENVELOPE_BYTES
from govraft.errors import AvailabilityError, GovraftError, InputError

__all__ = ["export_lines", "lineage"]

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
        found = []
        genesis = read_genesis(settings)
        for seq, leaf, entry in read_lineage(client, start, end):
            payload, signers = _opened(seq, entry)[2], _signers(entry, genesis)
            found.append({**_describe(seq, leaf, entry), "signers": signers, "target": _target(payload or {})})
    rows = [
        (
            item["seq"],
            time_text(item["time"]),
            item["outcome"],
            item["command"],
            item["target"],
            ", ".join(item["signers"]),
        )
        for item in found
    ]
    emit(settings.output, found, Table(("SEQ", "TIME", "OUTCOME", "COMMAND", "TARGET", "SIGNED BY"), rows))


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
@click.option("--applied", is_flag=True, help="Also what is not certified: proves nothing, for learn-epochs only.")
@click.pass_obj
def export(settings: Settings, file: Path, *, applied: bool) -> None:
    """Write the whole certified lineage to FILE, for `govraft verify`; `-` writes to stdout.

    With `--applied` all that the node has applied. `govraft-node learn-epochs` takes it for a node whose new key must
    help to certify the very change that brought it in; nothing else does.
    """
    genesis = read_genesis(settings)
    if applied:
        _export_applied(settings, genesis, file)
        return
    with choose_client(settings) as client:
        last, text = _certificate(client)
        with open_new(file) as out, progress("exporting", last) as advance:
            for line in _export_lines(client, genesis, last, text):
                out.write(line)
                advance()
    note(f"exported seq 1 to {last}; check it with: govraft verify {file} --genesis genesis.json")


@lineage.command()
@click.argument("seq", type=click.IntRange(1))
@click.option(
    "--consistency",
    "earlier",
    type=click.IntRange(1),
    metavar="SEQ",
    help="Also prove that the lineage begins with that of SEQ.",
)
@click.pass_obj
def prove(settings: Settings, seq: int, earlier: int | None) -> None:
    """Print a proof that the leaf of SEQ is in the certified lineage, for `govraft verify`."""
    with choose_client(settings) as client:
        found = next(read_lineage(client, seq, seq), None)
        if found is None:
            raise InputError(f"there is no seq {seq} yet", code="seq_unknown")
        proof = client.read("proof", seq=seq, **({} if earlier is None else {"from": earlier}))
        links = read_links(client)
    before = None
    if earlier is not None:
        before = EarlierLineage(earlier, field_of(proof, "from_root", bytes), field_of(proof, "consistency", list))
    data = encode_proof_file(
        found[1],
        proof=field_of(proof, "proof", list),
        certificate=field_of(proof, "note", bytes),
        earlier=before,
        links=links,
    )
    write_data(data.decode() + "\n")


def _export_applied(settings: Settings, genesis: Genesis, file: Path) -> None:
    with choose_client(settings) as client:
        last = field_of(client.status(), "seq", int)
        changes = {seq: (epoch, lease) for epoch, seq, lease in _read_changes(client)}
        with open_new(file) as out, progress("exporting", last) as advance:
            out.write(encode_header(genesis, last=last, applied=True))
            for line in _record_lines(client, last, changes):
                out.write(line)
                advance()
    note(f"exported seq 1 to {last}, certified or not: tell a node with govraft-node learn-epochs --from {file}")


def export_lines(client: Client, genesis: Genesis) -> Iterator[bytes]:
    """The certified lineage as the lines of an export.

    Raises:
        GovraftError: The node holds no certificate, or its answers are not usable.
    """
    yield from _export_lines(client, genesis, *_certificate(client))


def _certificate(client: Client) -> tuple[int, bytes]:
    certificate = client.read("certificate")
    last, text = field_of(certificate, "seq", int), field_of(certificate, "note", bytes)
    if last < 1:
        raise AvailabilityError("the node holds no certificate yet: try again once it may allow")
    return last, text


def _export_lines(client: Client, genesis: Genesis, last: int, text: bytes) -> Iterator[bytes]:
    changes = {seq: (epoch, lease) for epoch, seq, lease in _read_changes(client)}
    yield encode_header(genesis, last=last)
    yield from _record_lines(client, last, changes)
    yield encode_end(text)


def _record_lines(client: Client, last: int, changes: Mapping[int, tuple[int, bytes]]) -> Iterator[bytes]:
    for seq, leaf, entry in read_lineage(client, 1, last):
        yield encode_record(seq, leaf, entry)
        if seq in changes:
            yield encode_epoch(*changes[seq])


def _read_changes(client: Client) -> Iterator[tuple[int, int, bytes]]:
    """Epoch, seq and joint lease of each certified change of the electorate."""
    following: int | None = FIRST_EPOCH + 1
    while following is not None:
        page = client.read("epochs", **{"from": following})
        for row in field_of(page, "epochs", list):
            yield field_of(row, "epoch", int), field_of(row, "seq", int), field_of(row, "lease", bytes)
        after = page.get("next")
        # A page that leads nowhere new would be asked for without end.
        following = after if isinstance(after, int) and after > following else None


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
    return {
        "sections": {name: value.hex() for name, value in decoded.sections.items()},
        "signers": _signers(entry, genesis),
        "payload": _opened(decoded.seq, entry)[2],
        "entry": None if entry is None else base64.b64encode(entry).decode("ascii"),
    }


def _signers(entry: bytes | None, genesis: Genesis) -> list[str]:
    """Who signed, by the keys of the genesis; other keys by their first digits."""
    known = {key_id(authority.public_key): authority.id for authority in genesis.authorities}
    known |= {key_id(member.public_key): member.id for member in genesis.members}
    with contextlib.suppress(InputError):
        if entry is not None:
            opened = decode_envelope(decode_entry(entry).envelope)
            return [known.get(part.key_id, f"key {digits(part.key_id)}") for part in opened.signatures]
    return []


def _target(payload: dict[str, Any]) -> str:
    """What a command is about, in a few words. A rejected one may hold anything."""
    kind, member = payload.get("kind", ""), payload.get("member")
    if isinstance(payload.get("entities"), list):
        return _first_of([item.get("uid") if isinstance(item, dict) else item for item in payload["entities"]])
    for name in ("targets", "uids"):
        if isinstance(payload.get(name), list):
            return f"{kind} {_first_of(payload[name])}".strip()
    if isinstance(member, dict):
        return str(member.get("id", ""))
    for name in ("id", "uid", "entity", "node", "command", "role"):
        if name in payload:
            return f"{kind} {payload[name]}".strip()
    if "version" in payload:
        return f"version {payload['version']}"
    return digits(payload.get("proposal", "")) or str(payload.get("to", ""))


def _first_of(items: list[Any]) -> str:
    return f"{items[0]}{f' and {len(items) - 1} more' if len(items) > 1 else ''}" if items else ""


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
