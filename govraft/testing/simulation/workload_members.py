"""Members of a machine alone: they come, are promoted, change their keys, are convicted, and go.

In a simulated cluster somebody must also run the nodes: there `registrar.py` uses these commands.
"""

from __future__ import annotations

import base64
import random

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from govraft.core.convergence.messages import NONCE_BYTES, Ack, Kind, sign
from govraft.core.model.authority import Role
from govraft.core.model.commands import (
    MemberAdd,
    MemberEvict,
    MemberFields,
    MemberPromote,
    MemberRemove,
    MemberRotate,
)
from govraft.testing.sample import node_certificate
from govraft.testing.simulation.workload import (
    NODE_KEY_GENERATIONS,
    Drawn,
    Stage,
    by_holders,
    node_key,
    node_key_of,
    signed_by,
)

__all__ = ["add", "draw_members", "evict", "promote", "remove", "rotate"]

_NAMES = tuple(f"n{number}" for number in range(1, 14))
_MISTAKES = 0.15


def add(stage: Stage, node: str, generation: int) -> Drawn | None:
    """Add a node under one of its keys, as an observer."""
    key = node_key(node, generation)
    return by_holders(stage, MemberAdd(**stage.header(), member=_fields(node, key)), Role.ROOT, key)


def promote(stage: Stage, node: str) -> Drawn | None:
    """Make an observer a voter."""
    return by_holders(stage, MemberPromote(**stage.header(), id=node), Role.ROOT)


def remove(stage: Stage, node: str) -> Drawn | None:
    """Remove a node."""
    return by_holders(stage, MemberRemove(**stage.header(), id=node, reason="simulated"), Role.ROOT)


def rotate(stage: Stage, node: str, generation: int) -> Drawn | None:
    """Give a node another one of its keys."""
    key = node_key(node, generation)
    return by_holders(stage, MemberRotate(**stage.header(), member=_fields(node, key)), Role.ROOT, key)


def evict(stage: Stage, node: str, *, is_proof: bool = True) -> Drawn | None:
    """Evict a node with two acks that it would never have signed; None for a node whose key is none of ours."""
    key = node_key_of(stage, node)
    if key is None:
        return None
    roots = (b"1" * 32, b"2" * 32 if is_proof else b"1" * 32)
    first, second = (_ack(stage, node, key, root) for root in roots)
    return signed_by(stage, MemberEvict(**stage.header(), id=node, first=first, second=second), "olga")


def draw_members(rng: random.Random, stage: Stage) -> Drawn | None:
    """A command of this family; None if none can be signed."""
    drawn = _draw(rng, stage)
    if drawn is None or rng.random() >= _MISTAKES:
        return drawn
    # Somebody forgot to sign: a root, or the new node itself.
    return Drawn(drawn.command, drawn.keys[: len(drawn.keys) - 1]) if len(drawn.keys) > 1 else drawn


def _draw(rng: random.Random, stage: Stage) -> Drawn | None:
    present = [member.id for member in stage.machine.electorate.members]
    node = rng.choice(present) if rng.random() < 0.8 else rng.choice(_NAMES)
    kind = rng.randrange(9)
    if kind < 3:
        return add(stage, rng.choice(_NAMES), rng.randrange(NODE_KEY_GENERATIONS))
    if kind < 5:
        return promote(stage, node)
    if kind == 5:
        return rotate(stage, node, rng.randrange(NODE_KEY_GENERATIONS))
    if kind == 6:
        return evict(stage, node, is_proof=rng.random() < 0.7)
    return remove(stage, node)


def _fields(node: str, key: Ed25519PrivateKey) -> MemberFields:
    number = int(node[1:])
    public_key, certificate = key.public_key().public_bytes_raw(), node_certificate(node, key)
    return MemberFields(node, _text(public_key), _text(certificate), f"127.0.0.1:{7000 + number}")


def _ack(stage: Stage, node: str, key: Ed25519PrivateKey, root: bytes) -> str:
    ack = Ack(
        probe=b"p" * 32,
        round=1,
        seq=stage.machine.seq,
        root=root,
        node=node,
        nonce=b"n" * NONCE_BYTES,
        outstanding=(),
        time_s=1,
        cosignature=b"c" * 64,
    )
    cluster = bytes.fromhex(stage.machine.cluster_id)
    return _text(sign(Kind.ACK, ack.encode(), signer=node, cluster=cluster, signing=key.sign).encode())


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
