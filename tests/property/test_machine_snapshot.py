"""Any history, a snapshot of it, and the machine made from that: nobody can tell the two machines apart."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from govraft.core.lineage.tree import MerkleTree
from govraft.core.machine.machine import Machine
from govraft.core.machine.records import SECTIONS
from govraft.core.machine.snapshot import Snapshot
from govraft.testing.simulation.histories import draw_history, sample

STEPS = 240


def restored(machine: Machine, lineage: MerkleTree) -> Machine:
    """A machine from another's snapshot, by way of the bytes."""
    taken = Snapshot.make(
        seq=machine.seq,
        index=1,
        time=machine.time,
        sections=machine.copy_records(),
        leaf=b"",
        proof=(),
        certificate=b"",
        epochs=(),
    )
    snapshot = Snapshot.decode(taken.encode())
    recent = [machine.leaf_bytes(seq) for seq in range(max(1, machine.seq - 5), machine.seq + 1)]
    return Machine.restored(
        machine.genesis,
        time=snapshot.time,
        records=snapshot.sections,
        lineage=lineage,
        recent=[leaf for leaf in recent if leaf is not None],
    )


def views(machine: Machine) -> tuple[object, ...]:
    """All that readers can see."""
    return (
        machine.seq,
        machine.time,
        machine.root,
        machine.state_root,
        machine.sections,
        machine.epoch,
        machine.electorate,
        dict(machine.authorities),
        machine.thresholds,
        dict(machine.entities),
        machine.active_policies,
        machine.policy_versions,
        [machine.policy_bundle(version.version) for version in machine.policy_versions],
        machine.marked,
        {name: dict(machine.records(name)) for name in SECTIONS},
        [machine.known_command(f"c{number}") for number in range(1, 2 * STEPS)],
        machine.leaf_bytes(machine.seq),
    )


@pytest.mark.parametrize("seed", range(3))
def test_a_restored_machine_goes_on_as_the_first_one(seed: int) -> None:
    """Commands of every family, at any point of their history."""
    history = draw_history(seed, STEPS)
    machine = Machine(sample().genesis)
    copies: list[Machine] = []
    forks = set(random.Random(seed).sample(range(STEPS), 4))
    for step, entry in enumerate(history.entries):
        if step in forks:
            copies.append(restored(machine, machine.lineage.copy()))
            assert views(copies[-1]) == views(machine)
        applied = machine.apply(entry)
        for copy in copies:
            assert copy.apply(entry) == applied
    for one, other in pairwise([machine, *copies]):
        assert views(one) == views(other)
    assert len({name.split(" ", 1)[1] for name in history.seen}) > 8
