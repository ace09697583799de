"""Same genesis, same entries, same bytes: in every process, whatever its hash seed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from govraft.core.machine.entry import encode_entry
from govraft.core.machine.machine import Machine
from govraft.core.model.commands import (
    Command,
    EntityDelete,
    EntityFields,
    EntityPatch,
    EntityPut,
    PolicyActivate,
    PolicyPublish,
    Quarantine,
    Release,
    Revoke,
    TargetKind,
)
from govraft.core.model.units import WallMs
from govraft.testing.sample import CREATED, SampleCluster

STEPS = 250


def random_command(cluster: SampleCluster, machine: Machine, rng: random.Random, time: int) -> Command:
    header = cluster.header(not_after=time + rng.choice([1, 50, 3_600_000]))
    uids = [f'T::"{rng.randrange(12)}"' for _ in range(3)]
    target: dict[str, Any] = {
        "kind": rng.choice(list(TargetKind)),
        "id": rng.choice([*uids, "n1", 'Action::"go"']),
        "reason": "r",
    }
    latest = machine.policy_versions[-1] if machine.policy_versions else None
    versions = machine.policy_versions or (None,)
    chosen = rng.choice(versions)
    makers: list[Callable[[], Command]] = [
        lambda: EntityPut(
            **header,
            entities=tuple(EntityFields(uid, {"n": rng.randrange(9)}, tuple(rng.sample(uids, 1))) for uid in uids),
        ),
        lambda: EntityPut(**header, entities=(EntityFields(uids[0], {"b": 1, "a": {"d": [1], "c": "x"}}, ()),)),
        lambda: EntityPatch(
            **header, uid=uids[0], set={"m": rng.randrange(9)}, unset=(), add_parents=(uids[1],), remove_parents=()
        ),
        lambda: EntityDelete(**header, uids=(uids[0],)),
        lambda: Quarantine(**header, **target),
        lambda: Release(**header, **target),
        lambda: Revoke(**header, **target),
        lambda: PolicyPublish(
            **header,
            version=1 if latest is None else latest.version + 1,
            expected="" if latest is None else latest.digest,
            schema="entity T;" if latest is None else None,
            policies=(f'permit(principal == T::"{rng.randrange(200)}", action, resource);',),
            removed=(),
        ),
        lambda: PolicyActivate(
            **header,
            version=1 if chosen is None else chosen.version,
            digest="0" * 64 if chosen is None else chosen.digest,
        ),
    ]
    return rng.choice(makers)()


def run(seed: int) -> tuple[Machine, list[bytes], set[str]]:
    """A random history: its machine, entries and outcomes."""
    rng = random.Random(seed)
    cluster = SampleCluster()
    machine = Machine(cluster.genesis)
    entries: list[bytes] = []
    outcomes: set[str] = set()
    time = int(CREATED)
    for _ in range(STEPS):
        time += rng.choice([0, 1, 30])
        command = random_command(cluster, machine, rng, time)
        author = "pat" if isinstance(command, PolicyPublish | PolicyActivate) else "olga"
        entry = encode_entry(WallMs(time), cluster.sign(command, author)) if rng.random() > 0.05 else rng.randbytes(20)
        if entries and rng.random() < 0.05:
            entry = rng.choice(entries)
        entries.append(entry)
        outcomes.add(machine.apply(entry).outcome.code)
    return machine, entries, outcomes


def summary(machine: Machine) -> str:
    return f"{machine.seq} {machine.root.hex()} {machine.state_root.hex()}"


def test_a_replay_gives_the_same_leaves() -> None:
    for seed in range(3):
        machine, entries, outcomes = run(seed)
        replay = Machine(SampleCluster().genesis)
        for number, entry in enumerate(entries):
            assert replay.apply(entry).leaf == machine.leaf_bytes(number + 2)
            if number % 3 == 0:
                # Questions between entries leave no trace.
                replay.examine(entries[-1], WallMs(CREATED + number))
        assert summary(replay) == summary(machine)
        assert len(outcomes) > 8


def test_processes_with_other_hash_seeds_agree() -> None:
    machine, _, _ = run(11)
    for hash_seed in ("0", "1", "4242"):
        done = subprocess.run(  # noqa: S603 - our own file
            [sys.executable, __file__],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert done.stdout.strip() == summary(machine)


if __name__ == "__main__":
    print(summary(run(11)[0]))  # noqa: T201 - the answer to the parent process
