"""`govraft proposal`: open, vote, withdraw, list, show."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from govraft.cli.input_files import json_value, read_text
from govraft.cli.nodes import field_of, read
from govraft.cli.output import Table, digits, emit, note, time_text
from govraft.cli.settings import CliGroup, Settings, SigningCommand
from govraft.cli.submission import Submitter, emit_receipt
from govraft.core.model.commands import BallotChoice, ProposalOpen, ProposalVote, ProposalWithdraw, proposal_digest
from govraft.core.model.limits import PROPOSAL_LIFE_MS
from govraft.errors import GovraftError, InputError

__all__ = ["proposal"]

_MINUTE_MS = 60_000
_CHOICES = click.Choice([choice.value for choice in BallotChoice])


@click.group(cls=CliGroup)
def proposal() -> None:
    """Commands that are put to the vote, and execute once their threshold holds."""


@proposal.command("open", cls=SigningCommand)
@click.argument("command")
@click.argument("body", type=click.Path(path_type=Path), metavar="BODY.json")
@click.option(
    "--expires",
    type=click.IntRange(1, PROPOSAL_LIFE_MS // _MINUTE_MS),
    default=24 * 60,
    metavar="MIN",
    help="Minutes until nobody can vote any more; default a day.",
)
@click.pass_obj
def open_proposal(settings: Settings, command: str, body: Path, expires: int) -> None:
    """Put COMMAND, such as `policy.activate`, to the vote, with one `--key`; BODY.json has its fields, `-` reads stdin.

    The key's holder thereby approves. The header of the command is left out: the cluster makes it.
    """
    fields = json_value(read_text(body), f"`{body}`")
    if not isinstance(fields, dict):
        raise InputError(f"`{body}` holds no json object", code="malformed")
    submitter = Submitter(settings)
    author = submitter.author.only_signer()
    epoch, sequence = _next_ballot(settings, author)
    built = submitter.author.build(
        ProposalOpen,
        command=command,
        body=fields,
        author=author,
        epoch=epoch,
        sequence=sequence,
        expires=time.time_ns() // 1_000_000 + expires * _MINUTE_MS,
    )
    digest = proposal_digest(built) if isinstance(built, ProposalOpen) else ""
    note(f"proposal {digest}")
    emit_receipt(settings, submitter.run([built]), {"proposal": digest})


@proposal.command(cls=SigningCommand)
@click.argument("digest")
@click.argument("choice", type=_CHOICES)
@click.pass_obj
def vote(settings: Settings, digest: str, choice: str) -> None:
    """Vote on the proposal DIGEST with one `--key`; `withdraw` takes one's ballot back.

    What the digest stands for is computed here, from what the node says, and shown.
    """
    submitter = Submitter(settings)
    found = read(settings, "proposal", digest=digest)
    _check_digest(found, digest, submitter.genesis.cluster_id)
    note(f"{choice}: {found['command']} {json.dumps(found['body'], sort_keys=True)}, proposed by {found['author']}")
    voter = submitter.author.only_signer()
    epoch, sequence = _next_ballot(settings, voter)
    built = submitter.author.build(
        ProposalVote, proposal=digest, voter=voter, choice=BallotChoice(choice), epoch=epoch, sequence=sequence
    )
    emit_receipt(settings, submitter.run([built]))


@proposal.command(cls=SigningCommand)
@click.argument("digest")
@click.pass_obj
def withdraw(settings: Settings, digest: str) -> None:
    """Close one's own proposal DIGEST, with the `--key` that opened it."""
    submitter = Submitter(settings)
    author = submitter.author.only_signer()
    emit_receipt(settings, submitter.run([submitter.author.build(ProposalWithdraw, proposal=digest, author=author)]))


@proposal.command("list")
@click.option("--all", "every", is_flag=True, help="Closed ones too.")
@click.pass_obj
def list_proposals(settings: Settings, *, every: bool) -> None:
    """List open proposals, the first to expire first."""
    answer = read(settings, "proposals")
    if not isinstance(answer, list):
        raise GovraftError("the node's answer lists no proposals", code="answer_invalid")
    found = [item for item in answer if every or item.get("status") == "open"]
    rows = [
        (
            item["digest"],
            item["command"],
            item["author"],
            f"{item['approvals']} for, {item['rejections']} against",
            f"{item['status']} {item['code']}".strip(),
            time_text(item["expires"]),
        )
        for item in found
    ]
    emit(settings.output, found, Table(("DIGEST", "COMMAND", "AUTHOR", "BALLOTS", "STATUS", "EXPIRES"), rows))


@proposal.command()
@click.argument("digest")
@click.pass_obj
def show(settings: Settings, digest: str) -> None:
    """Show the proposal DIGEST, who voted how, and while it is open what it would do."""
    found = read(settings, "proposal", digest=digest)
    rows: list[tuple[str, object]] = [
        (name, found[name]) for name in ("digest", "command", "author", "status", "code", "seq") if found[name] != ""
    ]
    rows += [("opened", time_text(found["time"])), ("expires", time_text(found["expires"]))]
    rows += [(f"ballot of {voter}", ballot["choice"]) for voter, ballot in sorted(found["ballots"].items())]
    rows += [(name, json.dumps(value, sort_keys=True)) for name, value in sorted((found["body"] or {}).items())]
    emit(settings.output, found, Table(("FIELD", "VALUE"), rows))


def _next_ballot(settings: Settings, voter: str) -> tuple[int, int]:
    """Epoch and sequence for the voter's next ballot."""
    answer = read(settings, "ballots", voter=voter)
    return field_of(answer, "epoch", int), field_of(answer, "last_sequence", int) + 1


def _check_digest(found: dict[str, Any], digest: str, cluster: str) -> None:
    """Refuse to vote on something else than what is shown.

    Raises:
        InputError: The proposal is not open.
        GovraftError: What the node shows has another digest.
    """
    body = found.get("body")
    if not isinstance(body, dict):
        raise InputError(f"the proposal is {found.get('status')}, nobody can vote on it", code="proposal_closed")
    command = ProposalOpen(
        cluster=cluster,
        command_id="-",
        not_after=1,
        command=field_of(found, "command", str),
        body=body,
        author=field_of(found, "author", str),
        epoch=field_of(found, "epoch", int),
        sequence=field_of(found, "sequence", int),
        expires=field_of(found, "expires", int),
    )
    # SAFETY: nobody is shown one thing and made to sign another. test_proposal_commands.py::test_a_lying_node
    if proposal_digest(command) != digest:
        raise GovraftError(
            f"the node shows another proposal than `{digits(digest)}…`: ask another node", code="answer_invalid"
        )
