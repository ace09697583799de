"""Drawn domains, with their entities and policies: of every kind, accepted and refused, and the same for everybody."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from govraft.core.machine.entry import encode_entry
from govraft.core.machine.machine import Machine
from govraft.core.model import limits
from govraft.core.model.commands import command_name, payload_type
from govraft.core.model.ids import ROOT_DOMAIN
from govraft.core.model.units import WallMs
from govraft.testing.sample import CREATED, SampleCluster
from govraft.testing.simulation.workload import Stage
from govraft.testing.simulation.workload_authorities import draw_authorities
from govraft.testing.simulation.workload_domains import draw_domains


@pytest.fixture(autouse=True)
def _short_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DOMAIN_NAME_REST_MS", 20_000)
    monkeypatch.setattr(limits, "DOMAIN_POLICY_VERSIONS_KEPT", 3)


def check_world(machine: Machine) -> None:
    """What holds of domains at any time."""
    state = machine.state
    for name in state.domains.domains:
        path = state.domains.path(name)
        assert path[-1] == ROOT_DOMAIN
        assert len(path) == len(set(path)) <= limits.DOMAIN_DEPTH + 1
        assert name not in state.domains.resting or state.domains.resting[name] <= machine.time
    for entity in machine.entities.values():
        assert state.domains.path(entity.domain)
    gone = state.entities.gone
    assert not gone.keys() & machine.entities.keys()
    assert all(state.domains.path(domain) for domain in gone.values())
    present = [entity.domain for entity in machine.entities.values()]
    assert state.entities.counts == Counter([*present, *gone.values()])
    for name, own in state.policies.by_domain.items():
        assert state.domains.path(name)
        assert own.active is None or own.active.version in own.versions
        for number in own.versions:
            assert state.policies.bundle(number, name) is not None


def views(machine: Machine) -> tuple[Any, ...]:
    state = machine.state
    policies = state.policies
    return (
        state.domains.domains,
        state.domains.resting,
        {name: (own.versions, own.active) for name, own in policies.by_domain.items()},
        policies.policy_uses,
        policies.schema_uses,
        {name: (policies.active_bundle(name), policies.naming(f'Tool::"{name}"')) for name in ("root", "d1", "d2")},
        dict(machine.entities),
        state.entities.counts,
        state.entities.children,
    )


def run(seed: int, steps: int) -> tuple[Machine, Counter[str], list[bytes], SampleCluster]:
    rng, sample = random.Random(seed), SampleCluster()
    machine, time, seen, entries = Machine(sample.genesis), CREATED + 1, Counter[str](), []
    for step in range(steps):
        time += rng.choice((1, 10, 400))
        draw = draw_authorities if rng.random() < 0.1 else draw_domains
        drawn = draw(rng, Stage(sample, machine, f"w{step}", time + 60_000))
        if drawn is None:
            continue
        entries.append(encode_entry(WallMs(time), drawn.envelope()))
        outcome = machine.apply(entries[-1]).outcome.code
        seen[f"{command_name(payload_type(drawn.command))} {outcome}"] += 1
        check_world(machine)
    return machine, seen, entries, sample


@pytest.mark.parametrize("seed", range(3))
def test_histories_replay_to_the_same_state(seed: int) -> None:
    machine, seen, entries, sample = run(seed, 400)
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
    assert views(restored) == views(machine)


def test_every_kind_comes_to_every_end() -> None:
    seen = Counter[str]()
    for seed in range(6):
        seen += run(seed, 400)[1]
    kinds = [*(f"domain.{kind}" for kind in ("create", "move", "remove")), "policy.publish", "policy.activate"]
    for name in [*kinds, *(f"entity.{kind}" for kind in ("put", "patch", "delete"))]:
        assert seen[f"{name} applied"], (name, seen)
        assert seen[f"{name} threshold_unmet"], (name, seen)
    for end in (
        "domain.create domain_exists",
        "domain.create domain_unknown",
        "domain.move domain_invalid",
        "domain.remove domain_in_use",
        "domain.remove domain_invalid",
        "entity.put domain_unknown",
        "entity.put parent_outside",
        "entity.put entity_claimed",
        "entity.patch parent_outside",
        "policy.publish policy_invalid",
        "policy.publish policy_version_conflict",
        "policy.activate policy_version_conflict",
    ):
        assert seen[end], (end, seen)
