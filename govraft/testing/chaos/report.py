"""What a run came to, as numbers: `report.json`, and the lines that the command prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from govraft.testing.chaos.catalogue import GROUPS
from govraft.testing.chaos.options import ChaosResult
from govraft.testing.chaos.page import page
from govraft.testing.checkers import unavailability
from govraft.testing.history import Check, CommandTried, Event, FaultEnded, FaultStarted
from govraft.version import VERSION

__all__ = ["PROPERTIES", "Report", "make_report", "summary_lines", "write_report"]

PROPERTIES = {
    "stale_allow": "no allow on a state older than one already effective",
    "fork": "one root and one state for each certified seq",
    "lineage_prefix": "all lineages are prefixes of one",
    "lost_command": "no effective command is missing from a lineage",
    "doubled_command": "no command worked twice",
    "refused_command": "nothing worked that was definitely refused",
    "same_verdict": "same question, same seq: same verdict on every node",
    "monotone": "what was signed, certified and applied never falls",
    "linearizability": "one order of commands explains all answers",
    "liveness": "every node allows again after the last fault",
    "fault_handling": "nodes stop, refuse and come back as they must",
    "malformed": "the record is sound",
    "undecided": "every checker came to a verdict",
}
"""What was judged, for people, in the order in which it is shown."""

_NS_PER_MS = 1_000_000
_EVENTS_SHOWN = 4


class Report(msgspec.Struct, frozen=True):
    """Content of `report.json`. Times in milliseconds."""

    version: str
    replay: str
    scenario: str
    seed: int
    nodes: int
    network: str
    seconds: float
    properties: dict[str, int]
    violations: list[dict[str, Any]]
    faults: int
    faults_by_kind: dict[str, int]
    kinds_missing: dict[str, str]
    faults_skipped: list[str]
    checks: int
    checks_per_s: float
    allows: int
    denials_by_reason: dict[str, int]
    commands: int
    commands_by_outcome: dict[str, int]
    signed_seq_reads: int
    unavailability: list[dict[str, Any]]


def make_report(result: ChaosResult) -> Report:
    """Count what is in the history."""
    options = result.options
    checks = [event for event in result.events if isinstance(event, Check)]
    commands = [event for event in result.events if isinstance(event, CommandTried)]
    seconds = (result.events[-1].at - result.events[0].at) / 1e9 if result.events else 0.0
    found = Counter(violation.property for violation in result.violations)
    replay = (
        f"scripts/chaos --nodes {options.nodes} --scenario {options.scenario} --seed {options.seed} "
        f"--duration {options.duration_s:.0f}s --network {result.network}"
    )
    order, kinds = list(GROUPS), Counter(item.kind for item in result.faults)
    return Report(
        version=VERSION,
        replay=replay,
        scenario=options.scenario,
        seed=options.seed,
        nodes=options.nodes,
        network=result.network,
        seconds=round(seconds, 1),
        properties={name: found.get(name, 0) for name in (*PROPERTIES, *sorted(set(found) - set(PROPERTIES)))},
        violations=[
            {
                "property": item.property,
                "message": item.message,
                "events": [msgspec.to_builtins(e) for e in item.events[:4]],
            }
            for item in result.violations
        ],
        faults=len(result.faults),
        faults_by_kind={kind: kinds[kind] for kind in order if kinds[kind]},
        kinds_missing=result.plan.missing,
        faults_skipped=result.skipped,
        checks=len(checks),
        checks_per_s=round(len(checks) / seconds, 1) if seconds else 0.0,
        allows=sum(check.allowed for check in checks),
        denials_by_reason=dict(Counter(check.reason for check in checks if not check.allowed).most_common()),
        commands=len(commands),
        commands_by_outcome=dict(Counter(command.outcome for command in commands).most_common()),
        signed_seq_reads=result.signed_reads,
        unavailability=_unavailability(result.events),
    )


def _unavailability(events: Sequence[Event]) -> list[dict[str, Any]]:
    """The table by kind of fault, of faults that came alone where there is one: two together tell nothing of either."""
    alone = _alone(events)
    solo = [event for event in events if not isinstance(event, FaultStarted | FaultEnded) or event.fault in alone]
    pure = {item.kind: item for item in unavailability(solo)}
    order = list(GROUPS)
    rows = []
    for every in sorted(unavailability(events), key=lambda item: order.index(item.kind)):
        item = pure.get(every.kind, every)
        rows.append(
            {
                "kind": every.kind,
                "count": every.count,
                "alone": pure[every.kind].count if every.kind in pure else 0,
                "bystanders_median_ms": item.bystanders_median_ns // _NS_PER_MS,
                "bystanders_worst_ms": item.bystanders_worst_ns // _NS_PER_MS,
                "recovery_median_ms": item.recovery_median_ns // _NS_PER_MS,
                "recovery_worst_ms": item.recovery_worst_ns // _NS_PER_MS,
                "unrecovered": every.unrecovered,
            }
        )
    return rows


def _alone(events: Sequence[Event]) -> set[int]:
    """Numbers of the faults during which there was no other."""
    last = events[-1].at if events else 0
    ended = {event.fault: event.at for event in events if isinstance(event, FaultEnded)}
    spans = [
        (event.fault, event.at, ended.get(event.fault, last)) for event in events if isinstance(event, FaultStarted)
    ]
    return {
        fault
        for fault, start, end in spans
        if not any(other != fault and begin < end and start < over for other, begin, over in spans)
    }


def write_report(result: ChaosResult, out: Path) -> Report:
    """Write `report.json` and `report.html` into `out`."""
    report = make_report(result)
    (out / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    (out / "report.html").write_text(page(report, result.events, PROPERTIES, result.violations), encoding="utf-8")
    return report


def summary_lines(report: Report) -> list[str]:
    """What a person at a terminal wants to know."""
    broken = {name: count for name, count in report.properties.items() if count}
    load = f"{report.checks} checks ({report.checks_per_s:.0f}/s), {report.commands} commands, {report.seconds:.0f} s"
    lines = [
        f"{report.scenario}, {report.nodes} nodes, seed {report.seed}, {report.network}:",
        f"{report.faults} faults, {load}",
    ]
    lines += [f"not possible here: {kind} needs {need}" for kind, need in report.kinds_missing.items()]
    if not broken:
        lines.append("no violation")
    for item in report.violations:
        lines.append(f"VIOLATION {item['property']}: {item['message']}")
    if broken:
        lines.append(f"replay: {report.replay}")
    return lines
