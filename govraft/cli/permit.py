"""`govraft authorize` and `govraft permit redeem`: portable permits, made and used up."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from govraft.cli.check import read_context
from govraft.cli.evidence_files import check_target_file, keep_evidence
from govraft.cli.exit_codes import exit_code_of_verdict
from govraft.cli.input_files import read_bytes
from govraft.cli.nodes import choose_client, read_genesis
from govraft.cli.output import note, write_data
from govraft.cli.settings import CliCommand, CliGroup, Settings
from govraft.cli.submission import emit_receipt, encode_receipt
from govraft.client.client import Client
from govraft.client.permits import Permit
from govraft.client.verdicts import Deny
from govraft.core.evidence.permit_file import prove_permit
from govraft.core.model.ids import parse_uid
from govraft.core.model.limits import PERMIT_LEAST_MS, PERMIT_MS
from govraft.core.model.reasons import Reason
from govraft.errors import Denied

__all__ = ["authorize", "permit"]


@click.command(cls=CliCommand)
@click.argument("principal")
@click.argument("action")
@click.argument("resource")
@click.option("--context", metavar="JSON", help="Context of the request; @FILE reads a file.")
@click.option(
    "--ttl",
    type=click.IntRange(PERMIT_LEAST_MS // 1000, PERMIT_MS // 1000),
    default=PERMIT_MS // 1000,
    show_default=True,
    metavar="S",
    help="Seconds that the permit shall live.",
)
@click.option("--single-use", is_flag=True, help="It must be redeemed, and can be redeemed once.")
@click.option("--audience", metavar="NAME", help="Whom it is for; it is void for all others.")
@click.option(
    "--at-least", type=click.IntRange(0), default=0, metavar="SEQ", help="Accept only this state or a later one."
)
@click.option(
    "--denial", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Keep a signed denial in FILE."
)
@click.pass_obj
def authorize(
    settings: Settings,
    *,
    principal: str,
    action: str,
    resource: str,
    context: str | None,
    ttl: int,
    single_use: bool,
    audience: str | None,
    at_least: int,
    denial: Path | None,
) -> int | None:
    """Get a permit for PRINCIPAL to do ACTION on RESOURCE, signed by a quorum, and print it.

    Whoever holds the genesis can verify it offline, with `govraft verify`, until it runs out: by the founders' keys
    alone, unless a trust state is given (`govraft trust set`). Exit code 0 for a permit, 1 for a denial, 2 if the
    request is not usable, 3 if no node answers.
    """
    for text in (principal, action, resource):
        parse_uid(text)
    asked = read_context(context)
    if denial is not None:
        check_target_file(denial)
    failure = Denied(Deny(Reason.NODE_UNREACHABLE, "there is no node to ask"))
    for target in settings.targets():
        with Client(target.endpoint, timeout=settings.timeout_s) as client:
            try:
                found = client.authorize(
                    principal,
                    action,
                    resource,
                    asked,
                    ttl=ttl,
                    single_use=single_use,
                    audience=audience,
                    at_least=at_least,
                    timeout=settings.timeout_s,
                )
            except Denied as error:
                failure = error
            else:
                _show(found)
                return None
        if getattr(failure.verdict, "reason", None) is not Reason.NODE_UNREACHABLE:
            break
    return _explain(failure, denial)


def _show(found: Permit) -> None:
    # The same in each form of output: whoever verifies it needs exactly these bytes.
    write_data(found.file.decode() + "\n")


def _explain(failure: Denied, path: Path | None) -> int:
    verdict = failure.verdict
    if not isinstance(verdict, Deny):
        raise failure
    note(f"govraft: denied: {verdict.reason.value}: {verdict.message}")
    if path is not None and failure.denial:
        keep_evidence(path, failure.denial)
    elif path is not None:
        note("govraft: the denial is not signed: no node gave it in its name")
    return exit_code_of_verdict(verdict)


@click.group(cls=CliGroup)
def permit() -> None:
    """Portable permits."""


@permit.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--audience", metavar="NAME", help="Who redeems it: a permit that names another audience is void.")
@click.option(
    "--receipt",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Keep the receipt for `govraft verify`.",
)
@click.pass_obj
def redeem(settings: Settings, file: Path, audience: str | None, receipt: Path | None) -> None:
    """Use up the single-use permit in FILE: from then on it is good for nothing in the whole cluster.

    Exit code 0 if this was its use, 1 if it is used or void, 3 if no node answers; then take it as used.
    """
    data = read_bytes(file)
    if receipt is not None:
        check_target_file(receipt)
    genesis = read_genesis(settings)
    prove_permit(data, genesis, at=time.time_ns() // 1_000_000, audience=audience)
    with choose_client(settings, able=True) as client:
        settings.submitted.append(data)
        redeemed = client.redeem(data, timeout=settings.timeout_s)
    kept = encode_receipt(settings, redeemed.receipt, redeemed.envelope, genesis)
    if receipt is not None:
        keep_evidence(receipt, json.dumps(kept, indent=2).encode())
    emit_receipt(settings, kept)
