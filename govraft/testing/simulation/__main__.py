"""The command `scripts/sim`: runs seeds, and says what they broke."""

from __future__ import annotations

import argparse
import concurrent.futures
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from govraft.errors import DecodeError, GovraftError
from govraft.testing.simulation.catalogue import FAULTS, PROFILES
from govraft.testing.simulation.histories import HASH_SEEDS, STEPS, compare
from govraft.testing.simulation.minimise import keep_faults, minimise, replay_command
from govraft.testing.simulation.plan import Plan, draw_plan
from govraft.testing.simulation.report import Sum, append_sum, read_total
from govraft.testing.simulation.run import Outcome, simulate

__all__ = ["main"]

EXIT_BROKEN = 1
SECONDS_MAX = 3_600.0
SEED_MAX = 2**53
HISTORIES_MAX = 100_000
MINIMISED_MAX = 3
REPORT_EVERY = 10


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0 if nothing was broken, 1 if something was. Bad usage exits with 2.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.histories is not None:
        return _compare_histories(parser, options.histories)
    if options.total is not None:
        return _show_total(parser, options.total)
    seeds = _seeds(parser, options)
    if len(seeds) > 1 and (options.trace or options.only_faults is not None or options.until is not None):
        parser.error("--trace, --only-faults and --until are for one seed; give --seed N")
    plans = (_plan(parser, options, seed) for seed in seeds)
    if options.plan:
        for plan in plans:
            _show_plan(plan)
        return 0
    began = time.monotonic()
    found, piece = Sum(), Sum()
    minimised = 0
    for done, (plan, outcome) in enumerate(_run_all(plans, options), 1):
        whole = draw_plan(outcome.seed, outcome.profile, options.seconds)
        replay = replay_command(plan, whole) if outcome.findings else ""
        found.add(outcome, replay)
        piece.add(outcome, replay)
        if outcome.findings:
            _show_findings(outcome, replay)
            if minimised < MINIMISED_MAX and not options.no_minimise:
                minimised += 1
                _show_minimal(plan, whole, outcome)
        _show_progress(done, len(seeds), found, began)
        if options.report is not None and (piece.seeds == REPORT_EVERY or done == len(seeds)):
            # In pieces, so that an interrupted run counts for what it has done.
            append_sum(options.report, piece)
            piece = Sum()
    if len(seeds) == 1 and found.seeds:
        print(f"trace {outcome.trace} over {outcome.events} events")  # noqa: T201 - the command's output
    _show_sum(found)
    return EXIT_BROKEN if found.broken else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/sim",
        description="Runs whole clusters on simulated clocks, networks and disks. One seed stands for one run, always.",
        epilog="Exit code: 0 nothing was broken, 1 something was, 2 bad usage.",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--seed", type=int, help="run this one seed and print the digest of its trace")
    which.add_argument("--seeds", metavar="A-B", help="run these seeds")
    which.add_argument("--count", type=int, help="run this many seeds from 1 on (default 20)")
    which.add_argument(
        "--histories", type=int, metavar="N", help="draw N histories in three processes and compare all roots"
    )
    which.add_argument("--total", type=Path, metavar="FILE", help="only add up the report FILE")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--seconds", type=float, default=40.0, help="simulated time of each seed (default 40)")
    names = ", ".join(sorted(PROFILES))
    parser.add_argument("--profile", default="mix", help=f"mix (default: the seed chooses), or one of {names}")
    parser.add_argument("--report", type=Path, metavar="FILE", help="append what was found to FILE, every ten seeds")
    parser.add_argument("--plan", action="store_true", help="show what the seed stands for, run nothing")
    parser.add_argument("--trace", action="store_true", help="show every event")
    parser.add_argument("--only-faults", metavar="N,N", help="leave out all other faults; `none` leaves out all")
    parser.add_argument("--until", type=float, metavar="S", help="heal everything at this simulated second")
    parser.add_argument("--no-minimise", action="store_true", help="do not look for a smaller plan that fails too")
    return parser


def _seeds(parser: argparse.ArgumentParser, options: argparse.Namespace) -> range:
    if options.profile != "mix" and options.profile not in PROFILES:
        parser.error(f"--profile `{options.profile}` is unknown; choose mix, {', '.join(sorted(PROFILES))}")
    if not 1.0 <= options.seconds <= SECONDS_MAX:
        parser.error(f"--seconds `{options.seconds}` must be from 1 to {SECONDS_MAX:.0f}")
    if options.report is not None:
        # Before the work, not after it.
        try:
            options.report.open("ab").close()
        except OSError as error:
            parser.error(f"--report `{options.report}` cannot be written: {error.strerror}")
    if not 1 <= options.jobs <= 64:
        parser.error(f"--jobs `{options.jobs}` must be from 1 to 64")
    if options.seeds is not None:
        first, dash, last = options.seeds.partition("-")
        if not dash or not first.isdecimal() or not last.isdecimal() or not int(first) <= int(last) <= SEED_MAX:
            parser.error(f"--seeds `{options.seeds}` is not `A-B` with A ≤ B, for example 1-100")
        return range(int(first), int(last) + 1)
    if options.seed is not None:
        if not 0 <= options.seed <= SEED_MAX:
            parser.error(f"--seed `{options.seed}` must be a natural number")
        return range(options.seed, options.seed + 1)
    count = 20 if options.count is None else options.count
    if count < 1:
        parser.error(f"--count `{count}` must be at least 1")
    return range(1, count + 1)


