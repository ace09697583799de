"""`govraft quarantine`, `release`, `isolate`, `revoke` and `invalidate`."""

from __future__ import annotations

import re
from collections.abc import Callable

import click

from govraft.cli.settings import Settings, SigningCommand
from govraft.cli.submission import Submitter, emit_receipt
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
from govraft.errors import InputError

__all__ = ["invalidate", "isolate", "quarantine", "release", "revoke"]

_KINDS = click.Choice([kind.value for kind in TargetKind])
_FORMS = {
    TargetKind.NODE: (NODE_ID_PATTERN, "a node id"),
    TargetKind.POLICY: (HEX_DIGEST_PATTERN, "the id of a policy, 64 hexadecimal digits; see `govraft policy show`"),
    TargetKind.ATTESTATION: (HEX_DIGEST_PATTERN, "the digest of an attestation; see `govraft attestation list`"),
    TargetKind.DOMAIN: (DOMAIN_ID_PATTERN, "a domain id"),
}
"""How the id of a target must look, and what to call it; the ids of all others are entity uids."""


def _enforce(settings: Settings, command: type[EnforcementCommand], kind: str, target: str, reason: str) -> None:
    pattern, name = _FORMS.get(TargetKind(kind), ("", ""))
    if not pattern:
        parse_uid(target)
    elif re.fullmatch(pattern, target) is None:
        raise InputError(f"`{target}` is not {name}")
    submitter = Submitter(settings)
    built = submitter.author.build(command, kind=TargetKind(kind), id=target, reason=reason)
    emit_receipt(settings, submitter.run([built]))


def _target_parameters(function: Callable[..., None]) -> Callable[..., None]:
    """What all five take."""
    for decorate in (
        click.option("--reason", required=True, help="Why, for people."),
        click.argument("target", metavar="ID"),
        click.argument("kind", type=_KINDS),
    ):
        function = decorate(function)
    return function


@click.command(cls=SigningCommand)
@_target_parameters
@click.pass_obj
def quarantine(settings: Settings, kind: str, target: str, reason: str) -> None:
    """Deny every request in which ID is the KIND, or belongs to it, until it is released."""
    _enforce(settings, Quarantine, kind, target, reason)


@click.command(cls=SigningCommand)
@_target_parameters
@click.pass_obj
def release(settings: Settings, kind: str, target: str, reason: str) -> None:
    """End the quarantine of ID; or its isolation, which takes `root`."""
    _enforce(settings, Release, kind, target, reason)


@click.command(cls=SigningCommand)
@_target_parameters
@click.pass_obj
def isolate(settings: Settings, kind: str, target: str, reason: str) -> None:
    """As quarantine, but nobody except `root` can release it."""
    _enforce(settings, Isolate, kind, target, reason)


@click.command(cls=SigningCommand)
@_target_parameters
@click.pass_obj
def revoke(settings: Settings, kind: str, target: str, reason: str) -> None:
    """Deny every request in which ID is the KIND, or belongs to it, for ever."""
    _enforce(settings, Revoke, kind, target, reason)


@click.command(cls=SigningCommand)
@_target_parameters
@click.pass_obj
def invalidate(settings: Settings, kind: str, target: str, reason: str) -> None:
    """Deny what rests on ID as it is now, until it is replaced: put anew, superseded, a later version activated."""
    _enforce(settings, Invalidate, kind, target, reason)
