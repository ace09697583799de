"""`govraft version` and `govraft completion`."""

from __future__ import annotations

import platform

import click
from click.shell_completion import get_completion_class

import govraft
from govraft.cli.output import emit, write_data
from govraft.cli.settings import CliCommand, Settings
from govraft.errors import InputError

__all__ = ["completion", "version"]

_SHELLS = ("bash", "fish", "zsh")


@click.command(cls=CliCommand)
@click.pass_obj
def version(settings: Settings) -> None:
    """Print the version of this program."""
    data = {"version": govraft.__version__, "python": platform.python_version()}
    emit(settings.output, data, f"govraft {govraft.__version__}")


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    For bash: eval "$(govraft completion bash)"
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise InputError(f"no completion for `{shell}`: choose one of {', '.join(_SHELLS)}")
    root = context.find_root()
    write_data(kind(root.command, {}, "govraft", "_GOVRAFT_COMPLETE").source() + "\n")
