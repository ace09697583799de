"""What was asked for besides the command itself: where, as whom, in which form. And the options that say so.

Every option may stand before or after the command's name; after it wins. What is not given comes from the
environment, and `--cluster` on the command line comes before `GOVRAFT_ENDPOINT` from the environment.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from govraft.api.wire import WAITS, Wait
from govraft.cli.cluster_index import ClusterIndex
from govraft.cli.output import FORMATS
from govraft.client.endpoint import DEFAULT_ENDPOINT, ENDPOINT_VARIABLE
from govraft.core.model.limits import COMMAND_VALIDITY_MS
from govraft.errors import InputError

__all__ = [
    "CLUSTER_VARIABLE",
    "CliCommand",
    "CliGroup",
    "Settings",
    "SigningCommand",
    "Target",
    "ask_first",
    "common_options",
    "signing_options",
    "yes_option",
]

CLUSTER_VARIABLE = "GOVRAFT_CLUSTER"

_TIMEOUT_S = 30.0
_VALID_MINUTES = 10
_VALID_MINUTES_MAX = COMMAND_VALIDITY_MS // 60_000


@dataclass(frozen=True, slots=True)
class Target:
    """A node to ask: its name for people, and its endpoint."""

    name: str
    endpoint: str


@dataclass(slots=True)
class Settings:
    """Collected while the command line is read.

    Attributes:
        endpoints: `unix://…`, or, with a cluster directory, ids of its nodes.
        cluster: Directory made by `govraft init`.
        output: One of `output.FORMATS`.
        keys: `URI`, `ID=URI`, or, with a cluster directory, `ID`.
        wait: One of `WAITS`.
        at_least: The lowest seq by which a refusal is taken.
        dry_run: Sign and print, submit nothing.
        timeout_s: For one read, or for one command to take effect.
        command_id: Chosen by the caller; None for a random one.
        valid_minutes: From now until `not_after`.
        receipt: Where to keep the receipt.
        submitted: What was handed to a node that may change the state. Copies of these settings share it.
    """

    endpoints: tuple[str, ...] = ()
    cluster: Path | None = None
    output: str = "table"
    keys: tuple[str, ...] = ()
    wait: Wait = "effective"
    at_least: int = 0
    dry_run: bool = False
    timeout_s: float = _TIMEOUT_S
    command_id: str | None = None
    valid_minutes: int = _VALID_MINUTES
    submitted: list[bytes] = field(default_factory=list)
    receipt: Path | None = None
    _index: ClusterIndex | None = field(default=None, repr=False)

    def cluster_index(self) -> ClusterIndex | None:
        """What the cluster directory lists; None when none was given.

        Raises:
            ConfigError: It is not such a directory.
        """
        path = self.cluster or (Path(text) if (text := os.environ.get(CLUSTER_VARIABLE)) else None)
        if self._index is None and path is not None:
            self._index = ClusterIndex(path)
        return self._index

    def targets(self) -> list[Target]:
        """The nodes to ask, in order; at least one.

        Raises:
            InputError: An endpoint that names no node.
            ConfigError: The cluster directory cannot be used, or lists no nodes.
        """
        if self.endpoints:
            return [self._target(text) for text in self.endpoints]
        variable = os.environ.get(ENDPOINT_VARIABLE, "").split()
        if variable and self.cluster is None:
            return [self._target(text) for text in variable]
        index = self.cluster_index()
        if index is not None and index.nodes:
            return [Target(node.id, f"unix://{node.socket}") for node in index.nodes]
        return [self._target(DEFAULT_ENDPOINT)]

    def _target(self, text: str) -> Target:
        if "://" in text:
            return Target(text, text)
        index = self.cluster_index()
        socket = None if index is None else index.socket_of(text)
        if socket is None:
            raise InputError(
                f"endpoint `{text}` names no node: use `unix:///path/to.sock`, or a node id and `--cluster`"
            )
        return Target(text, f"unix://{socket}")


def _keep(name: str) -> Callable[[click.Context, click.Parameter, Any], Any]:
    def keep(context: click.Context, _parameter: click.Parameter, value: Any) -> Any:
        if value is not None and value != ():
            setattr(context.ensure_object(Settings), name, value)
        return value

    return keep


def _option(*names: str, keep: str, **attributes: Any) -> click.Option:
    return click.Option(names, expose_value=False, callback=_keep(keep), **attributes)


def common_options() -> list[click.Parameter]:
    """The options that every command takes."""
    return [
        _option(
            "--endpoint", keep="endpoints", multiple=True, metavar="URL", help="Node to ask; env GOVRAFT_ENDPOINT."
        ),
        _option(
            "--cluster",
            keep="cluster",
            type=click.Path(path_type=Path, file_okay=False),
            metavar="DIR",
            help="Cluster made by `govraft init`; env GOVRAFT_CLUSTER.",
        ),
        _option("-o", "--output", keep="output", type=click.Choice(FORMATS), help="Form of the output."),
        _option(
            "--timeout", keep="timeout_s", type=click.FloatRange(0.05, 600.0), metavar="S", help="Seconds to wait."
        ),
    ]


def signing_options(*, hidden: bool = False) -> list[click.Parameter]:
    """The options that every signing command takes; hidden where they are taken but would only distract."""
    options = [
        _option("--key", keep="keys", multiple=True, metavar="[ID=]URI", help="Key to sign with, such as file2:PATH."),
        _option("--wait", keep="wait", type=click.Choice(WAITS), help="Until when to wait; default effective."),
        _option(
            "--at-least",
            keep="at_least",
            type=click.IntRange(0, (1 << 63) - 1),
            metavar="SEQ",
            help="Take a refusal only by this seq or a later one.",
        ),
        _option(
            "--dry-run", keep="dry_run", is_flag=True, default=None, help="Print the signed envelopes, submit none."
        ),
        _option("--command-id", keep="command_id", metavar="ID", help="Id of the command; default random."),
        _option(
            "--valid",
            keep="valid_minutes",
            type=click.IntRange(1, _VALID_MINUTES_MAX),
            metavar="MIN",
            help=f"Minutes until the command is void; default {_VALID_MINUTES}.",
        ),
        _option(
            "--receipt",
            keep="receipt",
            type=click.Path(path_type=Path, dir_okay=False),
            metavar="FILE",
            help="Keep the receipt for `govraft verify`.",
        ),
    ]
    for option in options:
        option.hidden = hidden
    return [*options]


yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


def ask_first(settings: Settings, question: str) -> None:
    """Ask before something is signed that nothing undoes, if there is a terminal. Aborts unless the answer is yes."""
    if not settings.dry_run and sys.stdin is not None and sys.stdin.isatty():
        click.confirm(question, abort=True, err=True)


class CliCommand(click.Command):
    """A command with the common options."""

    def __init__(self, *arguments: Any, **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self.params.extend(common_options())


class SigningCommand(CliCommand):
    """A command that signs."""

    def __init__(self, *arguments: Any, **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self.params.extend(signing_options())


class CliGroup(click.Group):
    """A noun with its verbs."""

    command_class = CliCommand
