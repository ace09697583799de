"""`govraft mark`: what is stopped now, by whom, since when, and why."""

from __future__ import annotations

import click

from govraft.cli.nodes import choose_client, read_pages
from govraft.cli.output import Table, emit, time_text
from govraft.cli.settings import CliGroup, Settings
from govraft.core.model.commands import TargetKind
from govraft.core.model.ids import ROOT_DOMAIN

__all__ = ["mark"]

_MARKS = ("quarantined", "isolated", "revoked", "invalidated")
_PAGE = 1_000


@click.group(cls=CliGroup)
def mark() -> None:
    """Marks: what `quarantine`, `isolate`, `revoke` and `invalidate` have stopped, and still do."""


@mark.command("list")
@click.option("--mark", "name", type=click.Choice(_MARKS), help="Only these marks.")
@click.option("--kind", type=click.Choice([kind.value for kind in TargetKind]), help="Only targets of this kind.")
@click.option("--domain", metavar="ID", help="Only what was marked in exactly this domain.")
@click.option("--by", metavar="AUTHORITY", help="Only what this authority has signed.")
@click.option("--id", "target", metavar="ID", help="Only this target.")
@click.pass_obj
def list_marks(
    settings: Settings, *, name: str | None, kind: str | None, domain: str | None, by: str | None, target: str | None
) -> None:
    """List what is stopped now, by whom, since when, and why."""
    wanted = {"mark": name, "kind": kind, "domain": domain, "id": target}
    with choose_client(settings) as client:
        found = [
            item
            for item in read_pages(client, "marks", "marks", _PAGE)
            if all(value is None or item.get(field, ROOT_DOMAIN) == value for field, value in wanted.items())
            and (by is None or by in item["authors"])
        ]
    rows = [
        (
            item["mark"],
            item["kind"],
            item["id"],
            time_text(item["time"]),
            item["seq"],
            ", ".join(item["authors"]),
            item["domain"],
            item["reason"],
        )
        for item in found
    ]
    emit(settings.output, found, Table(("MARK", "KIND", "ID", "SINCE", "SEQ", "BY", "DOMAIN", "REASON"), rows))
