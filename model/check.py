"""Checks the model of the round: it holds as it is, does what it is for, and fails for each rule that is left out.

Prints one line a run; exits 0 only if each ends as it must.
"""
# ruff: noqa: INP001, T201 - a folder of a model, not a package; the table is what this program is for

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from model import tlc

__all__ = ["CASES", "LONG", "Case", "main"]

HOLDS = "holds"


@dataclass(frozen=True)
class Case:
    """One run of the model checker.

    Attributes:
        name: For the table.
        base: Which `<base>.cfg`.
        expected: `holds`, or the invariant that must fail.
        changes: Constants that are set otherwise.
        invariant: One more invariant to check.
        module: That is checked.
        count: Whether this run is one of those that show that each action can be taken.
    """

    name: str
    base: str
    expected: str = HOLDS
    changes: dict[str, str] = field(default_factory=dict)
    invariant: str = ""
    module: str = "Check"
    count: bool = False


def _without(rule: str, base: str = "Majority", expected: str = "NoStaleAllow", **changes: str) -> Case:
    return Case(f"without {rule}", base, expected, {"Without": f'{{"{rule}"}}', **changes})


FULL = tuple(
    Case(base, base, count=base in {"Majority", "Byzantine", "Disk"})
    for base in ("Majority", "Drift", "Byzantine", "Electorate", "Disk")
)
LIVELY = (
    Case("a certificate is made", "Majority", "NothingCertified", invariant="NothingCertified"),
    Case("a lease is served", "Majority", "NothingServed", invariant="NothingServed"),
    Case("seq 2 is served", "Majority", "NothingServedBeyondOne", {"Top": "3"}, "NothingServedBeyondOne"),
    Case("all electorates certify", "Electorate", "NothingBeyondChange", invariant="NothingBeyondChange"),
)
WEAKENED = (
    _without("nonce-time"),
    _without("max-ack"),
    _without("durable-first"),
    _without("up-for-grant"),
    _without("outstanding"),
    _without("outstanding-checked"),
    _without("epoch-certificate", "Electorate"),
    Case("without drift margins", "Drift", "NoStaleAllow", {"Hold": "2", "Grant": "2"}),
    _without("stop-serving"),
    _without("ack-names-probe"),
    Case("without clock-again", "Majority", "NoStaleAllow", {"Without": '{"clock-again"}'}, count=True),
    _without("quorum"),
    _without("lineage-kept", "Byzantine", "NoFork"),
    Case("one liar too many", "Byzantine", "NoFork", {"Liars": "{n3, n4}"}),
)


def _clocks(name: str, expected: str = HOLDS, invariant: str = "", **changes: str) -> Case:
    return Case(name, "Clocks", expected, changes, invariant, "Clocks")


CLOCKS = (
    _clocks("Clocks"),
    _clocks("honest clocks", Liars="{}"),
    _clocks("somebody serves by a clock", "NobodyServes", "NobodyServes"),
    _clocks("without clock-at-ack", "NoLoneClock", Without='{"clock-at-ack"}'),
    _clocks("without clock-at-receipt", "NoLoneClock", Without='{"clock-at-receipt"}'),
    _clocks("without private-probe", "NoLoneClock", Without='{"private-probe"}'),
)
CASES = FULL + LIVELY + WEAKENED + CLOCKS
LONG = (Case("Long", "Long"),)


def _verdict(outcome: tlc.Outcome) -> str:
    if outcome.violated is not None:
        return outcome.violated
    return HOLDS if outcome.finished else "not finished"


def _run(case: Case, workers: int, limit_s: int) -> tuple[str, tlc.Outcome]:
    config = tlc.configuration(case.base, case.changes)
    if case.invariant:
        config += f"  {case.invariant}\n"
    outcome = tlc.run(case.module, config, workers=workers, limit_s=limit_s, count=case.count)
    return _verdict(outcome), outcome


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the table.

    Returns:
        0 if every run ended as it must, 1 if one did not, 2 if the tools are not there.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", help="only the cases whose name contains one of these")
    parser.add_argument("--long", action="store_true", help="the large configuration instead, for tens of minutes")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--limit", type=int, default=170, metavar="SECONDS", help="for each run")
    options = parser.parse_args(arguments)
    chosen = [
        case
        for case in (LONG if options.long else CASES)
        if not options.names or any(name in case.name for name in options.names)
    ]
    if not chosen:
        print("no case has such a name", file=sys.stderr)
        return 2
    failed = 0
    taken: dict[str, int] = {}
    print(f"{'case':32} {'must':22} {'found':22} {'steps':>5} {'depth':>5} {'generated':>10} {'distinct':>9} {'s':>6}")
    for case in chosen:
        try:
            found, outcome = _run(case, options.workers, options.limit)
        except tlc.ToolMissingError as error:
            print(f"the model cannot be checked: {error}", file=sys.stderr)
            return 2
        for action, number in outcome.taken.items():
            taken[action] = taken.get(action, 0) + number
        steps = str(outcome.steps or "")
        numbers = f"{steps:>5} {outcome.depth:>5} {outcome.generated:>10} {outcome.distinct:>9} {outcome.seconds:>6.1f}"
        wrong = "" if found == case.expected else "  <- WRONG"
        print(f"{case.name:32} {case.expected:22} {found:22} {numbers}{wrong}", flush=True)
        if wrong:
            failed += 1
            print(outcome.text[-4000:], file=sys.stderr)
    print(f"{len(chosen) - failed} of {len(chosen)} as they must be")
    lively = chosen != list(CASES) or _is_lively(taken)
    return 0 if lively and not failed else 1


def _is_lively(taken: dict[str, int]) -> bool:
    """Whether each action was counted at least once; says so."""
    idle = sorted(action for action, number in taken.items() if number == 0)
    print(
        "never taken: " + (", ".join(idle) or "anything")
        if idle or not taken
        else f"all {len(taken)} actions are taken"
    )
    return bool(taken) and not idle


if __name__ == "__main__":
    sys.exit(main())
