"""`govraft`: the command line. Finds commands when they are named, and turns every failure into a line and a code."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Sequence

import click

import govraft
from govraft.cli.examples import give_examples
from govraft.cli.exit_codes import DONE, INTERRUPTED, MISUSED, PIPE_CLOSED, UNAVAILABLE, exit_code_of_error
from govraft.cli.output import note, say_error
from govraft.cli.settings import Settings, common_options, signing_options
from govraft.cli.standard_streams import open_closed_descriptors, unless_unwritable
from govraft.errors import GovraftError, InvariantViolation

__all__ = ["COMMANDS", "cli", "main", "run"]

_STDOUT, _STDERR = 1, 2

COMMANDS = {
    "authorize": "govraft.cli.permit:authorize",
    "audit": "govraft.cli.audit:audit",
    "attest": "govraft.cli.attest:attest",
    "attestation": "govraft.cli.attestation:attestation",
    "authority": "govraft.cli.authority:authority",
    "boundary": "govraft.cli.boundary:boundary",
    "check": "govraft.cli.check:check",
    "cluster": "govraft.cli.cluster:cluster",
    "completion": "govraft.cli.shell:completion",
    "conformance": "govraft.cli.conformance:conformance",
    "domain": "govraft.cli.domain:domain",
    "endpoint": "govraft.cli.status:endpoint",
    "entity": "govraft.cli.entity:entity",
    "grant": "govraft.cli.grant:grant",
    "evidence": "govraft.cli.evidence:evidence",
    "init": "govraft.cli.init:init",
    "invalidate": "govraft.cli.enforcement:invalidate",
    "isolate": "govraft.cli.enforcement:isolate",
    "lineage": "govraft.cli.lineage:lineage",
    "mark": "govraft.cli.mark:mark",
    "member": "govraft.cli.member:member",
    "permit": "govraft.cli.permit:permit",
    "policy": "govraft.cli.policy:policy",
    "proposal": "govraft.cli.proposal:proposal",
    "quarantine": "govraft.cli.enforcement:quarantine",
    "release": "govraft.cli.enforcement:release",
    "revoke": "govraft.cli.enforcement:revoke",
    "rules": "govraft.cli.rules:rules",
    "status": "govraft.cli.status:status",
    "submit": "govraft.cli.submit:submit",
    "trust": "govraft.cli.trust:trust",
    "verify": "govraft.cli.verify:verify",
    "version": "govraft.cli.shell:version",
    "watch": "govraft.cli.status:watch",
}
"""Where each command is. Imported when it is named: a check does not wait for what only signing needs."""


class _Commands(click.Group):
    """Finds its commands in `COMMANDS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, _, name = place.partition(":")
        found = getattr(importlib.import_module(module), name)
        if not isinstance(found, click.Command):
            return None
        give_examples(found, cmd_name)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.exceptions.NoSuchCommand as error:
            # click looks for what was meant among the commands that are imported.
            raise click.exceptions.NoSuchCommand(error.command_name, possibilities=COMMANDS, ctx=ctx) from None


@click.group(
    cls=_Commands,
    params=[*common_options(), *signing_options(hidden=True)],
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(govraft.__version__, prog_name="govraft", message="%(prog)s %(version)s")
def cli() -> None:
    """Ask a govraft cluster whether execution is allowed, and govern it with signed commands.

    Exit codes: 0 allowed or done, 1 denied or rejected, 2 usage or bad input, 3 unavailable.
    """


def run(arguments: Sequence[str]) -> int:
    """Run one command line.

    Returns:
        The exit code. Whatever went wrong has been said on stderr, in one line.
    """
    settings = Settings()
    try:
        result = cli.main(args=list(arguments), prog_name="govraft", standalone_mode=False, obj=settings)
        if sys.stdout is not None:  # The caller has closed it.
            sys.stdout.flush()
    except (Exception, InvariantViolation, SystemExit) as error:  # noqa: BLE001 - the last place to keep a traceback away
        with unless_unwritable(_STDOUT):
            if sys.stdout is not None:
                sys.stdout.flush()
        return _explain(error, settings)
    return result if type(result) is int else DONE


def _explain(error: BaseException, settings: Settings) -> int:
    """Say what went wrong; the exit code."""
    if isinstance(error, click.exceptions.Abort):
        return INTERRUPTED
    if isinstance(error, click.ClickException):
        with unless_unwritable(_STDERR):
            error.show()
        return MISUSED
    if isinstance(error, GovraftError):
        _report(error, settings)
        return exit_code_of_error(error)
    if isinstance(error, SystemExit | BrokenPipeError):
        # click makes a SystemExit of a closed pipe, though told not to exit; its code would read as a denial.
        return PIPE_CLOSED
    doubt = "; what was done is unknown" if settings.submitted else ""
    if isinstance(error, OSError):
        note(f"govraft: {error.strerror or error}{doubt}")
        return UNAVAILABLE
    note(f"govraft: a defect in govraft: {type(error).__name__}: {error}{doubt}")
    return UNAVAILABLE


def _report(error: GovraftError, settings: Settings) -> None:
    # What only reads leaves nothing behind, whatever became of it.
    is_definite = error.definite or not settings.submitted
    if settings.output == "json":
        say_error(json.dumps({**error.diagnostics(), "definite": is_definite}, default=str))
        return
    doubt = "" if is_definite else "; whether it took effect is unknown"
    note(f"govraft: {error} [{error.code}]{doubt}")


def main() -> None:
    """Entry point of the `govraft` program."""
    open_closed_descriptors()
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
