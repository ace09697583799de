"""Properties of the whole machine: any payload of any command, on a state that commands of all families have made."""

from __future__ import annotations

import base64
import binascii
import json
import random
from functools import cache
from typing import Any, NamedTuple

from fuzzing.target import Target, expect
from govraft.core.codec.envelope import seal
from govraft.core.crypto.keys import is_sound_key
from govraft.core.decision.evaluator import evaluate
from govraft.core.decision.policy_shelf import PolicyShelf
from govraft.core.lineage.leaf import Leaf
from govraft.core.lineage.tree import MerkleTree
from govraft.core.machine.entry import encode_entry
from govraft.core.machine.machine import Machine
from govraft.core.model.commands import COMMANDS, command_name, encode_command, payload_type
from govraft.core.model.request import Request
from govraft.core.model.units import WallMs
from govraft.testing.simulation.families import ALL_FAMILIES
from govraft.testing.simulation.histories import draw_history, sample
from govraft.testing.simulation.workload import Stage

__all__ = ["TARGETS"]

_STEPS = 200
_DRAWS = 1_500
_TRIED_MAX = 40
_NAMES = tuple(COMMANDS)
_SIGNATURE = bytes(64)


class _Base(NamedTuple):
    """A state in which something of every family is there.

    Attributes:
        machine: After a drawn history.
        records, leaves: To make it again.
        signers: Sets of public keys: all active authorities; each of them alone; each member alone.
    """

    machine: Machine
    records: dict[str, dict[str, bytes]]
    leaves: list[bytes]
    signers: list[tuple[bytes, ...]]


@cache
def _base() -> _Base:
    machine = draw_history(1, _STEPS).machine
    leaves = [machine.leaf_bytes(seq) or b"" for seq in range(1, machine.seq + 1)]
    active = [item.public_key for _, item in sorted(machine.authorities.items()) if item.is_active]
    members = [member.public_key for member in machine.electorate.members]
    alone = [(key,) for key in (*active, *members)]
    records = {name: dict(found) for name, found in machine.copy_records().items()}
    return _Base(machine, records, leaves, [tuple(active), *alone])


def _machine() -> Machine:
    """The base state once more, believing every signature."""
    base, tree = _base(), MerkleTree()
    for leaf in base.leaves:
        tree.append(leaf)
    machine = Machine.restored(
        base.machine.genesis, time=base.machine.time, records=base.records, lineage=tree, recent=base.leaves[-2:]
    )
    machine._is_valid = lambda *_: True  # type: ignore[method-assign,assignment]  # noqa: SLF001 - good signatures
    return machine


def _entry(data: bytes) -> tuple[str, bytes]:
    """The entry of a payload; the first byte chooses the command, the second who signs it."""
    name = _NAMES[data[0] % len(_NAMES)] if data else _NAMES[0]
    payload, signers = data[2:], _base().signers
    keys = dict.fromkeys(signers[(data[1] if len(data) > 1 else 0) % len(signers)])
    keys |= dict.fromkeys(_new_keys(payload))
    kind = f"application/vnd.govraft.{name}.v1+json"
    envelope = seal(kind, payload, [(key, _SIGNATURE) for key in keys])
    return name, encode_entry(WallMs(_base().machine.time + 1), envelope)


def _new_keys(payload: bytes) -> list[bytes]:
    """Keys that a payload brings in: they sign as well, as they must."""
    found: list[bytes] = []
    try:
        todo: list[Any] = [json.loads(payload)]
    except (ValueError, RecursionError):
        return found
    while todo and len(found) < 8:
        value = todo.pop()
        if isinstance(value, list):
            todo.extend(value)
        elif isinstance(value, dict):
            todo.extend(item for item in value.values() if isinstance(item, dict | list))
            try:
                key = base64.b64decode(value.get("public_key") or b"")
            except (TypeError, ValueError, binascii.Error):
                continue
            found += [key] if is_sound_key(key) else []
    return found


