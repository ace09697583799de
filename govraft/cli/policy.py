"""`govraft policy`: publish, activate, roll back, list, show, compare, try out."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from govraft.cli.input_files import read_text
from govraft.cli.nodes import choose_client, field_of, read
from govraft.cli.output import Table, digits, emit, note, time_text
from govraft.cli.policy_plan import EMPTY, Bundle, plan_versions
from govraft.cli.policy_texts import parse_policies, policy_name, read_policies
from govraft.cli.policy_trial import impact, test_policies
from govraft.cli.settings import CliGroup, Settings, SigningCommand, ask_first, yes_option
from govraft.cli.submission import Submitter, emit_receipt
from govraft.core.model.commands import Command, PolicyActivate, PolicyPublish
from govraft.core.model.ids import ROOT_DOMAIN
from govraft.errors import InputError

__all__ = ["policy"]

_domain_option = click.option(
    "--domain", default=ROOT_DOMAIN, metavar="ID", help=f"Whose policies; default {ROOT_DOMAIN}."
)


@click.group(cls=CliGroup)
def policy() -> None:
    """Policies: what is allowed."""


@policy.command(cls=SigningCommand)
@click.argument("sources", nargs=-1, type=click.Path(path_type=Path, exists=True), metavar="[DIR|FILE]...")
@click.option("--schema", type=click.Path(path_type=Path), metavar="FILE", help="Cedar schema; default the latest one.")
@click.option("--activate", is_flag=True, help="Let the new version decide at once.")
@click.option("--empty", is_flag=True, help="Publish a version without any policy: it permits nothing.")
@_domain_option
@click.pass_obj
def publish(
    settings: Settings, sources: tuple[Path, ...], schema: Path | None, domain: str, *, activate: bool, empty: bool
) -> None:
    """Publish the policies in files and directories as the next version.

    The version holds exactly these policies. They are parsed and type-checked here first. What does not fit into one
    command is published as several versions, the last of which is the one to activate.

    Only the root domain has a schema. What decides in a domain below it are its own policies and what the domains above
    it forbid.
    """
    if empty == bool(sources):
        raise InputError("name the files that hold the policies, or give `--empty`")
    if schema is not None and domain != ROOT_DOMAIN:
        raise InputError("only the root domain has a schema: leave `--schema` or `--domain` out")
    wanted = read_policies(sources) if sources else {}
    latest, active = _latest(settings, domain)
    text = read_text(schema) if schema is not None else latest.schema
    if domain != ROOT_DOMAIN:
        text = text or _latest(settings, ROOT_DOMAIN)[0].schema
    if not text.strip():
        raise InputError("no version with a schema is published yet: publish one in `root` with `--schema FILE`")
    parse_policies(text, wanted)
    _publish(settings, latest, active, Bundle(0, "", text, wanted), domain, activate=activate)


@policy.command(cls=SigningCommand)
@click.argument("version", type=click.IntRange(1))
@_domain_option
@click.pass_obj
def activate(settings: Settings, version: int, domain: str) -> None:
    """Let a published version decide from now on. To go back to an older one, use `rollback`."""
    bundle = _bundle(settings, version, domain)
    submitter = Submitter(settings)
    command = submitter.author.build(PolicyActivate, domain=domain, version=bundle.version, digest=bundle.digest)
    emit_receipt(settings, submitter.run([command]), {"version": bundle.version, "digest": bundle.digest})


@policy.command(cls=SigningCommand)
@click.argument("version", type=click.IntRange(1))
@yes_option
@_domain_option
@click.pass_obj
def rollback(settings: Settings, version: int, domain: str, *, yes: bool) -> None:
    """Publish the content of an older version again, and activate it.

    Asks once before anything is signed, if there is a terminal to ask at. `--dry-run` shows what it would do.
    """
    wanted = _bundle(settings, version, domain)
    latest, active = _latest(settings, domain)
    if not yes:
        gone, back = latest.policies.keys() - wanted.policies.keys(), wanted.policies.keys() - latest.policies.keys()
        question = f"leave {len(gone)} policies out, bring {len(back)} back, and activate that in `{domain}`?"
        ask_first(settings, question)
    _publish(settings, latest, active, wanted, domain, activate=True)


@policy.command("list")
@_domain_option
@click.pass_obj
def list_versions(settings: Settings, domain: str) -> None:
    """List the published versions."""
    found = read(settings, "policies", domain=domain)
    active = (found.get("active") or {}).get("version", 0)
    rows = [
        (
            item["version"],
            "active" if item["version"] == active else "",
            digits(item["digest"]),
            item["policies"],
            item["seq"],
            time_text(item["time"]),
            ", ".join(item["authors"]),
        )
        for item in field_of(found, "versions", list)
    ]
    emit(settings.output, found, Table(("VERSION", "STATE", "DIGEST", "POLICIES", "SEQ", "PUBLISHED", "BY"), rows))


@policy.command()
@click.argument("version", type=click.IntRange(1), required=False)
@click.option("--schema", "only_schema", is_flag=True, help="Print the schema instead.")
@click.option("--policy", "wanted", metavar="ID", help="Print only this one: an id, its first digits, or an @id name.")
@_domain_option
@click.pass_obj
def show(settings: Settings, version: int | None, wanted: str | None, domain: str, *, only_schema: bool) -> None:
    """Print the policies of a version, of the active one by default, as Cedar."""
    bundle = _bundle(settings, version, domain)
    texts = dict(bundle.policies)
    if wanted is not None:
        texts = {name: text for name, text in texts.items() if name.startswith(wanted) or policy_name(text) == wanted}
        if not texts:
            raise InputError(f"version {bundle.version} has no policy `{wanted}`", code="policy_unknown")
    data: dict[str, Any] = {
        "version": bundle.version,
        "digest": bundle.digest,
        "schema": bundle.schema,
        "policies": texts,
    }
    if only_schema:
        emit(settings.output, {"version": bundle.version, "schema": bundle.schema}, _lines(bundle.schema))
        return
    text = "\n".join(f"// policy {name}\n{_lines(text)}" for name, text in _by_name(texts))
    emit(settings.output, data, text)


@policy.command()
@click.argument("old", type=click.IntRange(1), required=False)
@click.argument("new", type=click.IntRange(1), required=False)
@_domain_option
@click.pass_obj
def diff(settings: Settings, old: int | None, new: int | None, domain: str) -> None:
    """Show what changed from OLD (default: the active version) to NEW (default: the latest)."""
    before = _bundle(settings, old, domain)
    after = _bundle(settings, new, domain) if new is not None else _latest(settings, domain)[0]
    added = {name: after.policies[name] for name in after.policies.keys() - before.policies.keys()}
    removed = {name: before.policies[name] for name in before.policies.keys() - after.policies.keys()}
    data = {
        "old": before.version,
        "new": after.version,
        "schema_changed": before.schema != after.schema,
        "added": added,
        "removed": removed,
    }
    emit(settings.output, data, _diff_text(before, after, removed, added))


policy.add_command(test_policies)
policy.add_command(impact)


def _diff_text(before: Bundle, after: Bundle, removed: dict[str, str], added: dict[str, str]) -> str:
    parts = []
    if before.schema != after.schema:
        parts += _unified("schema", before.schema, after.schema, before, after)
    # A policy that kept its name is shown as changed, not as one gone and another come.
    successors = {policy_name(text): name for name, text in added.items() if policy_name(text)}
    for name, text in _by_name(removed):
        successor = successors.pop(policy_name(text), None)
        new_text = added.pop(successor) if successor in added else ""
        parts += _unified(policy_name(text) or digits(name), text, new_text, before, after)
    for name, text in _by_name(added):
        parts += _unified(policy_name(text) or digits(name), "", text, before, after)
    return "".join(parts)


def _unified(name: str, old: str, new: str, before: Bundle, after: Bundle) -> list[str]:
    first, second = (_lines(text).splitlines(keepends=True) for text in (old, new))
    shown = _lines(name).rstrip("\n")
    return list(difflib.unified_diff(first, second, f"v{before.version}/{shown}", f"v{after.version}/{shown}"))


def _lines(text: str) -> str:
    """Policies may come from anybody's file: keep line breaks and tabs, write out other control characters."""
    shown = "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in text.replace("\r\n", "\n"))
    return shown if not shown or shown.endswith("\n") else shown + "\n"


