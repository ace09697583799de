"""`scripts/fuzz`: try hostile inputs on every decoder of outside bytes.

Guided by coverage (atheris). An input that breaks a property is kept, and the command that replays it is printed.
"""

from __future__ import annotations

import signal
import sys
import time
import traceback
from pathlib import Path

import click

from fuzzing import campaign

_ROOT = Path(__file__).resolve().parents[2]
COMMITTED = _ROOT / "tests" / "fuzz_corpus"
_PROGRESS_S = 5.0


def main() -> None:
    """Fuzz here when asked to by the parent, before anything of govraft is imported; otherwise read the options."""
    # So that the child is ended, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if sys.argv[1:2] == ["--child"]:
        campaign.fuzz_here(sys.argv[2], sys.argv[4:])
    else:
        command()


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--list", "listing", is_flag=True, help="Name the targets and stop.")
@click.option("--target", "names", multiple=True, metavar="NAME", help="What to fuzz; repeatable.")
@click.option("--all", "everything", is_flag=True, help="Fuzz every target, one after the other.")
@click.option("--seconds", type=click.IntRange(1, 86_400), default=60, show_default=True, help="For each target.")
@click.option(
    "--seed", type=click.IntRange(1, 2**31 - 1), default=1, show_default=True, help="Of the fuzzer's choices."
)
@click.option(
    "--replay", type=click.Path(exists=True, path_type=Path), help="Run one input, or a directory of them, on --target."
)
@click.option("--coverage", "measuring", is_flag=True, help="Show which lines the kept corpus of --target reaches.")
@click.option(
    "--published",
    type=click.Path(exists=True, path_type=Path),
    metavar="DIR",
    help="Check clones of published vectors.",
)
@click.option("--work", type=click.Path(path_type=Path), help="Where corpus and findings are kept; default build/fuzz.")
def command(
    *,
    listing: bool,
    names: tuple[str, ...],
    everything: bool,
    seconds: int,
    seed: int,
    replay: Path | None,
    measuring: bool,
    published: Path | None,
    work: Path | None,
) -> None:
    """Fuzz the decoders of govraft. Exit 1: an input broke a property; it is kept, and its replay is printed."""
    directory = work or _ROOT / "build" / "fuzz"
    if measuring:
        # Before the catalogue is imported: the lines of its import count, too.
        _measure(_one(names), directory)
        return
    if published is not None:
        _check_published(published)
        return
    from fuzzing.catalogue import TARGETS, find

    if listing:
        for target in TARGETS.values():
            click.echo(f"{target.name:20} {target.about}")
        return
    chosen = list(TARGETS) if everything else list(names)
    unknown = [name for name in chosen if find(name) is None]
    if unknown or not chosen:
        raise click.UsageError(
            f"no target `{unknown[0]}`, see --list" if unknown else "give --target NAME, --all or --list"
        )
    if replay is not None:
        _replay(_one(names), replay)
        return
    if not _has_atheris():
        raise click.ClickException("atheris is missing: pip install 'govraft[fuzz]' (Linux, Python 3.11 to 3.13)")
    directory.mkdir(parents=True, exist_ok=True)
    outcomes = [_fuzz(name, seconds=seconds, seed=seed, directory=directory) for name in chosen]
    click.echo(f"{sum(item.executions for item in outcomes)} executions, {len(outcomes)} targets")
    if any(item.failed for item in outcomes):
        sys.exit(1)


def _one(names: tuple[str, ...]) -> str:
    if len(names) != 1:
        raise click.UsageError("give exactly one --target")
    return names[0]


def _has_atheris() -> bool:
    try:
        import atheris  # type: ignore[import-not-found]  # noqa: F401
    except ImportError:
        return False
    return True


def _fuzz(name: str, *, seconds: int, seed: int, directory: Path) -> campaign.Outcome:
    from fuzzing.catalogue import find

    target = find(name)
    if target is None:
        raise click.UsageError(f"no target `{name}`")
    last = time.monotonic()

    def progress(outcome: campaign.Outcome) -> None:
        nonlocal last
        if time.monotonic() - last >= _PROGRESS_S:
            last = time.monotonic()
            click.echo(
                f"  {name}: {outcome.executions} executions, {outcome.edges} edges, corpus {outcome.corpus}", err=True
            )

    outcome = campaign.run(
        target, seconds=seconds, directory=directory, committed=COMMITTED, seed=seed, progress=progress
    )
    verdict = "FOUND" if outcome.failed else "ok"
    click.echo(
        f"{name:20} {outcome.executions:>10} executions  {outcome.edges:>5} edges  corpus {outcome.corpus:>5} {verdict}"
    )
    if outcome.failed:
        click.echo("\n".join(f"    {line}" for line in outcome.trace))
        if outcome.finding is not None:
            click.echo(f"    replay: scripts/fuzz --target {name} --replay {outcome.finding}")
            click.echo(f"    once it is fixed, keep it: cp {outcome.finding} {COMMITTED.relative_to(_ROOT)}/{name}/")
    return outcome


def _replay(name: str, path: Path) -> None:
    from fuzzing.catalogue import find
    from fuzzing.target import execute

    target = find(name)
    if target is None:
        raise click.UsageError(f"no target `{name}`")
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    broken = 0
    for file in files:
        try:
            said = "accepted" if execute(target, file.read_bytes()) else "refused"
        except Exception:  # noqa: BLE001 - whatever escapes is what is looked for
            said = "FOUND"
            broken += 1
            traceback.print_exc()
        if len(files) == 1 or said == "FOUND":
            click.echo(f"{file}: {said}")
    click.echo(f"{len(files)} inputs, {broken} findings")
    if broken:
        sys.exit(1)


def _check_published(directory: Path) -> None:
    from fuzzing import published

    found = list(published.check(directory))
    for name, count, wrong in found:
        click.echo(f"{name:20} {count:>6} vectors  {len(wrong)} disagree")
        for vector in wrong:
            click.echo(f"    {vector}")
    if not found:
        raise click.UsageError(f"`{directory}` holds no clone of published vectors")
    if any(wrong for _, _, wrong in found):
        sys.exit(1)


def _measure(name: str, directory: Path) -> None:
    from fuzzing import reach

    corpus = directory / "corpus" / name
    if not corpus.is_dir():
        raise click.UsageError(f"no corpus of `{name}` in `{directory}`: fuzz it first")
    for reached in reach.measure(name, sorted(corpus.iterdir())):
        missing = ", ".join(map(str, reached.missing)) or "none"
        click.echo(f"{name:20} {reached.module:45} {reached.percent:5.1f} %  lines missed: {missing}")


if __name__ == "__main__":
    main()
