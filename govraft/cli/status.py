"""`govraft status`, `endpoint status`, `endpoint health` and `watch`."""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import click

from govraft.cli.exit_codes import DONE, UNAVAILABLE
from govraft.cli.nodes import choose_client
from govraft.cli.output import FORMATS, Table, digits, emit, note, plain, write_data
from govraft.cli.settings import CliCommand, CliGroup, Settings, Target
from govraft.client.client import Client
from govraft.errors import AvailabilityError, GovraftError

__all__ = ["endpoint", "status", "watch"]

_ASKED_AT_ONCE = 16
_PROBE_S = 3.0
_RECONNECT_S = 0.5
_COLUMNS = ("NODE", "ROLE", "VERSION", "DB SIZE", "TERM", "SEQ", "CERTIFIED", "LEASE", "ERRORS")


@click.command(cls=CliCommand)
@click.pass_obj
def status(settings: Settings) -> int:
    """Show how each node is, one row a node: those that can be asked, and the other members."""
    return _show_status(settings)


@click.group(cls=CliGroup)
def endpoint() -> None:
    """How the nodes are."""


@endpoint.command("status")
@click.pass_obj
def endpoint_status(settings: Settings) -> int:
    """Show how each node is, one row a node."""
    return _show_status(settings)


@endpoint.command("health")
@click.pass_obj
def endpoint_health(settings: Settings) -> int:
    """Tell whether each node may allow right now; exit code 3 unless all may."""
    found = _ask_all(settings)
    rows = [
        (item["endpoint"], "healthy" if item["healthy"] else "unhealthy", f"{item['took_ms']} ms", item["error"])
        for item in found
    ]
    data = [{name: item[name] for name in ("endpoint", "healthy", "took_ms", "error")} for item in found]
    emit(settings.output, data, Table(("ENDPOINT", "HEALTH", "TOOK", "ERROR"), rows))
    return DONE if all(item["healthy"] for item in found) else UNAVAILABLE


def _show_status(settings: Settings) -> int:
    found = _ask_all(settings)
    code = DONE if all(item["status"] is not None for item in found) else UNAVAILABLE
    found += _others(settings, found)
    emit(settings.output, found, Table(_COLUMNS, [_row(item) for item in found]))
    return code


def _others(settings: Settings, found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The members that nobody could be asked for here: they run elsewhere."""
    known = {item["endpoint"] for item in found} | {item["status"].get("node") for item in found if item["status"]}
    target = next((target for target, item in zip(settings.targets(), found, strict=True) if item["status"]), None)
    if target is None:
        return []
    try:
        with Client(target.endpoint, timeout=_PROBE_S) as client:
            members = client.read("members")
    except GovraftError as error:
        note(f"govraft: who else is a member is not known: {error}")
        return []
    return [
        {
            "endpoint": member["id"],
            "healthy": None,
            "took_ms": None,
            "error": f"at {member['address']}, not asked",
            "status": None,
            "voter": member["voter"],
        }
        for member in members
        if member["id"] not in known
    ]


def _ask_all(settings: Settings) -> list[dict[str, Any]]:
    targets = settings.targets()
    timeout_s = min(_PROBE_S, settings.timeout_s)
    with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
        return list(pool.map(lambda target: _ask(target, timeout_s), targets))


def _ask(target: Target, timeout_s: float) -> dict[str, Any]:
    """What a node says of itself; `status` is None and `error` says why if it does not."""
    started = time.monotonic()
    found: dict[str, Any] | None = None
    try:
        with Client(target.endpoint, timeout=timeout_s) as client:
            found = client.status()
        standing = str(found.get("standing", "unknown"))
        error = _alarms(found) if standing == "allow" else f"{standing}: {found.get('message', '')}".rstrip(": ")
    except GovraftError as failure:
        standing, error = "", f"{failure.code}: {failure}"
    return {
        "endpoint": target.name,
        "healthy": standing == "allow",
        "took_ms": round((time.monotonic() - started) * 1000, 1),
        "error": error,
        "status": found,
    }


def _alarms(found: Mapping[str, Any]) -> str:
    """What a node that may allow warns of."""
    storage, jumps = found.get("storage"), found.get("term_jumps")
    listed = storage.get("alarms") if isinstance(storage, Mapping) else None
    alarms = [str(alarm) for alarm in listed] if isinstance(listed, list) else []
    if isinstance(jumps, Mapping) and jumps:
        told = ", ".join(f"{count} of `{member}`" for member, count in sorted(jumps.items()))
        alarms.append(f"term_jumps: frames named a term far above this node's: {told}; a key may be stolen")
    return "; ".join(alarms)


def _row(item: Mapping[str, Any]) -> tuple[object, ...]:
    found = item["status"]
    if found is None:
        is_voter = item.get("voter")
        role = "" if is_voter is None else "voter" if is_voter else "observer"
        return (item["endpoint"], role, *[""] * (len(_COLUMNS) - 3), item["error"])
    return (
        found.get("node"),
        "leader" if found.get("is_leader") else "observer" if found.get("observer") else "voter",
        found.get("version"),
        _size(found.get("db_bytes")),
        found.get("term"),
        found.get("seq"),
        found.get("certified_seq"),
        f"{found['lease_ms']} ms" if found.get("lease_ms") else "none",
        item["error"],
    )


def _size(count: object) -> str:
    if not isinstance(count, int):
        return ""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return ""


@click.command(cls=CliCommand)
@click.option("--events", type=click.IntRange(1), metavar="N", help="Stop after so many events.")
@click.pass_obj
def watch(settings: Settings, events: int | None) -> None:
    """Print certificates and changes of a node's standing as they come, until interrupted.

    When the node goes away, the next one that answers is watched.
    """
    left = sys.maxsize if events is None else events
    is_first, is_told = True, False
    while True:
        try:
            with choose_client(settings) as client:
                for event in itertools.islice(client.watch(), left):
                    is_first, is_told = False, False
                    left -= 1
                    _print_event(event, settings.output)
        except AvailabilityError as error:
            if is_first:
                raise
            if not is_told:
                note(f"govraft: {error}; connecting again")
            is_told = True
        if left == 0:
            return
        # A stream that ends is a node that stops.
        time.sleep(_RECONNECT_S)


def _print_event(event: dict[str, Any], form: str) -> None:
    if form == "json":
        # One event a line, so that a reader need not wait for the end.
        write_data(json.dumps(event, default=str) + "\n")
    elif form in FORMATS[2:]:
        write_data("---\n")
        emit(form, json.loads(json.dumps(event, default=str)), "")
    elif event.get("event") == "certified":
        write_data(f"certified  seq {plain(event.get('seq'))}  root {plain(digits(event.get('root')))}\n")
    else:
        told = [str(event.get(name) or "") for name in ("node", "standing", "message")]
        write_data(f"{plain(event.get('event'))}  {plain('  '.join(told).rstrip())}\n")
