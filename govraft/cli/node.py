"""`govraft-node`: run one node, or check its configuration."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn

import click

from govraft import __version__
from govraft.adapters.node_key import NodeIdentity
from govraft.core.model.electorate import Member
from govraft.errors import ConfigError, GovraftError, require
from govraft.node.config import NodeConfig, load_config, load_genesis

__all__ = ["EXIT_CONFIG", "EXIT_FAILED", "EXIT_UNAVAILABLE", "check_files", "main"]

EXIT_FAILED = 1
EXIT_CONFIG = 2
EXIT_UNAVAILABLE = 3

_CONFIG = click.option(
    "--config",
    "config_path",
    required=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The node's TOML file.",
)


@click.group(name="govraft-node", context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Run a node of a govraft cluster."""


@main.command()
@_CONFIG
def run(config_path: Path) -> None:
    """Run the node until SIGTERM or SIGINT.

    Exit codes: 0 stopped on request, 2 the configuration cannot be used, 3 storage or network failed.
    """
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
        config = check_files(config_path)
    except ConfigError as error:
        _stop(str(error), EXIT_CONFIG)
    except GovraftError as error:
        _stop(f"{config_path}: {error}", EXIT_CONFIG)
    else:
        click.echo(f"{config.file}: ok, node `{config.node_id}`")


@main.command()
def version() -> None:
    """Print the version."""
    click.echo(f"govraft-node {__version__}")


def check_files(path: Path) -> NodeConfig:
    """Read everything that a node reads before it opens a socket, and hold the parts against each other.

    Raises:
        ConfigError: The configuration, the genesis, the key or the certificate cannot be used.
    """
    config = load_config(path)
    genesis = load_genesis(config)
    identity = NodeIdentity.load(config.key_path, config.certificate_path, _passphrase(config))
    member = genesis.electorate().find(config.node_id)
    require(member is not None, "load_genesis let a stranger through")
    _check_pinned(config, identity, member)
    return config


def _check_pinned(config: NodeConfig, identity: NodeIdentity, member: Member | None) -> None:
    # The other members compare both; a node with another pair would be up and never be heard.
    if member is None or identity.public_key != member.public_key or identity.certificate != member.certificate:
        message = f"`{config.certificate_path}` is not the certificate that genesis pins for `{config.node_id}`"
        raise ConfigError(message, file=str(config.file), key="node.certificate")


def _passphrase(config: NodeConfig) -> bytes | None:
    if config.key_passphrase_path is None:
        return None
    try:
        return config.key_passphrase_path.read_bytes().rstrip(b"\r\n")
    except OSError as error:
        message = f"`{config.key_passphrase_path}`: {error.strerror}"
        raise ConfigError(message, file=str(config.file), key="node.key_passphrase_file") from error


def _stop(message: str, code: int) -> NoReturn:
    click.echo(f"govraft-node: {message}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
