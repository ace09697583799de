"""`govraft check`: ask for one verdict, or for a file of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from govraft.cli.batch import check_batch
from govraft.cli.evidence_files import ask_signed, check_target_file, keep_evidence
from govraft.cli.exit_codes import exit_code_of_verdict
from govraft.cli.input_files import json_value, read_text
from govraft.cli.output import digits, emit, fields_table, note
from govraft.cli.policy_texts import policy_name
from govraft.cli.settings import CliCommand, Settings
from govraft.client.client import Client
from govraft.client.verdicts import Allow, Deny, Verdict, now_ns
from govraft.core.model.ids import parse_uid
from govraft.core.model.reasons import Reason
from govraft.core.model.units import NS_PER_MS
from govraft.errors import GovraftError, InputError

__all__ = ["check", "read_context"]


@click.command(cls=CliCommand)
@click.argument("principal", required=False)
@click.argument("action", required=False)
@click.argument("resource", required=False)
@click.option("--context", metavar="JSON", help="Context of the request; @FILE reads a file.")
@click.option("--explain", is_flag=True, help="Name the policies that determined the verdict.")
@click.option(
    "--at-least", type=click.IntRange(0), default=0, metavar="SEQ", help="Accept only this state or a later one."
)
@click.option("--batch", type=click.Path(path_type=Path), metavar="FILE.jsonl", help="Ask for each line of a file.")
@click.option("--each", is_flag=True, help="With --batch: print each verdict as a line of JSON.")
@click.option(
    "--signed",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Keep a denial, signed by the node, in FILE.",
)
@click.pass_obj
def check(
    settings: Settings,
    *,
    principal: str | None,
    action: str | None,
    resource: str | None,
    context: str | None,
    explain: bool,
    at_least: int,
    batch: Path | None,
    each: bool,
    signed: Path | None,
) -> int:
    """Ask whether PRINCIPAL may do ACTION on RESOURCE now.

    All three are Cedar entity uids, such as 'Agent::"ci-bot"'; mind the shell's quoting. Exit code 0 for an allow, 1
    for a deny, 2 if the request is not usable, 3 if no node answers.

    A line of a batch has `principal`, `action`, `resource`, optionally `context`, and optionally what is expected:
    `expect` ("allow" or "deny") and `reason`.
    """
    if batch is not None:
        if principal is not None or context is not None or signed is not None:
            raise InputError("`--batch` takes its requests from the file: leave out the others")
        return check_batch(settings, batch, at_least=at_least, each=each)
    if principal is None or action is None or resource is None:
        raise InputError("check needs PRINCIPAL, ACTION and RESOURCE, or `--batch FILE`")
    for text in (principal, action, resource):
        parse_uid(text)
    asked = read_context(context)
    if signed is None:
        verdict = _ask(settings, principal, action, resource, asked, at_least=at_least, explain=explain)
    else:
        check_target_file(signed)
        answer = ask_signed(settings, principal, action, resource, asked, at_least=at_least)
        verdict = _still(answer.verdict)
        if answer.denial:
            keep_evidence(signed, answer.denial)
        elif isinstance(verdict, Deny):
            note("govraft: the denial is not signed: no node gave it in its name")
    return _show(settings, verdict, explain=explain)


def read_context(text: str | None) -> dict[str, Any]:
    """The context that `--context` means. Raises `InputError` for anything but a json object."""
    if text is None:
        return {}
    value = json_value(read_text(Path(text[1:])) if text.startswith("@") else text, "`--context`")
    if not isinstance(value, dict):
        raise InputError("`--context` must be a json object", code="malformed")
    return value


def _ask(
    settings: Settings,
    principal: str,
    action: str,
    resource: str,
    context: dict[str, Any],
    *,
    at_least: int,
    explain: bool,
) -> Verdict:
    """The first target that answers decides."""
    verdict: Verdict = Deny(Reason.NODE_UNREACHABLE, "there is no node to ask")
    for target in settings.targets():
        with Client(target.endpoint, timeout=settings.timeout_s) as client:
            verdict = client.check(principal, action, resource, context, at_least=at_least, explain=explain)
        if not isinstance(verdict, Deny) or verdict.reason is not Reason.NODE_UNREACHABLE:
            break
    return _still(verdict)


def _still(verdict: Verdict) -> Verdict:
    # SAFETY: an allow that has run out is none; test_check.py::test_an_allow_that_has_run_out_is_a_deny
    if isinstance(verdict, Allow) and not verdict:
        return Deny(Reason.LEASE_EXPIRED, "the allow has run out: ask again", seq=verdict.seq)
    return verdict


def _show(settings: Settings, verdict: Verdict, *, explain: bool) -> int:
    data = msgspec.to_builtins(verdict)
    names = _names(settings, verdict.policies) if explain else {}
    if explain:
        data["policy_names"] = names
    pairs: list[tuple[str, object]] = [("verdict", data["verdict"])]
    if isinstance(verdict, Deny):
        pairs += [("reason", verdict.reason.value), ("message", verdict.message)]
    else:
        left_ms = max(0, (verdict.valid_until - now_ns()) // NS_PER_MS)
        pairs.append(("valid for", f"{left_ms} ms"))
    pairs += [("seq", verdict.seq or "none"), ("node", verdict.node)]
    pairs += [("policy", f"{digits(name)}  {names.get(name, '')}".rstrip()) for name in verdict.policies]
    pairs += [("error", text) for text in getattr(verdict, "errors", [])]
    if explain:
        pairs += [("state root", verdict.state_root), ("decision", verdict.decision)]
    emit(settings.output, data, fields_table([pair for pair in pairs if pair[1] != ""]))
    return exit_code_of_verdict(verdict)


def _names(settings: Settings, ids: list[str]) -> dict[str, str]:
    """What people call the policies. Missing where it cannot be found out: the verdict stands without."""
    if not ids:
        return {}
    try:
        with Client(settings.targets()[0].endpoint, timeout=settings.timeout_s) as client:
            texts = client.read("policy").get("policies", {})
    except (GovraftError, AttributeError):
        return {}
    return {name: policy_name(texts[name]) for name in ids if isinstance(texts.get(name), str)}
