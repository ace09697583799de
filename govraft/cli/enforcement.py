"""`govraft quarantine`, `release`, `isolate`, `revoke` and `invalidate`."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from govraft.cli.input_files import read_text
from govraft.cli.known_uids import check_known
from govraft.cli.settings import Settings, SigningCommand, ask_first, yes_option
from govraft.cli.submission import Submitter, emit_receipt
from govraft.core.codec.canonical import pack_json
from govraft.core.model.commands import (
    EnforcementCommand,
    Invalidate,
    Isolate,
    Quarantine,
    Release,
    Revoke,
    TargetKind,
)
from govraft.core.model.ids import DOMAIN_ID_PATTERN, HEX_DIGEST_PATTERN, NODE_ID_PATTERN, parse_uid
from govraft.core.model.limits import ENVELOPE_BYTES, TARGETS
from govraft.errors import InputError

__all__ = ["invalidate", "isolate", "quarantine", "release", "revoke"]

_TARGETS_BYTES = ENVELOPE_BYTES * 3 // 4 - 12 * 1024
"""What is left of an envelope, base64 undone, beside a reason and the signatures of a threshold."""
_KINDS = click.Choice([kind.value for kind in TargetKind])
_FORMS = {
    TargetKind.NODE: (NODE_ID_PATTERN, "a node id"),
    TargetKind.POLICY: (HEX_DIGEST_PATTERN, "the id of a policy, 64 hexadecimal digits; see `govraft policy show`"),
    TargetKind.ATTESTATION: (HEX_DIGEST_PATTERN, "the digest of an attestation; see `govraft attestation list`"),
    TargetKind.DOMAIN: (DOMAIN_ID_PATTERN, "a domain id"),
}
"""How the id of a target must look, and what to call it; the ids of all others are entity uids."""


def _enforce(
    settings: Settings,
    command: type[EnforcementCommand],
    kind: str,
    target: str | None,
    source: Path | None,
    reason: str,
    *,
    unregistered: bool = True,
    yes: bool = True,
) -> None:
    named: dict[str, Any]
    if (target is None) is (source is None):
        raise InputError("name one target as ID, or a file of them with `--from`")
    if source is not None:
        named = {"targets": _read_targets(source, TargetKind(kind))}
    else:
        _check_form(str(target), TargetKind(kind))
        named = {"id": target}
    targets = named.get("targets") or (str(target),)
    if TargetKind(kind) not in _FORMS and command is not Release:
        check_known(settings, targets, unregistered=unregistered)
    if not yes:
        count = f"{len(targets)} targets" if source is not None else f"{kind} `{target}`"
        ask_first(settings, f"nothing ends a revocation: revoke {count} for ever?")
    submitter = Submitter(settings)
    built = submitter.author.build(command, kind=TargetKind(kind), **named, reason=reason)
    receipt = submitter.run([built])
    told = None if source is None else {"targets": len(named["targets"]), "unchanged": submitter.unchanged}
    emit_receipt(settings, receipt, told)


def _check_form(target: str, kind: TargetKind) -> None:
    pattern, name = _FORMS.get(kind, ("", ""))
    if not pattern:
        parse_uid(target)
    elif re.fullmatch(pattern, target) is None:
        raise InputError(f"`{target}` is not {name}")


def _read_targets(source: Path, kind: TargetKind) -> tuple[str, ...]:
    """The ids in a file, one a line, sorted, each once. Empty lines and those that begin with `#` do not count.

    Raises:
        InputError: It cannot be read, names nothing or too much, or a line is no such id: nothing was signed.
    """
    found = set()
    # Not `splitlines`: an id may hold other separators of lines.
    for number, line in enumerate(read_text(source).split("\n"), 1):
        target = line.strip()
        if not target or target.startswith("#"):
            continue
        try:
            _check_form(target, kind)
        except InputError as error:
            raise InputError(f"`{source}`, line {number}: {error}") from error
        found.add(target)
    if not 1 <= len(found) <= TARGETS:
        raise InputError(f"`{source}` names {len(found)} targets, one command takes 1 to {TARGETS}; split the file")
    size = len(pack_json(sorted(found)))
    if size > _TARGETS_BYTES:
        message = f"`{source}`: the {len(found)} targets take {size} bytes, one command has room for {_TARGETS_BYTES}"
        raise InputError(f"{message}; split the file", code="limit_exceeded")
    return tuple(sorted(found))


_unregistered_option = click.option(
    "--unregistered", is_flag=True, help="The target may be an entity that is not registered."
)


def _target_parameters(function: Callable[..., None]) -> Callable[..., None]:
    """What all five take."""
    for decorate in (
        click.option("--reason", required=True, help="Why, for people."),
        click.option(
            "--from",
            "source",
            metavar="FILE",
            type=click.Path(path_type=Path),
            help=f"Up to {TARGETS} ids, one a line, `-` for stdin: one signed command for all of them.",
        ),
        click.argument("target", metavar="[ID]", required=False),
        click.argument("kind", type=_KINDS),
    ):
        function = decorate(function)
    return function


@click.command(cls=SigningCommand)
@_target_parameters
@_unregistered_option
@click.pass_obj
def quarantine(
    settings: Settings, kind: str, target: str | None, source: Path | None, reason: str, *, unregistered: bool
) -> None:
    """Deny every request in which ID is the KIND, or belongs to it, until it is released."""
    _enforce(settings, Quarantine, kind, target, source, reason, unregistered=unregistered)


@click.command(cls=SigningCommand)
@_target_parameters
@click.pass_obj
def release(settings: Settings, kind: str, target: str | None, source: Path | None, reason: str) -> None:
    """End the quarantine of ID; or its isolation, which takes `root`."""
    _enforce(settings, Release, kind, target, source, reason)


@click.command(cls=SigningCommand)
@_target_parameters
@_unregistered_option
@click.pass_obj
def isolate(
    settings: Settings, kind: str, target: str | None, source: Path | None, reason: str, *, unregistered: bool
) -> None:
    """As quarantine, but nobody except `root` can release it."""
    _enforce(settings, Isolate, kind, target, source, reason, unregistered=unregistered)


@click.command(cls=SigningCommand)
@_target_parameters
@_unregistered_option
@yes_option
@click.pass_obj
def revoke(
    settings: Settings,
    kind: str,
    target: str | None,
    source: Path | None,
    reason: str,
    *,
    unregistered: bool,
    yes: bool,
) -> None:
    """Deny every request in which ID is the KIND, or belongs to it, for ever."""
    _enforce(settings, Revoke, kind, target, source, reason, unregistered=unregistered, yes=yes)


@click.command(cls=SigningCommand)
@_target_parameters
@_unregistered_option
@click.pass_obj
def invalidate(
    settings: Settings, kind: str, target: str | None, source: Path | None, reason: str, *, unregistered: bool
) -> None:
    """Deny what rests on ID as it is now, until it is replaced: put anew, superseded, a later version activated."""
    _enforce(settings, Invalidate, kind, target, source, reason, unregistered=unregistered)
