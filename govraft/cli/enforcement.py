"""`govraft quarantine`, `release` and `revoke`."""

from __future__ import annotations

import click

from govraft.cli.settings import Settings, SigningCommand
from govraft.cli.submission import Submitter, emit_receipt
from govraft.core.model.commands import Quarantine, Release, Revoke, TargetKind
from govraft.core.model.ids import parse_uid

__all__ = ["quarantine", "release", "revoke"]

_KINDS = click.Choice([kind.value for kind in TargetKind])


def _enforce(
    settings: Settings, command: type[Quarantine | Release | Revoke], kind: str, target: str, reason: str
) -> None:
    if kind != TargetKind.NODE.value:
        parse_uid(target)
    submitter = Submitter(settings)
    built = submitter.author.build(command, kind=TargetKind(kind), id=target, reason=reason)
    emit_receipt(settings, submitter.run([built]))


@click.command(cls=SigningCommand)
@click.argument("kind", type=_KINDS)
@click.argument("target", metavar="ID")
@click.option("--reason", required=True, help="Why, for people.")
@click.pass_obj
def quarantine(settings: Settings, kind: str, target: str, reason: str) -> None:
    """Deny every request in which ID is the KIND, or belongs to it, until it is released."""
    _enforce(settings, Quarantine, kind, target, reason)


@click.command(cls=SigningCommand)
@click.argument("kind", type=_KINDS)
@click.argument("target", metavar="ID")
@click.option("--reason", required=True, help="Why, for people.")
@click.pass_obj
def release(settings: Settings, kind: str, target: str, reason: str) -> None:
    """End the quarantine of ID."""
    _enforce(settings, Release, kind, target, reason)


@click.command(cls=SigningCommand)
@click.argument("kind", type=_KINDS)
@click.argument("target", metavar="ID")
@click.option("--reason", required=True, help="Why, for people.")
@click.pass_obj
def revoke(settings: Settings, kind: str, target: str, reason: str) -> None:
    """Deny every request in which ID is the KIND, or belongs to it, for ever."""
    _enforce(settings, Revoke, kind, target, reason)
