"""`govraft policy test` and `govraft policy impact`: what policies would do, before they do it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import click

from govraft.cli.exit_codes import DENIED, DONE
from govraft.cli.expectations import Expectation, read_expectations
from govraft.cli.output import Table, emit, note, progress
from govraft.cli.settings import CliCommand, Settings
from govraft.core.model.ids import ROOT_DOMAIN
from govraft.core.model.reasons import Reason
from govraft.errors import InputError

__all__ = ["impact", "test_policies"]

_SHOWN = 50

_policies_option = click.option(
    "--policies",
    multiple=True,
    type=click.Path(path_type=Path, exists=True),
    metavar="DIR|FILE",
    help="Policies to try, in place of the active ones.",
)
_schema_option = click.option(
    "--schema", type=click.Path(path_type=Path), metavar="FILE", help="Schema to try with them; default the active one."
)
_domain_option = click.option(
    "--domain", default=ROOT_DOMAIN, metavar="ID", help=f"Whose policies to try; default {ROOT_DOMAIN}."
)


@click.command("test", cls=CliCommand)
@click.argument("file", type=click.Path(path_type=Path))
@_policies_option
@_schema_option
@click.option("--entities", type=click.Path(path_type=Path), metavar="FILE", help="Entities; default the node's.")
@_domain_option
@click.pass_obj
def test_policies(
    settings: Settings, file: Path, policies: tuple[Path, ...], schema: Path | None, entities: Path | None, domain: str
) -> int:
    """Hold what policies say against what is expected of them. Exit code 1 if anything comes out otherwise.

    FILE holds requests as JSON or JSON Lines: principal, action, resource, context, expect (allow or deny) and, to be
    denied for one reason only, that reason. Without `--policies` the active ones are asked; with `--policies`,
    `--schema` and `--entities` no node is. Policies alone are asked: no marks, grants, attestations or boundaries.
    """
    from govraft.cli.policy_world import open_world, read_candidate

    cases = read_expectations(file)
    for case in cases:
        if case.expect is None:
            raise InputError(f"`{file}`, line {case.number}: needs `expect`, allow or deny")
    failures, reasons = [], Counter[str]()
    with open_world(settings, read_candidate(policies, schema, domain), entities) as world:
        for case in cases:
            finding = world.ask(case.request).finding
            got = "allow" if finding.reason is None else finding.reason.value
            reasons[got] += 1
            if not case.is_met_by(finding.reason):
                failures.append(_failure(case, got, finding.message, finding.policies))
    data: dict[str, Any] = {"cases": len(cases), "as_expected": len(cases) - len(failures), "failures": failures}
    data["reasons"] = dict(sorted((name, count) for name, count in reasons.items() if name != "allow"))
    rows: list[tuple[object, ...]] = [("as expected", f"{len(cases) - len(failures)} of {len(cases)}")]
    if errors := reasons[Reason.POLICY_ERROR]:
        rows.append(("denied: policy_error", errors))  # It meets `deny`, but no rule was followed.
    for item in failures[:_SHOWN]:
        asked = f"{item['principal']} {item['action']} {item['resource']}"
        rows.append((f"line {item['line']}", f"expected {item['expect']}, got {item['got']}: {asked}"))
    if len(failures) > _SHOWN:
        rows.append(("more", f"{len(failures) - _SHOWN} failures, all of them with -o json"))
    emit(settings.output, data, Table(("", "RESULT"), rows))
    return DENIED if failures else DONE


def _failure(case: Expectation, got: str, message: str, policies: tuple[str, ...]) -> dict[str, Any]:
    return {
        "line": case.number,
        "principal": case.request.principal,
        "action": case.request.action,
        "resource": case.request.resource,
        "expect": case.reason or case.expect,
        "got": got,
        "message": message,
        "policies": list(policies),
    }


@click.command(cls=CliCommand)
@_policies_option
@_schema_option
@click.option(
    "--decisions", type=click.Path(path_type=Path, dir_okay=False), required=True, help="Of `govraft audit export`."
)
@click.option("--lineage", type=click.Path(path_type=Path, dir_okay=False), help="Of `govraft lineage export`.")
@click.option("--genesis", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Trusted.")
@_domain_option
@click.pass_obj
def impact(
    settings: Settings,
    policies: tuple[Path, ...],
    schema: Path | None,
    decisions: Path,
    lineage: Path | None,
    genesis: Path | None,
    domain: str,
) -> None:
    """List the recorded decisions that would come out otherwise under the policies given.

    Each request in DECISIONS is decided again: with `--lineage` on the state on which it was decided, all conditions
    included; else by the policies alone, on the node's entities as they are now. What is masked, and what was denied
    because of the node and not of the request, is counted and left out. Whether the records are true is not asked:
    see `govraft audit replay`.
    """
    from govraft.cli.policy_impact import compare_now, compare_on_lineage, count_records
    from govraft.cli.policy_world import open_world, read_candidate
    from govraft.cli.trusted_genesis import trusted_genesis

    candidate = read_candidate(policies, schema, domain)
    if candidate is None:
        raise InputError("give the policies to try: `--policies DIR`")
    if lineage is not None:
        trusted = trusted_genesis(settings, genesis)
        with progress("deciding", count_records(decisions)) as advance:
            found = compare_on_lineage(decisions, lineage, trusted, candidate, advance)
    else:
        with open_world(settings, candidate, None) as world, progress("deciding", count_records(decisions)) as advance:
            found = compare_now(decisions, world, advance)
    _emit_impact(settings, found.counts, found.changes)


def _emit_impact(settings: Settings, counts: Counter[str], changes: list[dict[str, Any]]) -> None:
    rows: list[tuple[object, ...]] = [(name, counts[name], "", "") for name in sorted(counts)]
    for item in changes[:_SHOWN]:
        asked = f"{item['principal']} {item['action']} {item['resource']}"
        rows.append((f"record {item['index']}", item["recorded"], item["now"], asked))
    emit(settings.output, {"counts": dict(sorted(counts.items())), "changes": changes}, _table(rows))
    if len(changes) > _SHOWN:
        note(f"{len(changes) - _SHOWN} more changes, all of them with -o json")


def _table(rows: list[tuple[object, ...]]) -> Table:
    return Table(("", "RECORDED", "NOW", "REQUEST"), rows)
