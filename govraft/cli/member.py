"""`govraft member`: the nodes of a cluster, and how they come and go.

A node is added in steps, none of which stops the others:

    govraft member init --out DIR --id ID --genesis genesis.json --listen HOST:PORT     where it is to run
    govraft member add DIR                                                              an observer from now on
    govraft lineage export FILE; govraft-node create-store --config DIR/node.toml --from FILE
    govraft-node run --config DIR/node.toml
    govraft member promote ID                                                           a voter from now on

`govraft member replace OLD DIR` does all that is to be done from here, and may be repeated after a failure.
"""

from __future__ import annotations

import base64
import dataclasses
import os
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from govraft.adapters.authority_key import AuthorityKey
from govraft.cli.input_files import read_bytes
from govraft.cli.member_creation import create_in_directory, create_member, mark_removed, read_member
from govraft.cli.nodes import read, read_genesis
from govraft.cli.output import Table, digits, emit, fields_table, note
from govraft.cli.settings import CLUSTER_VARIABLE, CliCommand, CliGroup, Settings, SigningCommand, ask_first, yes_option
from govraft.cli.submission import Submitter, emit_receipt
from govraft.client.client import Client
from govraft.core.evidence.equivocation import evidence_in, prove_equivocation
from govraft.core.model.commands import (
    Command,
    MemberAdd,
    MemberEvict,
    MemberFields,
    MemberPromote,
    MemberRemove,
    MemberRotate,
)
from govraft.errors import AvailabilityError, ConfigError, GovraftError, InputError
from govraft.node.config import PROFILES

__all__ = ["member"]

_PAUSE_S = 0.2
_NOT_YET = ("member_not_synced", "epoch_uncertified", "voters_silent")
"""A node refuses so what it will take a moment later."""
_PATIENCE_S = 3600.0
_SILENCE_S = 3.0
"""Whoever only stumbled answers again by then; who is down does not."""
_PROBE_S = 2.0


@click.group(cls=CliGroup)
def member() -> None:
    """The nodes of the cluster: who cosigns, and who may allow."""


@member.command("list")
@click.pass_obj
def list_members(settings: Settings) -> None:
    """List nodes."""
    members = _members(settings)
    rows = [
        (item["id"], "voter" if item["voter"] else "observer", item["address"], digits(item["public_key"]))
        for item in members
    ]
    emit(settings.output, members, Table(("ID", "KIND", "ADDRESS", "PUBLIC KEY"), rows))


