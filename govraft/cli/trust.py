"""`govraft trust`: what offline proofs trust beyond the genesis. Only `trust set` writes it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import click

from govraft.cli.input_files import read_bytes
from govraft.cli.output import emit, fields_table, note
from govraft.cli.settings import CliGroup, Settings
from govraft.cli.trust_file import find_trust, trusted_option
from govraft.cli.trusted_genesis import trusted_genesis
from govraft.core.evidence.trust import Trust
from govraft.core.model.genesis import Genesis
from govraft.errors import InputError, VerificationError

__all__ = ["trust"]

_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


@click.group(cls=CliGroup)
def trust() -> None:
    """What offline proofs trust beyond the genesis: an electorate, a seq and its root."""


@trust.command("set")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--genesis", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Trusted.")
@trusted_option
@click.option("--fingerprint", metavar="HEX", help="Of the trust state that FILE must lead to; asks no question.")
@click.pass_obj
def set_trust(
    settings: Settings, file: Path, genesis: Path | None, trusted: str | None, fingerprint: str | None
) -> None:
    """Trust what FILE proves: its electorate, its seq and its root.

    FILE is a certificate, a receipt, a lineage export, a record proof, or another trust state; never a permit. If it
    links from what is trusted already, it is taken. Else compare the fingerprint with somebody who runs a node. Exit
    code 1 if FILE proves nothing or is of another history, 2 without an answer.
    """
    known = trusted_genesis(settings, genesis)
    wanted = None if fingerprint is None else _fingerprint(fingerprint)
    place = find_trust(trusted, known)
    if place.path is None:
        why = "`--trusted none`" if place.is_named else "without a home directory"
        raise InputError(f"{why}: there is no file to keep it in; give `--trusted FILE`", code="trust_nowhere")
    # One that is named need not be there yet.
    before = place._replace(is_named=False).read()
    current = None if before is None else place.decode(before, known)
    evidence = read_bytes(file)
    proposed, is_linked = (Trust.begin(evidence, known), False) if current is None else current.propose(evidence, known)
    is_new = proposed != current
    if is_new:
        _decide(proposed, known, is_linked=is_linked, fingerprint=wanted)
        place.replace(before, proposed.encode())
    else:
        note("nothing changes: what is trusted already is as new")
    _show(settings, {"path": str(place.path), "changed": is_new, "linked": is_linked}, proposed, known)


@trust.command()
@click.option("--genesis", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Trusted.")
@trusted_option
@click.pass_obj
def show(settings: Settings, genesis: Path | None, trusted: str | None) -> None:
    """Show what is trusted for this cluster, and from which file."""
    known = trusted_genesis(settings, genesis)
    place = find_trust(trusted, known)
    state = place.load(known)
    head = {"trust": "genesis" if state is None else "state", "trusted": place.name}
    if state is None:
        note("no trust state: offline proofs rest on the founders' keys alone")
    _show(settings, head, state, known)


def _fingerprint(text: str) -> str:
    digits = text.strip().lower()
    if not _FINGERPRINT.fullmatch(digits):
        raise InputError("a fingerprint is 64 hexadecimal digits, as `govraft trust show` prints it")
    return digits


def _decide(state: Trust, genesis: Genesis, *, is_linked: bool, fingerprint: str | None) -> None:
    """Have a person decide, unless evidence or a fingerprint does."""
    # SAFETY: what was compared elsewhere is what is taken (test_trust_commands.py::test_a_fingerprint_decides).
    if fingerprint is not None and fingerprint != state.fingerprint:
        message = f"the fingerprint of what it leads to is {state.fingerprint}, not the one given"
        raise VerificationError(message, code="fingerprint_mismatch")
    if is_linked or fingerprint is not None:
        return
    for name, value in _fields(state, genesis).items():
        note(f"{name}: {_plain(value)}")
    # SAFETY: nobody's silence is a yes (test_trust_commands.py::test_without_a_terminal_a_fingerprint_is_wanted).
    if sys.stdin is None or not sys.stdin.isatty():
        message = "without a terminal nobody can be asked: compare the fingerprint, and give it with `--fingerprint`"
        raise InputError(message, code="fingerprint_wanted")
    click.confirm("trust this, from now on?", abort=True, err=True)


def _fields(state: Trust, genesis: Genesis) -> dict[str, Any]:
    return {
        "cluster": genesis.cluster_id,
        "name": genesis.name,
        "epoch": state.electorate.epoch,
        "voters": [item.id for item in state.electorate.voters],
        "seq": state.seq,
        "root": state.root.hex(),
        "fingerprint": state.fingerprint,
    }


def _show(settings: Settings, head: dict[str, Any], state: Trust | None, genesis: Genesis) -> None:
    data = head | ({"cluster": genesis.cluster_id} if state is None else _fields(state, genesis))
    emit(settings.output, data, fields_table((name, _plain(value)) for name, value in data.items()))


def _plain(value: object) -> object:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, list) else "-" if value is None else value
