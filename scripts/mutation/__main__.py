"""`scripts/mutants`: does a test notice when a guarantee of the product is taken away?

Each mutant is the product with one fault, in a temporary copy. First its killers run without the fault and must pass.
Then they run with it, and one must fail; so must one of its seeds, in a simulated cluster, if it has any.

Exit 0 only if every mutant is killed; 1 if one survives or a run went wrong; 2 if the table does not fit the product.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from catalogue import MUTANTS
from mutant import Mutant, MutantError, mutated
from runner import Outcome, copied, run_clean, run_mutant

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    options = _options()
    try:
        chosen = _chosen(options.only)
        _require_fit(chosen)
        if options.list:
            for item in chosen:
                print(f"{item.name:44} {item.file:44} {item.breaks}")
            return 0
        began = time.monotonic()
        with copied(ROOT) as pristine, concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            outcomes = _run(chosen, pristine, pool)
    except MutantError as error:
        print(f"mutants: {error}", file=sys.stderr)
        return 2
    _print(outcomes, time.monotonic() - began)
    if options.json is not None:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(outcomes)) + b"\n")
    return 0 if outcomes and all(item.verdict == "killed" for item in outcomes) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/mutants", description=__doc__.split("\n")[0])
    parser.add_argument("--only", action="append", metavar="NAME", help="only this mutant; may be given again")
    parser.add_argument("--list", action="store_true", help="show the mutants and run nothing")
    parser.add_argument("--jobs", type=int, default=2, choices=range(1, 17), metavar="N", help="at once, 1 to 16")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the outcomes there as well")
    return parser.parse_args()


def _chosen(names: Sequence[str] | None) -> list[Mutant]:
    if not names:
        return list(MUTANTS)
    known = {item.name: item for item in MUTANTS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise MutantError(f"there is no mutant `{unknown[0]}`; see --list")
    return [known[name] for name in dict.fromkeys(names)]


def _require_fit(chosen: list[Mutant]) -> None:
    """The product moves on; a mutant that can no longer be planted must be looked at, not skipped."""
    problems = []
    for item in chosen:
        try:
            mutated(item, ROOT)
        except MutantError as error:
            problems.append(str(error))
    if problems:
        raise MutantError("\n".join(problems))


def _run(chosen: list[Mutant], pristine: Path, pool: concurrent.futures.Executor) -> list[Outcome]:
    _require_clean(chosen, pristine, pool)
    futures = [pool.submit(run_mutant, item, pristine) for item in chosen]
    try:
        for number, future in enumerate(concurrent.futures.as_completed(futures), 1):
            outcome = future.result()
            print(f"[{number}/{len(futures)}] {outcome.mutant}: {outcome.verdict}", file=sys.stderr, flush=True)
        return [future.result() for future in futures]
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise


def _require_clean(chosen: list[Mutant], pristine: Path, pool: concurrent.futures.Executor) -> None:
    """A killer that fails without the fault would kill everything."""
    files: dict[str, None] = dict.fromkeys(killer for item in chosen for killer in item.killers)
    wanted = [killer for killer in files if not any(_contains(other, killer) for other in files if other != killer)]
    halves = [half for half in (wanted[::2], wanted[1::2]) if half]
    seeds = sorted({item.seeds for item in chosen if item.seeds is not None})
    jobs = [pool.submit(run_clean, half, seeds[place :: len(halves)], pristine) for place, half in enumerate(halves)]
    for outcome in (job.result() for job in jobs):
        if outcome.verdict != "survived":
            what = f"{outcome.test}: {outcome.message}" if outcome.test else outcome.message
            raise MutantError(f"a killer fails without any fault: {what}")
        print(f"killers pass without a fault ({outcome.seconds:.0f} s)", file=sys.stderr, flush=True)


def _contains(whole: str, part: str) -> bool:
    return part.startswith((whole + "/", whole + "::"))


def _print(outcomes: list[Outcome], seconds: float) -> None:
    for item in outcomes:
        print(f"{item.mutant}\n    breaks     {item.breaks}")
        if item.verdict == "killed":
            print(f"    killed by  {item.test}\n               {item.message}")
            if item.simulated:
                print(f"           and {item.simulated}")
        else:
            print(f"    {item.verdict.upper()}  {item.message}")
    killed = sum(item.verdict == "killed" for item in outcomes)
    print(f"{killed} of {len(outcomes)} mutants killed in {seconds:.0f} s")
    for item in outcomes:
        if item.verdict != "killed":
            print(f"{item.verdict}: {item.mutant} {item.message}")


if __name__ == "__main__":
    sys.exit(main())