@member.command(cls=CliCommand)
@click.option("--id", "node_id", required=True, metavar="ID", help="Of the new node.")
@click.option("--listen", required=True, metavar="HOST:PORT", help="Where it accepts the other nodes.")
@click.option("--address", metavar="HOST:PORT", help="Where they dial it.  [default: as --listen]")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Where to make it.")
@click.option("--genesis", "genesis_path", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE")
@click.option("--profile", type=click.Choice(list(PROFILES)), default="lan", help="That of the others.  [default: lan]")
@click.pass_obj
def init(
    settings: Settings,
    *,
    node_id: str,
    listen: str,
    address: str | None,
    out: Path | None,
    genesis_path: Path | None,
    profile: str,
) -> None:
    """Make key, certificate and configuration of a node that is to join.

    In DIR, for a cluster whose genesis is FILE or is read from a node; or, with `--cluster` and without `--out`, as one
    more node of that directory. Nothing is overwritten, and the cluster learns nothing of it yet: see `member add`.
    """
    if out is None:
        directory = settings.cluster or os.environ.get(CLUSTER_VARIABLE)
        if not directory:
            raise InputError("say where to make it: `--out DIR`, or `--cluster DIR` for a cluster on this host")
        home = Path(directory) / "nodes" / node_id
        made = create_in_directory(Path(directory), node_id, listen=listen, address=address, profile=profile)
    else:
        home = out
        made = create_member(
            out, _genesis_bytes(settings, genesis_path), node_id, listen=listen, address=address, profile=profile
        )
    data = {"id": made.id, "address": made.address, "public_key": made.public_key, "directory": str(home)}
    emit(settings.output, data, fields_table(data.items()))
    note(f"add it with: govraft member add {shlex.quote(str(home))}")


@member.command(cls=SigningCommand)
@click.argument("node", metavar="DIR", type=click.Path(path_type=Path, exists=True))
@click.option("--node-key", metavar="URI", help="The node's key, if it is not in DIR.")
@click.pass_obj
def add(settings: Settings, node: Path, node_key: str | None) -> None:
    """Add a node, made with `member init` in DIR, as an observer.

    It takes part without a vote, and must hold the key: the command is signed with that too.
    """
    _submit_new(settings, MemberAdd, node, node_key)
    config = shlex.quote(str(node / "node.toml"))
    note(f"then: govraft lineage export FILE; govraft-node create-store --config {config} --from FILE; start it")


@member.command(cls=SigningCommand)
@click.argument("node_id", metavar="ID")
@click.pass_obj
def promote(settings: Settings, node_id: str) -> None:
    """Make an observer a voter. Waits, up to `--timeout`, until it has caught up with the others."""
    submitter = _submitter(settings)
    command = submitter.author.build(MemberPromote, id=node_id)
    emit_receipt(settings, _when_ready(lambda: submitter.run([command]), settings.timeout_s))


@member.command(cls=SigningCommand)
@click.argument("node_id", metavar="ID")
@click.option("--reason", required=True, help="Why, for people.")
@yes_option
@click.pass_obj
def remove(settings: Settings, node_id: str, reason: str, *, yes: bool) -> None:
    """Remove a node. Its key never comes back; it denies everything from then on."""
    if not yes:
        ask_first(settings, f"remove `{node_id}`, whose key never comes back?")
    submitter = _submitter(settings)
    command = submitter.author.build(MemberRemove, id=node_id, reason=reason)
    receipt = _when_ready(lambda: submitter.run([command]), settings.timeout_s)
    _note_removed(settings, node_id, receipt)
    emit_receipt(settings, receipt)


@member.command(cls=SigningCommand)
@click.argument("node", metavar="DIR", type=click.Path(path_type=Path, exists=True))
@click.option("--node-key", metavar="URI", help="The node's new key, if it is not in DIR.")
@click.pass_obj
def rotate(settings: Settings, node: Path, node_key: str | None) -> None:
    """Give a node, under the id it has, the key, certificate and address that `member init` made in DIR.

    Afterwards stop it, let its configuration name the new files, and start it on the store that it has.
    """
    _submit_new(settings, MemberRotate, node, node_key)


@member.command(cls=SigningCommand)
@click.option(
    "--evidence",
    "file",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="As `govraft evidence export` writes it.",
)
@click.pass_obj
def evict(settings: Settings, file: Path) -> None:
    """Remove the node that the evidence convicts: it has signed two roots for one seq.

    Any one authority may hand it in.
    """
    data, submitter = read_bytes(file), _submitter(settings)
    convicted = prove_equivocation(data, submitter.genesis).member.id
    first, second = (base64.b64encode(item).decode("ascii") for item in evidence_in(data))
    command = submitter.author.build(MemberEvict, id=convicted, first=first, second=second)
    receipt = _when_ready(lambda: submitter.run([command]), settings.timeout_s)
    _note_removed(settings, convicted, receipt)
    emit_receipt(settings, receipt, {"evicted": convicted})


@member.command(cls=SigningCommand)
@click.argument("old", metavar="OLD")
@click.argument("node", metavar="DIR", type=click.Path(path_type=Path, exists=True))
@click.option("--node-key", metavar="URI", help="The new node's key, if it is not in DIR.")
@click.option("--reason", default="replaced", help="Why, for people.  [default: replaced]")
@click.pass_obj
def replace(settings: Settings, old: str, node: Path, node_key: str | None, reason: str) -> None:
    """Put the node made in DIR in the place of OLD: add it, promote it once it has caught up, remove OLD.

    The new node is to be started meanwhile, as said on the way. What is done already is not done again: after a
    failure, repeat the command.
    """
    fields = read_member(node)
    if fields.id == old:
        raise InputError(f"`{old}` cannot replace itself; to change its key, see `govraft member rotate`")
    kinds = {item["id"]: item["voter"] for item in _members(settings)}
    if old not in kinds and fields.id not in kinds:
        raise InputError(f"neither `{old}` nor `{fields.id}` is a member; see `govraft member list`")
    receipt: dict[str, Any] | None = None
    if fields.id not in kinds:
        note(f"adding `{fields.id}`")
        receipt = _submit_new(settings, MemberAdd, node, node_key, quiet=True)
        kinds[fields.id] = False
    if not kinds[fields.id] and kinds.get(old, True):
        note(
            f"waiting until `{fields.id}` has caught up. If it does not run yet: govraft lineage export FILE; "
            "govraft-node create-store --config NODE.toml --from FILE; govraft-node run --config NODE.toml"
        )
        submitter = _submitter(settings)
        receipt = _when_ready(lambda: submitter.run([submitter.author.build(MemberPromote, id=fields.id)]), _PATIENCE_S)
    if old in kinds:
        note(f"removing `{old}`")
        submitter = _submitter(settings)
        command = submitter.author.build(MemberRemove, id=old, reason=reason)
        receipt = _when_ready(lambda: submitter.run([command]), settings.timeout_s)
        _note_removed(settings, old, receipt)
    if receipt is None:
        note(f"`{fields.id}` has replaced `{old}` already")
        return
    emit_receipt(settings, receipt, {"removed": old, "in_its_place": fields.id})


def _note_removed(settings: Settings, node_id: str, receipt: dict[str, Any] | None) -> None:
    """Let the cluster directory, if one is used, say so too. That it cannot be written does not undo the removal."""
    directory = settings.cluster or os.environ.get(CLUSTER_VARIABLE)
    if receipt is None or not directory:
        return
    try:
        mark_removed(Path(directory), node_id)
    except ConfigError as error:
        note(f"govraft: `{node_id}` is removed, but {error}")


def _submit_new(
    settings: Settings, kind: Callable[..., Command], node: Path, node_key: str | None, *, quiet: bool = False
) -> dict[str, Any] | None:
    """Submit a command that brings in the key of a node."""
    fields = read_member(node)
    for item in _members(settings):
        if item["address"] == fields.address and item["id"] != fields.id:
            message = f"`{item['id']}` has the address {fields.address} already: make `{fields.id}` with another one"
            raise InputError(message, code="address_taken")
    submitter = _submitter(settings)
    key = _open_node_key(submitter, fields, node, node_key)
    envelope = submitter.author.sign(submitter.author.build(kind, member=fields), new_keys=[key])
    receipt = _when_ready(lambda: submitter.submit_all([envelope]), settings.timeout_s)
    if not quiet:
        emit_receipt(settings, receipt)
    return receipt


def _submitter(settings: Settings) -> Submitter:
    """One that asks the leader first: what that refuses is known to be not done, of another node it is hearsay."""
    targets = settings.targets()
    if len(targets) > 1 and not settings.dry_run:
        targets.sort(key=lambda target: not _leads(target.endpoint))
        settings = dataclasses.replace(settings, endpoints=tuple(target.endpoint for target in targets))
    return Submitter(settings)


def _leads(endpoint: str) -> bool:
    try:
        with Client(endpoint, timeout=_PROBE_S) as client:
            return client.status().get("is_leader") is True
    except GovraftError:
        return False


def _open_node_key(submitter: Submitter, fields: MemberFields, node: Path, uri: str | None) -> AuthorityKey:
    home = node if node.is_dir() else node.parent
    return submitter.author.open_new(uri or f"file2:{home / f'{fields.id}.key.pem'}")


def _when_ready(submit: Callable[[], dict[str, Any] | None], patience_s: float) -> dict[str, Any] | None:
    """Submit once the cluster takes it: a node that lags, or a change that is under way, is waited for."""
    began = time.monotonic()
    deadline = began + patience_s
    while True:
        try:
            return submit()
        except AvailabilityError as error:
            if error.code == "voters_silent":
                deadline = min(deadline, began + _SILENCE_S)
            if error.code not in _NOT_YET or not error.definite or time.monotonic() + _PAUSE_S >= deadline:
                raise
        time.sleep(_PAUSE_S)


def _members(settings: Settings) -> list[dict[str, Any]]:
    members = read(settings, "members")
    if not isinstance(members, list):
        raise GovraftError("the node's answer lists no members", code="answer_invalid")
    return members


def _genesis_bytes(settings: Settings, path: Path | None) -> bytes:
    if path is None:
        return read_genesis(settings).encode()
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"`{path}` cannot be read: {error.strerror}", code="file_unreadable") from error
