"""Drawn authorities and proposals: of every kind, accepted and refused, and never the end of the cluster."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest

from govraft.core.machine.authorities import check_roles_able
from govraft.core.machine.entry import encode_entry
from govraft.core.machine.machine import Machine
from govraft.core.model.commands import command_name, payload_type
from govraft.core.model.units import WallMs
from govraft.testing.sample import CREATED, SampleCluster
from govraft.testing.simulation.workload import Drawn, Stage
from govraft.testing.simulation.workload_authorities import draw_authorities
from govraft.testing.simulation.workload_proposals import draw_proposals

Draw = Callable[[random.Random, Stage], Drawn | None]


def run(seed: int, draws: tuple[Draw, ...], steps: int) -> tuple[Machine, Counter[str], list[bytes], SampleCluster]:
    rng, sample = random.Random(seed), SampleCluster()
    machine, time, seen, entries = Machine(sample.genesis), CREATED + 1, Counter[str](), []
    for step in range(steps):
        time += rng.choice((1, 10, 400))
        drawn = rng.choice(draws)(rng, Stage(sample, machine, f"w{step}", time + 60_000))
        if drawn is None:
            continue
        entries.append(encode_entry(WallMs(time), drawn.envelope()))
        outcome = machine.apply(entries[-1]).outcome.code
        seen[f"{command_name(payload_type(drawn.command))} {outcome}"] += 1
        assert check_roles_able(machine.state) is None
    return machine, seen, entries, sample


@pytest.mark.parametrize("seed", range(4))
def test_histories_replay_to_the_same_state(seed: int) -> None:
    machine, seen, entries, sample = run(seed, (draw_authorities, draw_proposals), 300)
    again = Machine(sample.genesis)
    for entry in entries:
        again.apply(entry)
    assert (again.root, again.state_root) == (machine.root, machine.state_root)
    assert not any("internal_error" in name or "malformed" in name for name in seen), seen
    # What a view knows is what its records say, in whatever order it learnt of them.
    records = machine.copy_records()
    restored = Machine.restored(
        sample.genesis,
        time=machine.time,
        records={name: dict(reversed(list(by_key.items()))) for name, by_key in records.items()},
        lineage=machine.lineage,
        recent=[machine.leaf_bytes(machine.seq) or b""],
    )
    assert restored.authorities == machine.authorities
    view, other = machine.state.proposals, restored.state.proposals
    assert (view.open, view.closed, view.sequences) == (other.open, other.closed, other.sequences)
    for member in ("olga", "pat"):
        assert machine.authorities[member].is_active


def test_every_kind_comes_to_every_end() -> None:
    seen = Counter[str]()
    for seed in range(6):
        seen += run(seed, (draw_authorities, draw_proposals), 300)[1]
    kinds = ["add", "assign", "rotate", "suspend", "resume", "revoke", "emergency_revoke"]
    names = [*(f"authority.{kind}" for kind in kinds), "threshold.set", "proposal.open", "proposal.vote"]
    for name in [*names, "proposal.withdraw"]:
        assert seen[f"{name} applied"], (name, seen)
        assert any(key.startswith(f"{name} ") and not key.endswith(" applied") for key in seen), name
    codes = {key.partition(" ")[2] for key in seen}
    assert codes >= {
        "authority_exists",
        "authority_state",
        "authority_unknown",
        "key_in_use",
        "role_unable",
        "threshold_unmet",
        "threshold_invalid",
        "ballot_invalid",
        "ballot_replayed",
        "proposal_closed",
        "proposal_invalid",
        "wrong_epoch",
    }
