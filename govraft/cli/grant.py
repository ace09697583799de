"""`govraft grant`: issue, delegate, renew, revoke, list, show."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import click

from govraft.cli.known_uids import check_known
from govraft.cli.nodes import choose_client, field_of, read
from govraft.cli.output import Table, emit, fields_table, time_text
from govraft.cli.settings import CliGroup, Settings, SigningCommand, ask_first, yes_option
from govraft.cli.submission import Submitter, emit_receipt
from govraft.cli.times import parse_time
from govraft.core.model.commands import GrantDelegate, GrantIssue, GrantRenew, GrantRevoke
from govraft.core.model.ids import ROOT_DOMAIN, canonical_uid
from govraft.core.model.limits import GRANT_DEPTH

__all__ = ["grant"]


@click.group(cls=CliGroup)
def grant() -> None:
    """Grants: permission lent for a time, for permits that require one."""


def _what_is_granted(command: Callable[..., None]) -> Callable[..., None]:
    """The options of a new grant."""
    options = (
        click.option("--holder", required=True, metavar="UID", help="Subject or group that holds it."),
        click.option("--action", "actions", multiple=True, required=True, metavar="UID", help="Action or group."),
        click.option("--resource", "resources", multiple=True, required=True, metavar="UID", help="Resource or group."),
        click.option("--from", "begins", metavar="TIME", help="Since when it counts; default now."),
        click.option("--until", "ends", required=True, metavar="TIME", help="When it ends: `2h`, or RFC 3339."),
        click.option("--delegate", metavar="AUTHORITY", help="Who may hand it on alone."),
        click.option("--unregistered", is_flag=True, help="They may be entities that are not registered."),
        click.option(
            "--depth", type=click.IntRange(0, GRANT_DEPTH), default=0, metavar="N", help="How often; default 0."
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@grant.command(cls=SigningCommand)
@click.argument("identifier", metavar="ID")
@_what_is_granted
@click.option("--domain", default=ROOT_DOMAIN, metavar="DOMAIN", help="Where it counts, with all below; default root.")
@click.pass_obj
def issue(settings: Settings, /, identifier: str, domain: str, *, unregistered: bool, **given: Any) -> None:
    """Issue the grant ID."""
    _check_known(settings, given, unregistered=unregistered)
    submitter = Submitter(settings)
    command = submitter.author.build(GrantIssue, id=identifier, domain=domain, **_fields(given))
    emit_receipt(settings, submitter.run([command]))


@grant.command(cls=SigningCommand)
@click.argument("parent")
@click.argument("identifier", metavar="ID")
@_what_is_granted
@click.option("--domain", metavar="DOMAIN", help="Where it counts, with all below; default as the parent.")
@click.pass_obj
def delegate(
    settings: Settings, /, parent: str, identifier: str, domain: str | None, *, unregistered: bool, **given: Any
) -> None:
    """Hand the grant PARENT on as the grant ID, in no respect wider."""
    _check_known(settings, given, unregistered=unregistered)
    fields = _fields(given)
    where = domain or field_of(read(settings, "grant", id=parent), "domain", str)
    submitter = Submitter(settings)
    command = submitter.author.build(GrantDelegate, id=identifier, parent=parent, domain=where, **fields)
    emit_receipt(settings, submitter.run([command]))


@grant.command(cls=SigningCommand)
@click.argument("identifier", metavar="ID")
@click.option("--until", "ends", required=True, metavar="TIME", help="When it ends: `2h`, or RFC 3339.")
@click.pass_obj
def renew(settings: Settings, identifier: str, ends: str) -> None:
    """Let the grant ID end at another time, later or sooner."""
    end = parse_time(ends, "--until")
    submitter = Submitter(settings)
    command = submitter.author.build(GrantRenew, id=identifier, not_after_grant=end)
    emit_receipt(settings, submitter.run([command]))


@grant.command(cls=SigningCommand)
@click.argument("identifier", metavar="ID")
@click.option("--reason", required=True, help="Why, for people.")
@yes_option
@click.pass_obj
def revoke(settings: Settings, identifier: str, reason: str, *, yes: bool) -> None:
    """Revoke the grant ID, and all that was handed on from it, for ever."""
    if not yes:
        ask_first(settings, f"revoke the grant `{identifier}`, and all that was handed on from it, for ever?")
    submitter = Submitter(settings)
    command = submitter.author.build(GrantRevoke, id=identifier, reason=reason)
    emit_receipt(settings, submitter.run([command]))


@grant.command("list")
@click.option("--holder", metavar="UID", help="Only what it holds itself.")
@click.pass_obj
def list_grants(settings: Settings, holder: str | None) -> None:
    """List grants, ended and revoked ones too while they are kept."""
    of = {} if holder is None else {"holder": canonical_uid(holder)}
    found: list[dict[str, Any]] = []
    with choose_client(settings) as client:
        after = ""
        while True:
            page = client.read("grants", after=after, **of)
            found += field_of(page, "grants", list)
            following = page.get("next")
            # A page that leads nowhere new would be asked for without end.
            if not isinstance(following, str) or following <= after:
                break
            after = following
    rows = [
        (
            item["id"],
            item["status"],
            item["holder"],
            ", ".join(item["actions"]),
            ", ".join(item["resources"]),
            item["domain"],
            time_text(item["not_after"]),
            item["parent"],
        )
        for item in found
    ]
    columns = ("ID", "STATUS", "HOLDER", "ACTIONS", "RESOURCES", "DOMAIN", "UNTIL", "PARENT")
    emit(settings.output, found, Table(columns, rows))


@grant.command()
@click.argument("identifier", metavar="ID")
@click.pass_obj
def show(settings: Settings, identifier: str) -> None:
    """Show one grant, and what it came of."""
    found = read(settings, "grant", id=identifier)
    fields = {name: field_of(found, name, str) for name in ("id", "status", "holder", "domain")}
    rows: list[tuple[str, object]] = list(fields.items())
    rows += [("action", uid) for uid in field_of(found, "actions", list)]
    rows += [("resource", uid) for uid in field_of(found, "resources", list)]
    rows += [("from", time_text(found["not_before"])), ("until", time_text(found["not_after"]))]
    rows += [("delegate", found["delegate"] or "none"), ("depth", found["depth"])]
    rows += [("came of", name) for name in field_of(found, "above", list)]
    rows += [("authors", ", ".join(found["authors"])), ("seq", found["seq"])]
    if found["revoked"] is not None:
        rows.append(("revoked", f"{found['revoked']['reason']} (seq {found['revoked']['seq']})"))
    emit(settings.output, found, fields_table(rows))


def _check_known(settings: Settings, given: dict[str, Any], *, unregistered: bool) -> None:
    check_known(settings, (given["holder"], *given["actions"], *given["resources"]), unregistered=unregistered)


def _fields(given: dict[str, Any]) -> dict[str, Any]:
    """Fields of a new grant; mistakes are found before any key is opened."""
    begins = given["begins"]
    return {
        "holder": canonical_uid(given["holder"]),
        "actions": tuple(map(canonical_uid, given["actions"])),
        "resources": tuple(map(canonical_uid, given["resources"])),
        "not_before": time.time_ns() // 1_000_000 if begins is None else parse_time(begins, "--from"),
        "not_after_grant": parse_time(given["ends"], "--until"),
        "delegate": given["delegate"],
        "depth": given["depth"],
    }