def _govern(data: bytes) -> bool:
    """Two machines, one entry: never raises, the same leaf; and what it leaves behind can be restored and asked."""
    _, entry = _entry(data)
    leaves = []
    for _ in range(2):
        machine = _machine()
        seq = machine.seq + 1
        applied = machine.apply(entry)
        expect(machine.seq == applied.seq == seq, "an entry must take exactly one place")
        expect(Leaf.decode(applied.leaf).seq == seq, "a leaf that says another seq")
        expect(applied.outcome.code != "internal_error", f"a defect, contained: {applied.outcome!r:.300}")
        leaves.append(applied.leaf)
    expect(leaves[0] == leaves[1], "two machines differ")
    if applied.outcome.code != "applied":
        return False
    _expect_restorable(machine, applied.leaf)
    for request in _requests():
        evaluate(machine, PolicyShelf(), request, node_id="n1", wall=machine.time)
    return True


def _expect_restorable(machine: Machine, leaf: bytes) -> None:
    """The records alone make the same state, from which the next entry comes to the same leaf."""
    tree = MerkleTree()
    for item in (*_base().leaves, leaf):
        tree.append(item)
    again = Machine.restored(
        machine.genesis, time=machine.time, records=machine.copy_records(), lineage=tree, recent=[leaf]
    )
    following = encode_entry(machine.time, b"{}")
    expect(again.apply(following).leaf == machine.apply(following).leaf, "a restored machine goes on otherwise")
    expect(again.electorate == machine.electorate, "a restored machine has other members")


@cache
def _requests() -> tuple[Request, ...]:
    uids = sorted(_base().machine.entities)
    principal, resource = (uids[0], uids[-1]) if uids else ('Agent::"a"', 'Tool::"t"')
    context = {"region": "eu", "level": 3}
    return tuple(Request(principal, 'Action::"run"', uid, context) for uid in (resource, 'Tool::"t"'))


@cache
def _payloads() -> tuple[bytes, ...]:
    """For each command one payload, that the base state takes if one was drawn that it does."""
    rng, cluster = random.Random(7), sample()  # noqa: S311 - repeatable on purpose
    good: dict[str, bytes] = {}
    other: dict[str, bytes] = {}
    tried: dict[str, int] = {}
    families = [ALL_FAMILIES[name] for name in sorted(ALL_FAMILIES)]
    for number in range(_DRAWS):
        not_after = int(_base().machine.time) + 3_600_000
        stage = Stage(cluster, _base().machine, f"f{number}", not_after, is_watched=False)
        drawn = families[number % len(families)](rng, stage)
        name = None if drawn is None else command_name(payload_type(drawn.command))
        if drawn is None or name is None or name in good or tried.get(name, 0) >= _TRIED_MAX:
            continue
        tried[name] = tried.get(name, 0) + 1
        keys = tuple(key.public_key().public_bytes_raw() for key in drawn.keys)
        signer = _base().signers.index(keys) if keys in _base().signers else 0
        seed = bytes([_NAMES.index(name), signer]) + encode_command(drawn.command)
        other.setdefault(name, seed)
        if _machine().apply(_entry(seed)[1]).outcome.code == "applied":
            good[name] = seed
    emergency = bytes([_NAMES.index("authority.emergency_revoke")]) + good["authority.revoke"][1:]
    return (*good.values(), *(seed for name, seed in other.items() if name not in good), emergency)


TARGETS = (
    Target(
        "govern",
        "payloads of all commands on a whole machine: total, the same everywhere, and restorable",
        _govern,
        lambda: list(_payloads()),
        "json",
        tuple(
            f"govraft.core.machine.{name}"
            for name in (
                "authorities",
                "proposals",
                "members",
                "domains",
                "attestations",
                "grants",
                "boundaries",
                "enforcement",
                "permits",
                "audit",
            )
        ),
        prefix=2,
        length_max=12_000,
    ),
)
