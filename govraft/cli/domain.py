"""`govraft domain`: create, move, remove, list, show."""

from __future__ import annotations

from typing import Any

import click

from govraft.cli.nodes import read
from govraft.cli.output import Table, emit, fields_table
from govraft.cli.settings import CliGroup, Settings, SigningCommand
from govraft.cli.submission import Submitter, emit_receipt
from govraft.core.model.commands import DomainCreate, DomainMove, DomainRemove
from govraft.core.model.ids import ROOT_DOMAIN
from govraft.errors import GovraftError, InputError

__all__ = ["domain"]


@click.group(cls=CliGroup)
def domain() -> None:
    """Domains: parts of the governed world, each narrower than the one above it."""


@domain.command(cls=SigningCommand)
@click.argument("identifier", metavar="ID")
@click.option("--parent", default=ROOT_DOMAIN, metavar="ID", help=f"The domain above it; default {ROOT_DOMAIN}.")
@click.pass_obj
def create(settings: Settings, identifier: str, parent: str) -> None:
    """Create the domain ID. It permits nothing until policies are published and activated in it."""
    submitter = Submitter(settings)
    emit_receipt(settings, submitter.run([submitter.author.build(DomainCreate, id=identifier, parent=parent)]))


@domain.command(cls=SigningCommand)
@click.argument("identifier", metavar="ID")
@click.argument("parent", metavar="PARENT")
@click.pass_obj
def move(settings: Settings, identifier: str, parent: str) -> None:
    """Put the domain ID, with all below it, below PARENT: what PARENT forbids binds it from then on."""
    submitter = Submitter(settings)
    emit_receipt(settings, submitter.run([submitter.author.build(DomainMove, id=identifier, parent=parent)]))


@domain.command(cls=SigningCommand)
@click.argument("identifier", metavar="ID")
@click.pass_obj
def remove(settings: Settings, identifier: str) -> None:
    """Remove the domain ID, in which nothing may be left.

    No domain below it, no entity, policy, grant, boundary, role or threshold. To leave no policy in it:
    `govraft policy publish --empty --activate --domain ID`.
    """
    submitter = Submitter(settings)
    emit_receipt(settings, submitter.run([submitter.author.build(DomainRemove, id=identifier)]))


@domain.command("list")
@click.pass_obj
def list_domains(settings: Settings) -> None:
    """List the domains as a tree."""
    found = _read(settings)
    rows = [
        (
            "  " * (len(item["path"]) - 1) + item["id"],
            item["policy_version"] or "none",
            item["entities"],
            item["seq"],
            ", ".join(item["authors"]),
        )
        for item in found
    ]
    emit(settings.output, found, Table(("DOMAIN", "ACTIVE VERSION", "ENTITIES", "SEQ", "BY"), rows))


@domain.command()
@click.argument("identifier", metavar="ID")
@click.pass_obj
def show(settings: Settings, identifier: str) -> None:
    """Show the domain ID, and whose prohibitions bind it."""
    every = _read(settings)
    found = next((item for item in every if item["id"] == identifier), None)
    if found is None:
        raise InputError(f"domain `{identifier}` does not exist; see `govraft domain list`", code="domain_unknown")
    above = [item for item in every if item["id"] in found["path"][:-1]]
    below = [item["id"] for item in every if identifier in item["path"][:-1]]
    rows: list[tuple[str, object]] = [
        ("domain", found["id"]),
        ("path", " / ".join(found["path"])),
        ("active version", found["policy_version"] or "none: nothing is permitted"),
        ("entities", found["entities"]),
        ("below it", ", ".join(below) or "none"),
    ]
    rows += [(f"bound by {item['id']}", f"version {item['policy_version'] or 'none'}") for item in reversed(above)]
    emit(settings.output, {**found, "below": below}, fields_table(rows))


def _read(settings: Settings) -> list[dict[str, Any]]:
    found = read(settings, "domains")
    if not isinstance(found, list):
        raise GovraftError("the node's answer lists no domains", code="answer_invalid")
    return found
