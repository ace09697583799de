"""`govraft-node`: run one node, or check its configuration."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from govraft import __version__
from govraft.cli.output import plain
from govraft.cli.standard_streams import open_closed_descriptors, unless_unwritable
from govraft.errors import ConfigError, GovraftError, InputError
from govraft.startup import load_node_files

__all__ = ["EXIT_CONFIG", "EXIT_FAILED", "EXIT_UNAVAILABLE", "main"]

EXIT_FAILED = 1
EXIT_CONFIG = 2
EXIT_UNAVAILABLE = 3
_STDOUT, _STDERR = 1, 2

_CONFIG = click.option(
    "--config",
    "config_path",
    required=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The node's TOML file.",
)
_FILE = click.Path(path_type=Path, dir_okay=False)


class _Program(click.Group):
    """Begins with standard streams that are open; a stream that takes no more changes no exit code."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run the program."""
        open_closed_descriptors()
        try:
            return super().main(*args, **options)
        except OSError as error:
            with unless_unwritable(_STDOUT):
                if sys.stdout is not None:
                    sys.stdout.flush()
            _stop(f"{error.strerror or error}", EXIT_UNAVAILABLE)


@click.group(name="govraft-node", cls=_Program, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Run a node of a govraft cluster."""


@main.command()
@_CONFIG
def run(config_path: Path) -> None:
    """Run the node until SIGTERM or SIGINT.

    Exit codes: 0 stopped on request, 2 the configuration cannot be used, 3 storage or network failed.
    """
    # A terminal that goes away and a rotation of logs end no node, not even one that begins.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # Imported here: checking a configuration needs neither the engine nor the policy library.
    from govraft import daemon

    try:
        code = daemon.run(config_path)
    except ConfigError as error:
        _stop(str(error), EXIT_CONFIG)
    except GovraftError as error:
        _stop(str(error), EXIT_UNAVAILABLE)
    except OSError as error:
        _stop(f"{error.strerror or error}", EXIT_UNAVAILABLE)
    else:
        sys.exit(code)


@main.command("check-config")
@click.argument("config_path", metavar="FILE", type=click.Path(path_type=Path))
def check_config(config_path: Path) -> None:
    """Check a configuration, its genesis and its key, without starting anything.

    Exit codes: 0 usable, 2 not usable; the message names the file, the key and the reason.
    """
    try:
        config = load_node_files(config_path, to_run=True).config
    except ConfigError as error:
        _stop(str(error), EXIT_CONFIG)
    except GovraftError as error:
        _stop(f"{config_path}: {error}", EXIT_CONFIG)
    else:
        _say(f"{config.file}: ok, node `{config.node_id}`")


@main.command("check-store")
@_CONFIG
@click.option(
    "--scratch",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Where there is room for a copy of the store.  [default: the system's temporary directory]",
)
def check_store(config_path: Path, scratch: Path | None) -> None:
    """Examine the store of a stopped node: what is intact, what is damaged, and the way back.

    Changes nothing: works on a copy, which it removes again.

    Exit codes: 0 the node would start, 2 configuration, genesis or key cannot be used, 3 it would not start or it runs.
    """
    from govraft.cli.node_store import examine

    try:
        found = examine(config_path, scratch)
    except GovraftError as error:
        _stop(str(error), EXIT_UNAVAILABLE)
    for part, condition, detail in found.findings:
        _say(f"{part:<14}{condition.value:<9} {plain(detail)}".rstrip())
    if found.is_whole:
        return
    _say("\nThe way back:")
    for line in found.way_back:
        _say(f"  {line}")
    sys.exit(EXIT_CONFIG if found.findings[0].condition != "intact" else EXIT_UNAVAILABLE)


@main.command("create-store")
@_CONFIG
@click.option(
    "--from", "export", metavar="EXPORT", type=_FILE, help="A lineage export, for a node that was added later."
)
@click.option(
    "--from-node",
    "donor",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="A copy of another node's data directory, for a node that was added later.",
)
def create_store(config_path: Path, export: Path | None, donor: Path | None) -> None:
    """Make the empty store of a node that has never run. `govraft init` does this for the nodes it makes.

    A node that was added to a running cluster learns from EXPORT, of `govraft lineage export`, who the members are by
    now; it must be made after the node was added. All else it gets from them.

    With DIR in place of EXPORT it also takes over all that is certified there, and need not replay it: DIR is the data
    directory of a stopped node, or a copy of `node.db.snapshot` and then of `node.db` (by SQLite's `.backup`). Nothing
    in it is believed that does not prove itself from the genesis on.

    The store is late: the node acks, votes and allows nothing until other voters have told it what they acked, and
    it stops for good when it is shown a signature of its own key that the store does not know. So a store that was lost
    does not come back this way: put a new node in its place, with `govraft member replace`. It refuses where a store
    is, or traces of one, and for the only voter, as nobody could tell.

    Exit codes: 0 made, 2 configuration, genesis or key cannot be used, 3 there is one, or the disk failed.
    """
    from govraft.cli.node_store import create

    try:
        database = create(config_path, export, donor)
    except (ConfigError, InputError) as error:
        _stop(str(error), EXIT_CONFIG)
    except GovraftError as error:
        _stop(str(error), EXIT_UNAVAILABLE)
    else:
        _say(f"{database}: made")


@main.command("learn-epochs")
@_CONFIG
@click.option("--from", "export", required=True, metavar="EXPORT", type=_FILE, help="A lineage export.")
def learn_epochs(config_path: Path, export: Path) -> None:
    """Tell the store of a stopped node who the members are by now.

    For a node that has been away for so long that it knows none of them, or whose own key was changed meanwhile. EXPORT
    is of `govraft lineage export`, and is verified from the genesis on. Nothing is forgotten or replaced.

    Exit codes: 0 done, 2 configuration, key or export cannot be used, 3 the node runs, or its store cannot be used.
    """
    from govraft.cli import node_store

    try:
        count = node_store.learn_epochs(config_path, export)
    except (ConfigError, InputError) as error:
        _stop(str(error), EXIT_CONFIG)
    except GovraftError as error:
        _stop(str(error), EXIT_UNAVAILABLE)
    else:
        _say(f"{config_path}: {count} changes of the members learnt")


@main.command()
def version() -> None:
    """Print the version."""
    _say(f"govraft-node {__version__}")


def _say(text: str) -> None:
    with unless_unwritable(_STDOUT):
        click.echo(text)


def _stop(message: str, code: int) -> NoReturn:
    with unless_unwritable(_STDERR):
        click.echo(f"govraft-node: {message}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
