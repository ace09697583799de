"""`govraft authority list` and `govraft member list`."""

from __future__ import annotations

import click

from govraft.cli.nodes import field_of, read
from govraft.cli.output import Table, digits, emit
from govraft.cli.settings import CliGroup, Settings
from govraft.errors import GovraftError

__all__ = ["authority", "member"]


@click.group(cls=CliGroup)
def authority() -> None:
    """Who may command the cluster."""


@authority.command("list")
@click.pass_obj
def list_authorities(settings: Settings) -> None:
    """List authorities, their roles, and how many of a role it takes."""
    found = read(settings, "authorities")
    authorities = field_of(found, "authorities", list)
    thresholds = field_of(found, "thresholds", dict)
    rows = []
    for item in authorities:
        roles = [f"{role} ({thresholds[role]} needed)" if role in thresholds else str(role) for role in item["roles"]]
        rows.append((item["id"], ", ".join(roles), item["key_id"]))
    emit(settings.output, found, Table(("ID", "ROLES", "KEY ID"), rows))


@click.group(cls=CliGroup)
def member() -> None:
    """The nodes of the cluster."""


@member.command("list")
@click.pass_obj
def list_members(settings: Settings) -> None:
    """List nodes."""
    members = read(settings, "members")
    if not isinstance(members, list):
        raise GovraftError("the node's answer lists no members", code="answer_invalid")
    rows = [
        (item["id"], "voter" if item["voter"] else "observer", item["address"], digits(item["public_key"]))
        for item in members
    ]
    emit(settings.output, members, Table(("ID", "KIND", "ADDRESS", "PUBLIC KEY"), rows))
