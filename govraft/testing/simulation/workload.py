"""What the families' workloads have in common: what they draw from, and what they draw.

A workload is a function `draw_<family>(rng, stage) -> Drawn | None`. It draws commands that fit the state as one node
sees it, and commands that do not: in a simulated cluster both kinds must come to the same end on every node. In a run,
checkers hold allows against what *clients* command; so workloads touch other subjects, and nothing that would stop
everybody, unless the stage says that nobody is watching.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from govraft.core.codec.envelope import pae, seal
from govraft.core.machine.machine import Machine
from govraft.core.model.authority import AuthorityStatus, Role
from govraft.core.model.commands import Command, encode_command, payload_type
from govraft.testing.sample import SampleCluster, seeded_key

__all__ = [
    "Draw",
    "Drawn",
    "Stage",
    "by_holders",
    "key_of",
    "node_key",
    "node_key_of",
    "seal_by",
    "signed_by",
    "spare_key",
]

KEY_GENERATIONS = 64
NODE_KEY_GENERATIONS = 16


class Stage(NamedTuple):
    """What a workload draws from.

    Attributes:
        sample: Holds everybody's keys.
        machine: As one node sees it; possibly old.
        command_id: For the command to be drawn.
        not_after: WallMs, of that command.
        is_watched: Whether only what hinders nobody may be stopped.
    """

    sample: SampleCluster
    machine: Machine
    command_id: str
    not_after: int
    is_watched: bool = True

    def header(self) -> dict[str, Any]:
        """Header fields of the command."""
        return self.sample.header(self.command_id, self.not_after)


class Drawn(NamedTuple):
    """A command, and the keys that sign it: perhaps too few, or the wrong ones."""

    command: Command
    keys: tuple[Ed25519PrivateKey, ...]

    def envelope(self) -> bytes:
        """Signed."""
        return seal_by(self.keys, payload_type(self.command), encode_command(self.command))


Draw = Callable[[random.Random, Stage], Drawn | None]
"""A workload; None if nothing can be signed."""


def seal_by(keys: Iterable[Ed25519PrivateKey], kind: str, payload: bytes) -> bytes:
    """The envelope of a payload, signed by these keys."""
    message = pae(kind, payload)
    return seal(kind, payload, [(key.public_key().public_bytes_raw(), key.sign(message)) for key in keys])


@functools.lru_cache(maxsize=4_096)
def spare_key(authority: str, generation: int) -> Ed25519PrivateKey:
    """A key that an authority may have after so many rotations; 0 is its first."""
    return seeded_key(f"authority {authority} {generation}" if generation else f"authority {authority}")


def key_of(stage: Stage, authority: str) -> Ed25519PrivateKey | None:
    """The key that an authority has now, None if there is no such authority, or its key is none of ours."""
    found = stage.machine.authorities.get(authority)
    keys = (spare_key(authority, generation) for generation in range(KEY_GENERATIONS))
    if found is None:
        return None
    return next((key for key in keys if key.public_key().public_bytes_raw() == found.public_key), None)


def signed_by(stage: Stage, command: Command, *authorities: str) -> Drawn | None:
    """A command signed by these authorities, with the keys that they have now; None if there is none of them."""
    keys = [key for name in dict.fromkeys(authorities) if (key := key_of(stage, name)) is not None]
    return Drawn(command, tuple(keys)) if keys else None


def by_holders(stage: Stage, command: Command, role: Role, *more: Ed25519PrivateKey) -> Drawn | None:
    """A command signed by all who hold a role in the root domain, and by further keys."""
    holders = sorted(
        name
        for name, item in stage.machine.authorities.items()
        if item.status is AuthorityStatus.ACTIVE and role in item.roles
    )
    keys = [*(key_of(stage, name) for name in holders), *more]
    distinct = {key.public_key().public_bytes_raw(): key for key in keys if key is not None}
    return Drawn(command, tuple(distinct.values())) if distinct else None


@functools.lru_cache(maxsize=4_096)
def node_key(node: str, generation: int) -> Ed25519PrivateKey:
    """A key that a node may have after so many replacements; 0 is its first."""
    return seeded_key(f"node {node} {generation}" if generation else f"node {node}")


def node_key_of(stage: Stage, node: str) -> Ed25519PrivateKey | None:
    """The key that a member has now, None if there is no such member, or its key is none of ours."""
    found = stage.machine.electorate.find(node)
    keys = (node_key(node, generation) for generation in range(NODE_KEY_GENERATIONS))
    if found is None:
        return None
    return next((key for key in keys if key.public_key().public_bytes_raw() == found.public_key), None)
