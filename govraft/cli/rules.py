"""`govraft rules`: by which rules the cluster applies its entries."""

from __future__ import annotations

import click

from govraft.cli.nodes import choose_client, field_of
from govraft.cli.output import Table, emit
from govraft.cli.settings import CliGroup, Settings, SigningCommand
from govraft.cli.submission import Submitter, emit_receipt
from govraft.core.model.commands import ClusterRules

__all__ = ["rules"]


@click.group(cls=CliGroup)
def rules() -> None:
    """The number of the rules by which all nodes apply entries.

    A new version of govraft may bring a new number with it. It is in force once the roots have raised it, when every
    node runs a version that knows it.
    """


@rules.command()
@click.pass_obj
def show(settings: Settings) -> None:
    """Show the number in force, and the newest that the node knows."""
    with choose_client(settings) as client:
        status = client.status()
    found = {name: field_of(status, key, int) for name, key in (("in_force", "rules"), ("known", "rules_known"))}
    emit(settings.output, found, Table(("IN FORCE", "KNOWN"), [tuple(found.values())]))


@rules.command("raise", cls=SigningCommand)
@click.argument("number", type=click.IntRange(min=1))
@click.pass_obj
def raise_rules(settings: Settings, number: int) -> None:
    """Raise it by one, to NUMBER. Nothing lowers it again.

    The leader refuses it while a member does not answer, or runs a version that does not know NUMBER.
    """
    submitter = Submitter(settings)
    emit_receipt(settings, submitter.run([submitter.author.build(ClusterRules, to=number)]))
