"""What nodes put on record: heads of decision logs, most of which only grow; permits that are used.

The keys of all nodes are known here, so a quorum signs whatever permit it takes.
"""

from __future__ import annotations

import base64
import random

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from govraft.core.codec.envelope import pae
from govraft.core.evidence.sealed import seal_statement
from govraft.core.evidence.statements import PERMIT_TYPE, PermitStatement, context_digest, request_digest
from govraft.core.lineage.tree import MerkleTree
from govraft.core.model.commands import AuditAnchor, PermitRedeem
from govraft.core.model.request import Request
from govraft.testing.simulation.workload import Drawn, Stage, node_key_of

__all__ = ["draw_anchors", "draw_permits", "permit_of"]

_LOGS = ("a" * 32, "b" * 32)
_MISTAKES = 0.15
_PERMITS = 24


def draw_anchors(rng: random.Random, stage: Stage) -> Drawn | None:
    """The head of a node's decision log."""
    node = rng.choice(stage.machine.electorate.members).id
    last = stage.machine.state.audit.anchors.by_node.get(node)
    log = rng.choice(_LOGS) if last is None or rng.random() < 0.1 else last.log
    first = last.size if last is not None and last.log == log else 0
    size = first + rng.choice((1, 1, 2, 7, 0)) or 1
    tree = _tree(node, log, size if rng.random() > _MISTAKES else size + 1)
    proof = tree.consistency_proof(first, size) if 0 < first < size else []
    command = AuditAnchor(
        **stage.header(),
        node=node,
        log=log,
        size=size,
        root=tree.root(size).hex(),
        proof=tuple(_text(item) for item in (proof if rng.random() > _MISTAKES else proof[:-1])),
    )
    return _by_node(rng, stage, command, node)


def draw_permits(rng: random.Random, stage: Stage) -> Drawn | None:
    """The use of a permit, now and then of one that was used, has run out, or was signed by too few."""
    node = rng.choice(stage.machine.electorate.members).id
    envelope = _permit(rng, stage)
    if envelope is None:
        return None
    return _by_node(rng, stage, PermitRedeem(**stage.header(), node=node, permit=_text(envelope)), node)


def permit_of(command: PermitRedeem) -> bytes:
    """The envelope of the permit that a command uses up."""
    return base64.b64decode(command.permit)


def _by_node(rng: random.Random, stage: Stage, command: AuditAnchor | PermitRedeem, node: str) -> Drawn | None:
    signer = node if rng.random() > _MISTAKES else rng.choice(stage.machine.electorate.members).id
    key = node_key_of(stage, signer)
    return None if key is None else Drawn(command, (key,))


def _permit(rng: random.Random, stage: Stage) -> bytes | None:
    machine = stage.machine
    number = rng.randrange(_PERMITS)
    request = Request(f'Agent::"w{number % 4}"', 'Action::"run"', f'Tool::"w{number % 3}"')
    # The same few permits again and again: their times go with their numbers, not with the clock.
    issued = machine.genesis.created + (machine.time - machine.genesis.created) // 8_000 * 8_000
    statement = PermitStatement.make(
        cluster=machine.cluster_id,
        epoch=max(1, machine.epoch - (rng.random() < 0.05)),
        seq=1 + number % 5,
        state_root="0" * 64,
        decision=f"decision {number}",
        principal=request.principal,
        action=request.action,
        resource=request.resource,
        context_digest=context_digest({}),
        request_digest=request_digest(request),
        policies=(),
        issued=issued,
        not_after=issued + 1_000 * (1 + number),
        single_use=number % 6 > 0,
        audience=None,
    )
    message = pae(PERMIT_TYPE, statement.encode())
    voters = machine.electorate.voters
    count = machine.electorate.quorum_count - (rng.random() < _MISTAKES)
    keys = [node_key_of(stage, voter.id) for voter in voters[: max(1, count)]]
    known: list[Ed25519PrivateKey] = [key for key in keys if key is not None]
    if not known:
        return None
    return seal_statement(
        PERMIT_TYPE, statement, {key.public_key().public_bytes_raw(): key.sign(message) for key in known}
    )


def _tree(node: str, log: str, size: int) -> MerkleTree:
    tree = MerkleTree()
    for number in range(size):
        tree.append(f"{node} {log} {number}".encode())
    return tree


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
