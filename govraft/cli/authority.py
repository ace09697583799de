"""`govraft authority`: list, show, add, assign, rotate, suspend, resume, revoke, threshold."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import click

from govraft.cli.output import Table, digits, emit
from govraft.cli.settings import CliGroup, Settings, SigningCommand, ask_first, yes_option
from govraft.cli.signers import read_authorities
from govraft.cli.submission import Submitter, emit_receipt
from govraft.core.crypto.keys import is_sound_key
from govraft.core.model.authority import Assignment, Role
from govraft.core.model.commands import (
    AuthorityAdd,
    AuthorityAssign,
    AuthorityEmergencyRevoke,
    AuthorityResume,
    AuthorityRevoke,
    AuthorityRotate,
    AuthoritySuspend,
    NewKey,
    ThresholdSet,
)
from govraft.core.model.ids import ROOT_DOMAIN
from govraft.errors import InputError

__all__ = ["authority"]

_ROLES = click.Choice([role.value for role in Role])


@click.group(cls=CliGroup)
def authority() -> None:
    """Who may command the cluster."""


@authority.command("list")
@click.pass_obj
def list_authorities(settings: Settings) -> None:
    """List authorities, their roles, and how many of a role it takes."""
    authorities, thresholds = read_authorities(settings)
    rows = []
    for item in authorities:
        roles = [*item["roles"], *item.get("scoped", ())]
        named = [f"{role} ({thresholds[role]} needed)" if role in thresholds else str(role) for role in roles]
        rows.append((item["id"], ", ".join(named), item.get("status", ""), item["key_id"]))
    data = {"authorities": authorities, "thresholds": thresholds}
    emit(settings.output, data, Table(("ID", "ROLES", "STATUS", "KEY ID"), rows))


@authority.command()
@click.argument("name", metavar="ID")
@click.pass_obj
def show(settings: Settings, name: str) -> None:
    """Show one authority."""
    found = next((item for item in read_authorities(settings)[0] if item.get("id") == name), None)
    if found is None:
        raise InputError(f"there is no authority `{name}`; see `govraft authority list`", code="authority_unknown")
    rows: list[tuple[str, object]] = [("id", name), ("status", found.get("status", ""))]
    rows += [("role", role) for role in (*found["roles"], *found.get("scoped", ()))]
    rows += [("reason", found["reason"])] if found.get("reason") else []
    rows += [("key id", found["key_id"]), ("public key", found["public_key"])]
    emit(settings.output, found, Table(("FIELD", "VALUE"), rows))


@authority.command(cls=SigningCommand)
@click.argument("name", metavar="ID")
@click.option("--role", "roles", multiple=True, required=True, metavar="ROLE[@DOMAIN]", help="Role to give it.")
@click.option("--new-key", metavar="URI", help="Its private key, which signs too, such as file2:PATH.")
@click.option("--public-key", metavar="BASE64", help="Its public key; its holder adds a signature with `submit --key`.")
@click.pass_obj
def add(settings: Settings, name: str, roles: tuple[str, ...], new_key: str | None, public_key: str | None) -> None:
    """Add the authority ID."""
    if (new_key is None) is (public_key is None):
        raise InputError("give the new authority's key: either `--new-key URI` or `--public-key BASE64`")
    if public_key is not None and not settings.dry_run:
        raise InputError("the new key must sign too: use `--dry-run`, then `govraft submit FILE --key URI` with it")
    submitter = Submitter(settings)
    keys = [] if new_key is None else [submitter.author.open_new(new_key)]
    text = _checked_key(public_key) if public_key is not None else _text(keys[0].public_key)
    command = submitter.author.build(AuthorityAdd, id=name, public_key=text, assignments=_assignments(roles))
    emit_receipt(settings, submitter.submit_all([submitter.author.sign(command, new_keys=keys)]))


@authority.command(cls=SigningCommand)
@click.argument("name", metavar="ID")
@click.option(
    "--role", "roles", multiple=True, required=True, metavar="ROLE[@DOMAIN]", help="Role to have from now on."
)
@click.pass_obj
def assign(settings: Settings, name: str, roles: tuple[str, ...]) -> None:
    """Give the authority ID exactly these roles."""
    submitter = Submitter(settings)
    command = submitter.author.build(AuthorityAssign, id=name, assignments=_assignments(roles))
    emit_receipt(settings, submitter.run([command]))


@authority.command(cls=SigningCommand)
@click.argument("replacements", nargs=-1, required=True, metavar="ID=URI...")
@click.pass_obj
def rotate(settings: Settings, replacements: tuple[str, ...]) -> None:
    """Replace keys: of each ID by the private key at URI. Old keys sign as always, and each new key signs too."""
    submitter = Submitter(settings)
    pairs = [text.partition("=")[::2] for text in replacements]
    for (name, uri), text in zip(pairs, replacements, strict=True):
        if not name or not uri:
            raise InputError(f"`{text}` is not ID=URI: name the authority and its new key, such as olga=file2:PATH")
    keys = [submitter.author.open_new(uri) for _, uri in pairs]
    fields = tuple(NewKey(name, _text(key.public_key)) for (name, _), key in zip(pairs, keys, strict=True))
    command = submitter.author.build(AuthorityRotate, keys=fields)
    emit_receipt(settings, submitter.submit_all([submitter.author.sign(command, new_keys=keys)]))


def _change(settings: Settings, command: type[Any], name: str, reason: str) -> None:
    submitter = Submitter(settings)
    emit_receipt(settings, submitter.run([submitter.author.build(command, id=name, reason=reason)]))


@authority.command(cls=SigningCommand)
@click.argument("name", metavar="ID")
@click.option("--reason", required=True, help="Why, for people.")
@click.pass_obj
def suspend(settings: Settings, name: str, reason: str) -> None:
    """Let signatures of ID count for nothing until it is resumed."""
    _change(settings, AuthoritySuspend, name, reason)


@authority.command(cls=SigningCommand)
@click.argument("name", metavar="ID")
@click.option("--reason", required=True, help="Why, for people.")
@click.pass_obj
def resume(settings: Settings, name: str, reason: str) -> None:
    """End the suspension of ID."""
    _change(settings, AuthorityResume, name, reason)


@authority.command(cls=SigningCommand)
@click.argument("name", metavar="ID")
@click.option("--reason", required=True, help="Why, for people.")
@click.option("--emergency", is_flag=True, help="Signed by the role `emergency` in place of `root`.")
@yes_option
@click.pass_obj
def revoke(settings: Settings, name: str, reason: str, *, emergency: bool, yes: bool) -> None:
    """Let signatures of ID count for nothing for ever."""
    if not yes:
        ask_first(settings, f"let the signatures of `{name}` count for nothing for ever?")
    _change(settings, AuthorityEmergencyRevoke if emergency else AuthorityRevoke, name, reason)


@authority.command(cls=SigningCommand)
@click.argument("role", type=_ROLES)
@click.argument("count", type=click.IntRange(0, 64))
@click.option("--domain", default=ROOT_DOMAIN, metavar="ID", help="Where, with all below; default root.")
@click.pass_obj
def threshold(settings: Settings, role: str, count: int, domain: str) -> None:
    """Let a command of ROLE take COUNT distinct keys; 0 lets the domain above decide again."""
    submitter = Submitter(settings)
    command = submitter.author.build(ThresholdSet, role=Role(role), domain=domain, count=count)
    emit_receipt(settings, submitter.run([command]))


def _assignments(texts: tuple[str, ...]) -> tuple[Assignment, ...]:
    found = []
    for text in texts:
        role, _, domain = text.partition("@")
        if role not in set(Role):
            raise InputError(f"`{digits(role)}` is no role: use one of {', '.join(Role)}")
        found.append(Assignment(Role(role), domain or ROOT_DOMAIN))
    if len(set(found)) != len(found):
        raise InputError("one `--role` is given twice")
    return tuple(sorted(found))


def _checked_key(text: str) -> str:
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not is_sound_key(key):
        raise InputError("`--public-key` is not an Ed25519 public key: 32 bytes in base64")
    return _text(key)


def _text(key: bytes) -> str:
    return base64.b64encode(key).decode("ascii")
