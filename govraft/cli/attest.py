"""`govraft attest`: sign a statement about an entity, or take one that is signed already, and put it on record."""

from __future__ import annotations

import base64
import hashlib
import re
import time
from pathlib import Path
from typing import Any

import click
import msgspec

from govraft.cli.input_files import json_value, read_bytes, read_text
from govraft.cli.nodes import choose_client, field_of, read_pages
from govraft.cli.settings import Settings, SigningCommand
from govraft.cli.signing import Author
from govraft.cli.submission import Submitter, emit_receipt
from govraft.cli.times import parse_time
from govraft.core.codec.envelope import decode_envelope
from govraft.core.codec.in_toto import STATEMENT_TYPE, Statement, decode_statement, encode_statement
from govraft.core.model.commands import Attest
from govraft.core.model.ids import HEX_DIGEST_PATTERN, ROOT_DOMAIN, canonical_uid
from govraft.core.model.limits import ATTESTATION_LIFE_MS
from govraft.errors import InputError

__all__ = ["attest"]

_PAGE = 500
_DAY_MS = 86_400_000
_LAST, _FIRST = "last", "none"


@click.command(cls=SigningCommand)
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--entity", required=True, metavar="UID", help="Whom or what it is about.")
@click.option("--expires", required=True, metavar="WHEN", help="When it ends: `90d`, or RFC 3339.")
@click.option("--type", "predicate_type", metavar="URI", help="Type of the predicate; without it FILE is an envelope.")
@click.option("--subject", "subjects", multiple=True, metavar="NAME=SHA256", help="Artefact; repeatable.")
@click.option(
    "--supersedes",
    default=_LAST,
    metavar="DIGEST",
    help="The attestor's statement that this one follows: `last` asks a node, `none` begins a chain.",
)
@click.option("--domain", default=ROOT_DOMAIN, metavar="ID", help="In which the attestor holds the role.")
@click.pass_obj
def attest(
    settings: Settings,
    file: Path,
    entity: str,
    expires: str,
    predicate_type: str | None,
    subjects: tuple[str, ...],
    supersedes: str,
    domain: str,
) -> None:
    """Put a statement about an entity on record; `-` reads stdin.

    With `--type`, FILE is a predicate in JSON: a statement about each `--subject` is made and signed. Without it, FILE
    is an in-toto statement in a DSSE envelope, signed by an attestor who signs the command too.
    """
    uid, submitter = canonical_uid(entity), Submitter(settings)
    command = submitter.author.build(
        Attest, statement="", entity=uid, expires=_expiry(expires), supersedes=None, domain=domain
    )
    if predicate_type is None:
        if subjects:
            raise InputError("a ready envelope names its subjects: leave `--subject` out, or give `--type`")
        envelope = read_bytes(file)
    else:
        payload = _statement(file, predicate_type, subjects)
        envelope = submitter.author.sign_statement(STATEMENT_TYPE, payload, command)
    statement, attestor = _open(envelope, submitter.author)
    digest = hashlib.sha256(envelope).hexdigest()
    command = msgspec.structs.replace(
        command,
        statement=base64.b64encode(envelope).decode("ascii"),
        supersedes=_superseded(settings, supersedes, uid, statement.predicate_type, attestor),
    )
    emit_receipt(settings, submitter.run([command]), {"attestation": digest})


def _statement(file: Path, predicate_type: str, subjects: tuple[str, ...]) -> bytes:
    predicate = json_value(read_text(file), f"`{file}`")
    if not isinstance(predicate, dict):
        raise InputError(f"`{file}` holds no predicate: a json object is wanted", code="malformed")
    named: dict[str, str] = {}
    for text in subjects:
        name, separator, digest = text.rpartition("=")
        digest = digest.removeprefix("sha256:")
        if not separator or not name or re.fullmatch(HEX_DIGEST_PATTERN, digest) is None or name in named:
            raise InputError(f"`{text}` is no subject: write NAME=SHA256, each name once, 64 hexadecimal digits")
        named[name] = digest
    if not named:
        raise InputError("a statement is about something: give `--subject NAME=SHA256`")
    return encode_statement(predicate_type, named, predicate)


def _open(data: bytes, author: Author) -> tuple[Statement, str | None]:
    """What a statement says, and who its key id says has signed it; None for a key id of nobody."""
    envelope = decode_envelope(data)
    if envelope.payload_type != STATEMENT_TYPE:
        raise InputError(f"the envelope holds `{envelope.payload_type[:100]}`, not `{STATEMENT_TYPE}`")
    names = [author.holder(part.key_id) for part in envelope.signatures]
    known = [name for name in names if not name.startswith("unknown key")]
    return decode_statement(envelope.payload), known[0] if known else None


def _expiry(text: str) -> int:
    now, expiry = time.time_ns() // 1_000_000, parse_time(text, "--expires")
    if not now < expiry <= now + ATTESTATION_LIFE_MS:
        raise InputError(f"`--expires {text}` must be ahead, by at most {ATTESTATION_LIFE_MS // _DAY_MS} days")
    return expiry


def _superseded(settings: Settings, text: str, entity: str, predicate_type: str, attestor: str | None) -> str | None:
    if text == _FIRST:
        return None
    if text != _LAST:
        if re.fullmatch(HEX_DIGEST_PATTERN, text) is None:
            raise InputError(f"`--supersedes {text}` must be `last`, `none` or a digest of 64 hexadecimal digits")
        return text
    if attestor is None:
        raise InputError("the envelope does not say who signed it: give `--supersedes DIGEST` or `--supersedes none`")
    with choose_client(settings) as client:
        pages = read_pages(client, "attestations", "attestations", _PAGE, entity=entity)
        own: list[dict[str, Any]] = [
            item for item in pages if (item["attestor"], item["predicate_type"]) == (attestor, predicate_type)
        ]
    return field_of(own[0], "digest", str) if own else None
