"""`govraft attestation`: list, show, resolve."""

from __future__ import annotations

from typing import Any

import click

from govraft.cli.nodes import choose_client, read, read_pages
from govraft.cli.output import Table, digits, emit, fields_table, time_text
from govraft.cli.settings import CliGroup, Settings, SigningCommand
from govraft.cli.submission import Submitter, emit_receipt
from govraft.core.codec.in_toto import check_predicate_type
from govraft.core.model.commands import AttestationResolve
from govraft.core.model.ids import canonical_uid
from govraft.errors import InputError

__all__ = ["attestation"]

_PAGE = 500


@click.group(cls=CliGroup)
def attestation() -> None:
    """What attestors state about entities."""


@attestation.command("list")
@click.option("--entity", metavar="UID", help="Only those about this one.")
@click.option("--disputed", is_flag=True, help="Only those on which attestors disagree.")
@click.pass_obj
def list_attestations(settings: Settings, *, entity: str | None, disputed: bool) -> None:
    """List the last statement of each attestor about each entity."""
    about = {} if entity is None else {"entity": canonical_uid(entity)}
    with choose_client(settings) as client:
        pages = read_pages(client, "attestations", "attestations", _PAGE, **about)
        found = [item for item in pages if item["disputed"] or not disputed]
    rows = [
        (
            digits(item["digest"]),
            item["entity"],
            item["predicate_type"],
            item["attestor"],
            time_text(item["expires"]),
            _standing(item),
        )
        for item in found
    ]
    emit(settings.output, found, Table(("DIGEST", "ENTITY", "TYPE", "ATTESTOR", "EXPIRES", "STANDING"), rows))


@attestation.command("show")
@click.argument("digest")
@click.pass_obj
def show(settings: Settings, digest: str) -> None:
    """Show one by its digest."""
    item = read(settings, "attestation", digest=digest)
    if not isinstance(item, dict):
        raise InputError("the node's answer is no attestation", code="answer_invalid")
    dropped = item["dropped"]
    rows = [
        ("digest", item["digest"]),
        ("entity", item["entity"]),
        ("predicate type", item["predicate_type"]),
        ("attestor", item["attestor"]),
        *(("subject", f"sha256:{subject}") for subject in item["subjects"]),
        ("predicate", f"sha256:{item['predicate']}"),
        ("issued", time_text(item["issued"])),
        ("expires", time_text(item["expires"])),
        ("recorded at seq", item["seq"]),
        ("supersedes", item["supersedes"] or "none, it is the first"),
        ("chain", item["length"]),
        ("standing", _standing(item)),
        *([("dropped", f"{dropped['reason']} (seq {dropped['seq']})")] if dropped else []),
    ]
    emit(settings.output, item, fields_table(rows))


@attestation.command(cls=SigningCommand)
@click.argument("entity", metavar="UID")
@click.argument("predicate_type", metavar="TYPE")
@click.option("--keep", metavar="DIGEST", help="The attestation that counts.")
@click.option("--keep-none", is_flag=True, help="None of them counts.")
@click.option("--reason", required=True, help="Why, for people.")
@click.pass_obj
def resolve(
    settings: Settings, entity: str, predicate_type: str, *, keep: str | None, keep_none: bool, reason: str
) -> None:
    """Settle a disagreement of attestors about UID on predicates of TYPE. Operators of its domain sign."""
    if (keep is None) is not keep_none:
        raise InputError("say which one counts with `--keep DIGEST`, or `--keep-none`")
    submitter = Submitter(settings)
    command = submitter.author.build(
        AttestationResolve,
        entity=canonical_uid(entity),
        predicate_type=check_predicate_type(predicate_type),
        keep=keep,
        reason=reason,
    )
    emit_receipt(settings, submitter.run([command]))


def _standing(item: dict[str, Any]) -> str:
    """In a word, whether it counts; why not, as far as that is known."""
    if item["disputed"]:
        return "disputed"
    if item["counts"]:
        return "counts"
    return ", ".join([*item["marks"], *(["dropped"] if item["dropped"] else [])]) or "does not count"
