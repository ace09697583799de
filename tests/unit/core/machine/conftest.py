"""A bench: a sample cluster and a machine started from it."""

from __future__ import annotations

from typing import Any

import pytest

from govraft.core.machine.entry import encode_entry
from govraft.core.machine.machine import AppliedEntry, Machine
from govraft.core.model.authority import Assignment, Role
from govraft.core.model.commands import (
    AuthorityAssign,
    DomainCreate,
    EntityFields,
    EntityPut,
    PolicyActivate,
    PolicyPublish,
)
from govraft.core.model.outcome import Rejected
from govraft.core.model.units import WallMs
from govraft.testing.sample import CREATED, SampleCluster

SCHEMA = 'entity Agent; entity Tool; action "run" appliesTo { principal: [Agent], resource: [Tool] };'


class Bench:
    """Makes, signs and applies commands, and checks with each that `examine` foresaw the outcome."""

    def __init__(self, **options: Any) -> None:
        self.cluster = SampleCluster(**options)
        self.machine = Machine(self.cluster.genesis)
        self.time = CREATED + 1_000

    def command(self, kind: Any, /, **fields: Any) -> Any:
        return kind(**{**self.cluster.header(), **fields})

    def apply_envelope(self, envelope: bytes) -> AppliedEntry:
        machine = self.machine
        before = (machine.seq, machine.time, machine.root, machine.state_root, dict(machine.sections))
        foreseen = machine.examine(envelope, WallMs(self.time))
        assert before == (machine.seq, machine.time, machine.root, machine.state_root, dict(machine.sections))
        applied = machine.apply(encode_entry(WallMs(self.time), envelope))
        foreseen_code = foreseen.code if isinstance(foreseen, Rejected) else "applied"
        assert foreseen_code == applied.outcome.code
        assert applied.seq == before[0] + 1
        return applied

    def do(self, command: Any, *authors: str) -> str:
        """Apply a command and give its outcome's code. Signed by olga or pat unless told otherwise."""
        default = "pat" if isinstance(command, PolicyPublish | PolicyActivate) else "olga"
        return self.apply_envelope(self.cluster.sign(command, *(authors or (default,)))).outcome.code

    def publish(self, *policies: str, **fields: Any) -> str:
        versions = self.machine.policy_versions
        defaults: dict[str, Any] = {
            "version": len(versions) + 1 if not versions else versions[-1].version + 1,
            "expected": versions[-1].digest if versions else "",
            "schema": None if versions else SCHEMA,
            "policies": policies,
            "removed": (),
        }
        return self.do(self.command(PolicyPublish, **{**defaults, **fields}))

    def activate(self, version: int, **fields: Any) -> str:
        digests = {item.version: item.digest for item in self.machine.policy_versions}
        defaults = {"version": version, "digest": digests.get(version, "0" * 64)}
        return self.do(self.command(PolicyActivate, **{**defaults, **fields}))

    def put(self, *entities: tuple[str, dict[str, Any], tuple[str, ...]]) -> str:
        return self.do(self.command(EntityPut, entities=tuple(EntityFields(*entity) for entity in entities)))

    def put_into(self, domain: str, *entities: tuple[str, tuple[str, ...]], by: str = "olga") -> str:
        fields = tuple(EntityFields(uid, {}, parents) for uid, parents in entities)
        return self.do(self.command(EntityPut, domain=domain, entities=fields), by)

    def create(self, identifier: str, parent: str = "root", by: tuple[str, ...] = ("rita", "ruth")) -> str:
        return self.do(self.command(DomainCreate, id=identifier, parent=parent), *by)

    def assign(self, authority: str, *assignments: str) -> None:
        """Give an authority these roles, each as `role@domain`, and no others."""
        parts = sorted(Assignment(Role(role), domain) for role, _, domain in (x.partition("@") for x in assignments))
        command = self.command(AuthorityAssign, id=authority, assignments=tuple(parts))
        assert self.do(command, "rita", "ruth") == "applied"

    def publish_in(self, domain: str, *policies: str, by: str = "pat", **fields: Any) -> str:
        """Publish the next version of a domain, and activate it."""
        latest = self.machine.state.policies.of(domain).latest
        defaults: dict[str, Any] = {
            "version": 1 if latest is None else latest.version + 1,
            "expected": "" if latest is None else latest.digest,
            "schema": SCHEMA if latest is None and domain == "root" else None,
            "policies": policies,
            "removed": (),
        }
        done = self.do(self.command(PolicyPublish, domain=domain, **{**defaults, **fields}), by)
        if done != "applied":
            return done
        made = self.machine.state.policies.of(domain).latest
        assert made is not None
        return self.do(self.command(PolicyActivate, domain=domain, version=made.version, digest=made.digest), by)


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def tree(bench: Bench) -> Bench:
    """root ─ eng ─ web, root ─ ops; oscar is operator and paula policy authority of eng only."""
    assert bench.create("eng") == bench.create("web", "eng") == bench.create("ops") == "applied"
    bench.assign("oscar", "operator@eng")
    bench.assign("paula", "policy@eng")
    return bench


@pytest.fixture
def make_bench() -> type[Bench]:
    return Bench
