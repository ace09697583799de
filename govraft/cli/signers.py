"""Who must sign a command, as far as this side knows: asked of a node, or read from the genesis without one.

Nothing rests on it but convenience. The cluster counts signatures for itself; a wrong answer only makes a command be
refused there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from govraft.cli.nodes import choose_client, field_of
from govraft.cli.settings import Settings
from govraft.core.model.authority import Authority
from govraft.core.model.commands import Command, Signer, command_signer, encode_command, payload_type
from govraft.core.model.genesis import Genesis
from govraft.errors import GovraftError

__all__ = ["KnownAuthority", "Signers", "find_signers", "known_authorities", "read_authorities"]

_NAMED = ("author", "voter", "delegate")
"""Fields that name the one authority which signs."""


class KnownAuthority(NamedTuple):
    """An authority and its key."""

    id: str
    public_key: bytes


class Signers(NamedTuple):
    """Whose signatures a command takes.

    Attributes:
        needed: How many of `holders`.
        holders: Ids of authorities.
        alone: An authority whose signature suffices by itself.
        what: The role or the authority, for people.
    """

    needed: int
    holders: tuple[str, ...]
    alone: str | None
    what: str


def known_authorities(settings: Settings, genesis: Genesis) -> dict[str, KnownAuthority]:
    """The authorities by id: as a node lists them; those of the genesis if none answers."""
    try:
        found = [_known(item) for item in read_authorities(settings)[0]]
    except (GovraftError, ValueError):
        found = [KnownAuthority(item.id, item.public_key) for item in genesis.authorities]
    return {item.id: item for item in found}


def find_signers(settings: Settings, genesis: Genesis, command: Command) -> Signers:
    """Whose signatures a command takes, as a node says; by the roles in the genesis if none knows."""
    try:
        with choose_client(settings) as client:
            answer = client.read("signers", kind=payload_type(command), payload=encode_command(command))
        if isinstance(answer, Mapping) and "refused" not in answer:
            alone = answer.get("alone")
            return Signers(
                field_of(answer, "needed", int),
                tuple(field_of(answer, "holders", list)),
                alone if isinstance(alone, str) else None,
                field_of(answer, "what", str),
            )
    except GovraftError:
        # Offline, or a node that cannot say: what the genesis says is the best guess left.
        pass
    return _of_genesis(genesis, command)


def _of_genesis(genesis: Genesis, command: Command) -> Signers:
    signer = command_signer(command)
    if isinstance(signer, Signer):
        named = next((name for field in _NAMED if isinstance(name := getattr(command, field, None), str)), None)
        everyone = tuple(item.id for item in genesis.authorities)
        return Signers(1, everyone if named is None else (named,), named, f"`{named or signer.value}`")
    holders: tuple[Authority, ...] = tuple(item for item in genesis.authorities if signer in item.roles)
    needed = genesis.thresholds.get(signer.value, 1)
    return Signers(needed, tuple(item.id for item in holders), None, f"`{signer.value}`")


def read_authorities(settings: Settings) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """All authorities, as a node lists them, and how many of a role it takes. Raises `GovraftError`."""
    found: list[dict[str, Any]] = []
    thresholds: dict[str, int] = {}
    after: str | None = ""
    with choose_client(settings) as client:
        while after is not None:
            page: Any = client.read("authorities", after=after)
            found += field_of(page, "authorities", list)
            thresholds = field_of(page, "thresholds", dict)
            following = page.get("next")
            # A page that leads nowhere new would be asked for without end.
            after = following if isinstance(following, str) and following > after else None
    return found, thresholds


def _known(item: dict[str, Any]) -> KnownAuthority:
    return KnownAuthority(field_of(item, "id", str), bytes.fromhex(field_of(item, "public_key", str)))