def _plan(parser: argparse.ArgumentParser, options: argparse.Namespace, seed: int) -> Plan:
    plan = draw_plan(seed, options.profile, options.seconds)
    numbers: list[int] | None = None
    if options.only_faults is not None:
        words = [] if options.only_faults == "none" else options.only_faults.split(",")
        if not all(word.isdecimal() and int(word) < len(plan.faults) for word in words):
            parser.error(f"--only-faults `{options.only_faults}`: this seed has faults 0 to {len(plan.faults) - 1}")
        numbers = [int(word) for word in words]
    if options.until is not None and not 0 < options.until <= options.seconds:
        parser.error(f"--until `{options.until}` must lie within the {options.seconds:g} seconds of the seed")
    return keep_faults(plan, numbers, options.until)


def _run_all(plans: Iterator[Plan], options: argparse.Namespace) -> Iterator[tuple[Plan, Outcome]]:
    if options.jobs == 1:
        for plan in plans:
            yield plan, simulate(plan, show=options.trace)
        return
    with concurrent.futures.ProcessPoolExecutor(options.jobs) as pool:
        # A bounded number under way, so that a million seeds need no more memory than a few.
        running: dict[concurrent.futures.Future[Outcome], Plan] = {}
        for plan in plans:
            running[pool.submit(_run_silently, plan)] = plan
            if len(running) >= 2 * options.jobs:
                yield from _finished(running)
        while running:
            yield from _finished(running)


def _finished(
    running: dict[concurrent.futures.Future[Outcome], Plan],
) -> Iterator[tuple[Plan, Outcome]]:
    done, _ = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
    for future in done:
        yield running.pop(future), future.result()


def _run_silently(plan: Plan) -> Outcome:
    """In another process; the history stays there."""
    return simulate(plan, keep_history=False)


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - the command's output


def _show_progress(done: int, count: int, found: Sum, began: float) -> None:
    wall = max(time.monotonic() - began, 1e-9)
    text = (
        f"{done}/{count} seeds, {found.simulated_s / 3600:.2f} simulated hours, {found.simulated_s / wall:.0f}"
        f" simulated seconds a second, {len(found.broken)} broken"
    )
    if sys.stderr.isatty():
        print(f"\r{text}\x1b[K", end="\n" if done == count else "", file=sys.stderr, flush=True)  # noqa: T201
    elif done == count or done % 50 == 0:
        print(text, file=sys.stderr, flush=True)  # noqa: T201 - progress


def _show_findings(outcome: Outcome, replay: str) -> None:
    _say(f"seed {outcome.seed} ({outcome.profile}) broke {len(outcome.findings)} rules; again with: {replay}")
    for finding in outcome.findings[:5]:
        _say(f"  {finding.at / 1e9:10.6f} s  {finding.rule:<20} {finding.node:<4} {finding.detail}")


def _show_minimal(plan: Plan, whole: Plan, outcome: Outcome) -> None:
    minimal = minimise(plan, outcome)
    count = len(minimal.plan.faults)
    _say(f"  {count} of {len(plan.faults)} faults are enough, found in {minimal.runs} runs:")
    _say(f"  {replay_command(minimal.plan, whole)}")
    for fault in minimal.plan.faults:
        _say(f"    fault {fault.number}: {_describe(plan, fault.number)}")


def _show_plan(plan: Plan) -> None:
    _say(f"{plan.configuration}")
    for fault in plan.faults:
        _say(f"fault {fault.number}: {_describe(plan, fault.number)}")
    _say(f"{len(plan.submissions)} commands, {len(plan.questions)} questions")


def _describe(plan: Plan, number: int) -> str:
    fault = next(item for item in plan.faults if item.number == number)
    whom = ", ".join(fault.nodes) or "whoever it meets"
    return f"{fault.kind} at {fault.at_ms / 1000:g} s for {fault.for_ms / 1000:g} s, {whom}, amount {fault.amount}"


def _show_sum(found: Sum) -> None:
    _say(
        f"{found.seeds} seeds, {found.simulated_s / 3600:.2f} cluster-hours ({found.node_s / 3600:.2f} node-hours),"
        f" {found.simulated_s / max(found.real_s, 1e-9):.0f} simulated seconds a second of processor"
    )
    _say(f"source {', '.join(f'{name} ({count} seeds)' for name, count in sorted(found.sources.items()))}")
    _say(
        f"{found.checks} checks ({found.allows} allowed), {found.commands} commands ({found.effective} effective),"
        f" {found.certificates} certificates, {found.looks} looks at a node that could allow,"
        f" {found.permits} permits, {found.changes} changes of the electorate"
    )
    _say(f"faults: {', '.join(f'{name} {found.faults[name]}' for name in sorted(found.faults)) or 'none'}")
    missing = sorted(set(FAULTS) - found.faults.keys())
    if missing and found.seeds > 1:
        _say(f"never happened: {', '.join(missing)}")
    _say(f"{len(found.broken)} seeds broke a rule")
    for broken in found.broken[:50]:
        _say(f"  {broken.replay}  # {', '.join(broken.rules)}")


def _compare_histories(parser: argparse.ArgumentParser, count: int) -> int:
    if not 1 <= count <= HISTORIES_MAX:
        parser.error(f"--histories `{count}` must be from 1 to {HISTORIES_MAX}")
    try:
        differences = list(compare(range(1, count + 1)))
    except GovraftError as error:
        parser.error(str(error))
    for difference in differences:
        _say(difference)
    _say(f"{count} histories of {STEPS} entries, in {len(HASH_SEEDS)} processes: {len(differences)} differ")
    return EXIT_BROKEN if differences else 0


def _show_total(parser: argparse.ArgumentParser, path: Path) -> int:
    try:
        total = read_total(path)
    except (OSError, DecodeError) as error:
        parser.error(str(error))
    _show_sum(total)
    return EXIT_BROKEN if total.broken else 0


if __name__ == "__main__":
    sys.exit(main())
