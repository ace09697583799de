"""`govraft entity`: put, patch, delete, list, show."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import click

from govraft.cli.entity_files import batches, read_entities
from govraft.cli.input_files import json_value
from govraft.cli.nodes import choose_client, read, read_pages
from govraft.cli.output import Table, emit, note
from govraft.cli.policy_world import active_bundle
from govraft.cli.settings import CliGroup, Settings, SigningCommand
from govraft.cli.submission import Submitter, emit_receipt
from govraft.core.model.commands import EntityDelete, EntityPatch, EntityPut
from govraft.core.model.ids import ROOT_DOMAIN, canonical_uid, parse_uid
from govraft.core.model.limits import ENTITIES_PER_COMMAND
from govraft.errors import InputError

__all__ = ["entity"]

_PAGE = 1_000


@click.group(cls=CliGroup)
def entity() -> None:
    """Entities: whom and what the policies speak of."""


@entity.command(cls=SigningCommand)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option(
    "--domain", default=ROOT_DOMAIN, metavar="ID", help=f"To which they belong from now on; default {ROOT_DOMAIN}."
)
@click.pass_obj
def put(settings: Settings, files: tuple[Path, ...], domain: str) -> None:
    """Create or replace the entities in files: JSON as Cedar has it, or JSON Lines; `-` reads stdin.

    What does not fit into one command is sent in several: each takes effect whole, one after the other. An entity of
    another domain moves to the one that is named here.
    """
    found = read_entities(files, domain)
    if found.actions:
        with choose_client(settings) as client:
            active = active_bundle(client, ROOT_DOMAIN)
        found.check_actions(None if active is None else active.schema)
        note(f"{len(found.actions)} actions are as the schema has them, which alone defines them: not sent")
    entities = found.entities
    if not entities:
        raise InputError("there is nothing to put: the files hold actions only")
    submitter = Submitter(settings)
    commands = [submitter.author.build(EntityPut, domain=domain, entities=batch) for batch in batches(entities)]
    receipt = submitter.run(commands, "putting entities")
    emit_receipt(settings, receipt, {"entities": len(entities), "commands": len(commands)})


@entity.command(cls=SigningCommand)
@click.argument("uid")
@click.option("--set", "assignments", multiple=True, metavar="NAME=JSON", help="Attribute to set.")
@click.option("--unset", multiple=True, metavar="NAME", help="Attribute to drop.")
@click.option("--add-parent", multiple=True, metavar="UID", help="Parent to add.")
@click.option("--remove-parent", multiple=True, metavar="UID", help="Parent to remove.")
@click.pass_obj
def patch(
    settings: Settings,
    uid: str,
    assignments: tuple[str, ...],
    unset: tuple[str, ...],
    add_parent: tuple[str, ...],
    remove_parent: tuple[str, ...],
) -> None:
    """Change some attributes or parents of the entity UID."""
    values = dict(_assignment(text) for text in assignments)
    if not (values or unset or add_parent or remove_parent):
        raise InputError("nothing to change: give `--set`, `--unset`, `--add-parent` or `--remove-parent`")
    submitter = Submitter(settings)
    command = submitter.author.build(
        EntityPatch,
        uid=canonical_uid(uid),
        set=values,
        unset=unset,
        add_parents=tuple(map(canonical_uid, add_parent)),
        remove_parents=tuple(map(canonical_uid, remove_parent)),
    )
    emit_receipt(settings, submitter.run([command]))


@entity.command(cls=SigningCommand)
@click.argument("uids", nargs=-1, required=True, metavar="UID...")
@click.pass_obj
def delete(settings: Settings, uids: tuple[str, ...]) -> None:
    """Delete entities. What is quarantined or revoked stays so."""
    names = tuple(map(canonical_uid, uids))
    submitter = Submitter(settings)
    commands = [
        submitter.author.build(EntityDelete, uids=names[start : start + ENTITIES_PER_COMMAND // 10])
        for start in range(0, len(names), ENTITIES_PER_COMMAND // 10)
    ]
    emit_receipt(settings, submitter.run(commands, "deleting entities"))


@entity.command("list")
@click.option("--type", "kind", metavar="TYPE", help="Only entities of this type.")
@click.option("--domain", metavar="ID", help="Only entities of exactly this domain.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="At most so many.")
@click.pass_obj
def list_entities(settings: Settings, kind: str | None, domain: str | None, limit: int | None) -> None:
    """List entities."""
    asked = {} if domain is None else {"domain": domain}
    with choose_client(settings) as client:
        every = read_pages(client, "entities", "entities", _PAGE, **asked)
        wanted = (item for item in every if kind is None or parse_uid(item["uid"]).type == kind)
        found = list(itertools.islice(wanted, limit))
    rows = [
        (item["uid"], item["domain"], ", ".join(item["parents"]), json.dumps(item["attrs"], sort_keys=True))
        for item in found
    ]
    emit(settings.output, found, Table(("UID", "DOMAIN", "PARENTS", "ATTRIBUTES"), rows))


@entity.command()
@click.argument("uid")
@click.pass_obj
def show(settings: Settings, uid: str) -> None:
    """Show one entity, and what is marked on it."""
    name = canonical_uid(uid)
    found = read(settings, "entity", uid=name)
    marks = [mark for mark in read(settings, "marks") if mark.get("id") == name]
    rows: list[tuple[str, object]] = [("uid", found["uid"]), ("domain", found["domain"])]
    rows += [("parent", parent) for parent in found["parents"]]
    rows += [(f"attribute {key}", json.dumps(value)) for key, value in sorted(found["attrs"].items())]
    rows += [(f"{mark['mark']} as {mark['kind']}", f"{mark['reason']} (seq {mark['seq']})") for mark in marks]
    emit(settings.output, {**found, "marks": marks}, Table(("FIELD", "VALUE"), rows))


def _assignment(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise InputError(f"`--set {text}` is not NAME=JSON")
    return name, json_value(value, f"the value of `{name}`")