def _by_name(texts: dict[str, str]) -> list[tuple[str, str]]:
    return sorted(texts.items(), key=lambda item: (policy_name(item[1]), item[0]))


def _latest(settings: Settings, domain: str) -> tuple[Bundle, int]:
    """The latest published version, and the number of the active one; 0 for none."""
    with choose_client(settings) as client:
        found = client.read("policies", domain=domain)
        versions = field_of(found, "versions", list)
        active = (found.get("active") or {}).get("version", 0)
        if not versions:
            return EMPTY, 0
        return _decode(client.read("policy", version=versions[-1]["version"], domain=domain)), active


def _bundle(settings: Settings, version: int | None, domain: str) -> Bundle:
    return _decode(read(settings, "policy", version=version or 0, domain=domain))


def _decode(found: object) -> Bundle:
    return Bundle(
        field_of(found, "version", int),
        field_of(found, "digest", str),
        field_of(found, "schema", str),
        field_of(found, "policies", dict),
    )


def _publish(settings: Settings, latest: Bundle, active: int, wanted: Bundle, domain: str, *, activate: bool) -> None:
    planned = plan_versions(latest, wanted.schema if domain == ROOT_DOMAIN else None, wanted.policies)
    version, digest = (planned[-1].version, planned[-1].digest) if planned else (latest.version, latest.digest)
    submitter = Submitter(settings)
    build = submitter.author.build
    commands: list[Command] = [
        build(
            PolicyPublish,
            domain=domain,
            version=step.version,
            expected=step.expected,
            schema=step.schema,
            policies=step.policies,
            removed=step.removed,
        )
        for step in planned
    ]
    if activate and version > active:
        commands.append(build(PolicyActivate, domain=domain, version=version, digest=digest))
    more: dict[str, Any] = {
        "domain": domain,
        "version": version,
        "digest": digest,
        "policies": len(wanted.policies),
        "active": activate or version == active,
    }
    if not commands:
        note(f"version {version} is exactly this already: nothing was published")
        emit(settings.output, more, _summary(more))
        return
    emit_receipt(settings, submitter.run(commands, "publishing"), more)


def _summary(more: dict[str, Any]) -> Table:
    rows: Sequence[tuple[str, object]] = list(more.items())
    return Table(("FIELD", "VALUE"), rows)
