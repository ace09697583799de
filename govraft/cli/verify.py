"""`govraft verify`: offline proof of every kind of evidence, from the genesis and the trust state. Writes nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO

import click

from govraft.cli.input_files import json_value, read_text
from govraft.cli.output import emit, fields_table, note, progress, time_text
from govraft.cli.settings import CliCommand, Settings
from govraft.cli.times import parse_moment
from govraft.cli.trust_file import TRUST_WORDS, find_trust, trusted_option
from govraft.cli.trusted_genesis import trusted_genesis
from govraft.core.evidence.evidence import TIMES, Use, describe_lineage, is_lineage, prove_evidence
from govraft.core.evidence.files import EVIDENCE_BYTES_MAX, malformed
from govraft.core.evidence.lineage_export import LINE_BYTES_MAX, prove_lineage
from govraft.core.machine.snapshot import SNAPSHOT_FILE_BYTES, is_snapshot
from govraft.core.model.genesis import TIME_MAX_MS, Genesis
from govraft.core.model.request import Request
from govraft.errors import InputError

__all__ = ["verify"]

_FIRST_BYTES = 4096


@click.command(cls=CliCommand)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--genesis", "genesis_path", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Trusted."
)
@click.option(
    "--request",
    "request_text",
    metavar="JSON",
    help="What a permit or denial must be about: principal, action, resource, context; @FILE reads a file.",
)
@click.option("--audience", metavar="NAME", help="Who verifies: a permit that names another audience is void.")
@click.option(
    "--at-least",
    type=click.IntRange(0),
    default=0,
    metavar="SEQ",
    help="A seq known to be effective: a permit on an older state is void.",
)
@click.option("--at", metavar="TIME", help="When to verify for: ms since 1970, or RFC 3339; default now.")
@trusted_option
@click.pass_obj
def verify(
    settings: Settings,
    *,
    file: Path,
    genesis_path: Path | None,
    request_text: str | None,
    audience: str | None,
    at_least: int,
    at: str | None,
    trusted: str | None,
) -> None:
    """Prove what FILE says, offline; nothing is trusted but the genesis and what `govraft trust set` was given.

    FILE is a permit, a signed denial, a receipt, a lineage export, a node's snapshot, a proof of `govraft lineage
    prove`, evidence of equivocation, or a quorum certificate (a C2SP signed note). Prints what is proven, and on whose
    word: without a trust state, whoever holds the keys of a former electorate can still make such files. Exit code 0
    if FILE is proven, 1 if it is not, 2 if a file cannot be read. With `--at`, evidence of the past counts even if
    nothing ties it to the trusted history.
    """
    genesis = trusted_genesis(settings, genesis_path)
    request = None if request_text is None else _request(request_text)
    place = find_trust(trusted, genesis)
    now = time.time_ns() // 1_000_000
    moment = now if at is None else parse_moment(at, "--at")
    use = Use(moment, request, audience, at_least, place.load(genesis), is_past=at is not None)
    try:
        source = file.open("rb")
    except OSError as error:
        raise InputError(f"`{file}` cannot be read: {error.strerror}", code="file_unreadable") from error
    with closing(source):
        proven = _prove(source, genesis, use)
    data = {"proven": True, "cluster": genesis.cluster_id, "name": genesis.name, **proven, "trusted": place.name}
    if proven["trust"] == "not_shown":
        note(f"govraft: {TRUST_WORDS['not_shown']}")
    emit(
        settings.output,
        data,
        fields_table((name.replace("_", " "), _shown(name, value)) for name, value in data.items()),
    )


def _request(text: str) -> Request:
    value = json_value(read_text(Path(text[1:])) if text.startswith("@") else text, "`--request`")
    fields = {"principal", "action", "resource"}
    if not isinstance(value, dict) or not fields <= value.keys() <= fields | {"context"}:
        raise InputError("`--request` must be a json object of `principal`, `action`, `resource`, `context`")
    context = value.get("context", {})
    if not all(isinstance(value[name], str) for name in fields) or not isinstance(context, dict):
        raise InputError("`--request`: uids are text, and `context` is a json object")
    return Request(value["principal"], value["action"], value["resource"], context)


def _prove(source: BinaryIO, genesis: Genesis, use: Use) -> dict[str, Any]:
    """By what the file begins with; a lineage export is read as a stream, as it may be large."""
    first = source.read(_FIRST_BYTES)
    size = source.seek(0, 2)
    source.seek(0)
    if is_snapshot(first):
        return prove_evidence(source.read(SNAPSHOT_FILE_BYTES + 1), genesis, use)
    if is_lineage(first):
        with progress("replaying", size) as advance:
            return describe_lineage(prove_lineage(_lines(source, advance), genesis, trust=use.trust), use)
    if size > EVIDENCE_BYTES_MAX:
        raise malformed("this is no evidence that govraft knows")
    return prove_evidence(source.read(EVIDENCE_BYTES_MAX), genesis, use)


def _lines(source: BinaryIO, advance: Any) -> Iterator[bytes]:
    while line := source.readline(LINE_BYTES_MAX + 1):
        advance(len(line))
        yield line


def _shown(name: str, value: Any) -> object:
    if name == "trust":
        return TRUST_WORDS[value]
    if name in TIMES and isinstance(value, int):
        return time_text(value) if value <= TIME_MAX_MS else f"{value} ms"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else value
