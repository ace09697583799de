"""`govraft boundary`: set, remove, list."""

from __future__ import annotations

import re
from typing import Any

import click

from govraft.cli.known_uids import check_known
from govraft.cli.nodes import choose_client, field_of, read
from govraft.cli.output import Table, emit
from govraft.cli.settings import CliGroup, Settings, SigningCommand
from govraft.cli.submission import Submitter, emit_receipt
from govraft.core.model.commands import BoundaryRemove, BoundarySet, Rate, Window
from govraft.core.model.ids import ROOT_DOMAIN, canonical_uid
from govraft.errors import InputError

__all__ = ["boundary"]

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SPAN = re.compile(r"([0-2][0-9]):([0-5][0-9])-([0-2][0-9]):([0-5][0-9])")
_RATE = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")
_DAY_MINUTES = 24 * 60


@click.group(cls=CliGroup)
def boundary() -> None:
    """Boundaries: where, when, how often and at what level anything may execute."""


@boundary.command("set", cls=SigningCommand)
@click.argument("identifier", metavar="ID")
@click.option("--domain", default=ROOT_DOMAIN, metavar="DOMAIN", help="It binds this and all below; default root.")
@click.option("--subject", metavar="UID", help="Only this subject or group.")
@click.option("--action", metavar="UID", help="Only this action or group.")
@click.option(
    "--window", "windows", multiple=True, metavar="'DAYS HH:MM-HH:MM'", help="Like `mon-fri 09:00-17:00`, UTC."
)
@click.option("--region", "regions", multiple=True, metavar="NAME", help="`context.region` must be one of them.")
@click.option("--rate", metavar="COUNT/SECONDS", help="At most so many for each subject in the whole cluster.")
@click.option("--level-max", type=click.IntRange(0, 1_000), metavar="N", help="`context.level` must be at most this.")
@click.pass_obj
def set_boundary(
    settings: Settings,
    identifier: str,
    domain: str,
    subject: str | None,
    action: str | None,
    windows: tuple[str, ...],
    regions: tuple[str, ...],
    rate: str | None,
    level_max: int | None,
) -> None:
    """Set the boundary ID, or replace it.

    Of a rate each node allows its share: the count divided by the number of nodes, rounded down. A rate that leaves
    nothing for each is refused.
    """
    fields = {
        "subject": None if subject is None else canonical_uid(subject),
        "action": None if action is None else canonical_uid(action),
        "windows": tuple(map(_parse_window, windows)),
        "regions": regions,
        "rate": None if rate is None else _parse_rate(rate),
        "level_max": level_max,
    }
    # Whom it binds may come later, so only types and actions are compared.
    check_known(settings, [uid for uid in (subject, action) if uid is not None], unregistered=True)
    if isinstance(fields["rate"], Rate):
        _check_share(settings, fields["rate"])
    submitter = Submitter(settings)
    command = submitter.author.build(BoundarySet, id=identifier, domain=domain, **fields)
    emit_receipt(settings, submitter.run([command]))


@boundary.command(cls=SigningCommand)
@click.argument("identifier", metavar="ID")
@click.option("--domain", default=ROOT_DOMAIN, metavar="DOMAIN", help="Where it was set; default root.")
@click.pass_obj
def remove(settings: Settings, identifier: str, domain: str) -> None:
    """Remove the boundary ID."""
    submitter = Submitter(settings)
    command = submitter.author.build(BoundaryRemove, id=identifier, domain=domain)
    emit_receipt(settings, submitter.run([command]))


@boundary.command("list")
@click.option("--domain", metavar="DOMAIN", help="Only what binds this domain.")
@click.pass_obj
def list_boundaries(settings: Settings, domain: str | None) -> None:
    """List boundaries."""
    of = {} if domain is None else {"domain": domain}
    found: list[dict[str, Any]] = []
    with choose_client(settings) as client:
        after = ""
        while True:
            page = client.read("boundaries", after=after, **of)
            found += field_of(page, "boundaries", list)
            following = page.get("next")
            # A page that leads nowhere new would be asked for without end.
            if not isinstance(following, str) or following <= after:
                break
            after = following
    rows = [(item["id"], item["domain"], item["subject"], item["action"], _describe(item)) for item in found]
    emit(settings.output, found, Table(("ID", "DOMAIN", "SUBJECT", "ACTION", "BOUNDS"), rows))


def _describe(item: dict[str, Any]) -> str:
    parts = [
        f"{','.join(_DAYS[day] for day in part['days'])} {_clock(part['start'])}-{_clock(part['end'])}"
        for part in item["windows"]
    ]
    if item["regions"]:
        parts.append("regions " + ",".join(item["regions"]))
    if item["rate"] is not None:
        parts.append(f"rate {item['rate']['count']}/{item['rate']['seconds']}")
    if item["level_max"] is not None:
        parts.append(f"level {item['level_max']}")
    return "; ".join(parts)


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"


def _check_share(settings: Settings, rate: Rate) -> None:
    """Refuse a rate of which no node would have a share: it would deny everybody."""
    nodes = len(read(settings, "members"))
    if rate.count < nodes:
        message = (
            f"`--rate {rate.count}/{rate.seconds}` leaves none for each of the {nodes} nodes that share it, and would"
            f" deny everybody: set a count of {nodes} or more"
        )
        raise InputError(message, code="rate_too_small")


def _parse_window(text: str) -> Window:
    days, _, span = text.strip().lower().partition(" ")
    found = _SPAN.fullmatch(span.strip())
    if found is None:
        raise InputError(f"`--window {text}` is no window: write `mon-fri 09:00-17:00` or `sat,sun 00:00-24:00`")
    start, end = int(found[1]) * 60 + int(found[2]), int(found[3]) * 60 + int(found[4])
    if not start < end <= _DAY_MINUTES:
        raise InputError(f"`--window {text}` must end after it starts, at 24:00 at the latest: make two of it")
    return Window(tuple(sorted({day for part in days.split(",") for day in _parse_days(part, text)})), start, end)


def _parse_days(part: str, text: str) -> range:
    first, separator, last = part.partition("-")
    last = last if separator else first
    if first not in _DAYS or last not in _DAYS or _DAYS.index(first) > _DAYS.index(last):
        raise InputError(f"`--window {text}` names no days: use {', '.join(_DAYS)}, or a span such as mon-fri")
    return range(_DAYS.index(first), _DAYS.index(last) + 1)


def _parse_rate(text: str) -> Rate:
    found = _RATE.fullmatch(text)
    if found is None:
        raise InputError(f"`--rate {text}` is no rate: write COUNT/SECONDS, such as 100/60")
    return Rate(int(found[1]), int(found[2]))
