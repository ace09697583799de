"""A request is decided in the domain of its resource."""

from __future__ import annotations

from typing import Any

import pytest

from govraft.core.decision.evaluator import domain_of, evaluate
from govraft.core.decision.policy_shelf import PolicyShelf
from govraft.core.machine.machine import Machine
from govraft.core.model.commands import (
    Command,
    DomainCreate,
    DomainMove,
    EntityDelete,
    EntityFields,
    EntityPut,
    PolicyActivate,
    PolicyPublish,
)
from govraft.core.model.reasons import Reason
from govraft.core.model.request import Request
from govraft.testing.sample import CREATED, SampleCluster

SCHEMA = 'entity Agent, Tool; action "run" appliesTo { principal: [Agent], resource: [Tool] };'
PERMIT = "permit(principal, action, resource);"
FORBID = "forbid(principal, action, resource);"


class World:
    """root permits all; `eng` and `ops` below it, `web` below `eng`."""

    def __init__(self) -> None:
        self.cluster = SampleCluster()
        self.machine = Machine(self.cluster.genesis)
        self.shelf = PolicyShelf()
        for name, parent in (("eng", "root"), ("ops", "root"), ("web", "eng")):
            self.do(DomainCreate, "rita", "ruth", id=name, parent=parent)
        self.publish("root", PERMIT)

    def do(self, kind: type[Command], *authors: str, **fields: Any) -> None:
        entry = self.cluster.entry(kind(**self.cluster.header(), **fields), *authors)
        assert self.machine.apply(entry).outcome.code == "applied"

    def publish(self, domain: str, *texts: str) -> None:
        latest = self.machine.state.policies.of(domain).latest
        version = 1 if latest is None else latest.version + 1
        schema = SCHEMA if domain == "root" and latest is None else None
        removed = () if latest is None else tuple(name.hex() for name in latest.policy_ids)
        expected = "" if latest is None else latest.digest
        common = {"domain": domain, "version": version}
        self.do(PolicyPublish, "pat", **common, expected=expected, schema=schema, policies=texts, removed=removed)
        made = self.machine.state.policies.of(domain).latest
        assert made is not None
        self.do(PolicyActivate, "pat", **common, digest=made.digest)

    def put(self, domain: str, name: str = "t") -> None:
        self.do(EntityPut, "olga", domain=domain, entities=(EntityFields(f'Tool::"{name}"', {}, ()),))

    def ask(self, name: str = "t") -> Reason | None:
        request = Request('Agent::"a"', 'Action::"run"', f'Tool::"{name}"')
        return evaluate(self.machine, self.shelf, request, node_id="n1", wall=CREATED + 1_000).reason


@pytest.fixture
def world() -> World:
    return World()


def test_an_unregistered_resource_belongs_to_the_root(world: World) -> None:
    assert world.ask() is None
    assert domain_of(world.machine, 'Tool::"t"') == "root"
    world.put("eng")
    assert domain_of(world.machine, 'Tool::"t"') == "eng"
    assert world.ask() is Reason.POLICY_DENIED
    world.do(EntityDelete, "olga", uids=('Tool::"t"',))
    assert world.ask() is None


@pytest.mark.clause("1 deterministic policy inheritance")
def test_a_domain_permits_for_itself_and_forbids_for_all_below(world: World) -> None:
    world.put("web")
    assert world.ask() is Reason.POLICY_DENIED
    world.publish("web", PERMIT)
    assert world.ask() is None
    world.publish("eng", FORBID)
    assert world.ask() is Reason.POLICY_DENIED
    assert world.ask("unregistered") is None
    world.do(DomainMove, "rita", "ruth", id="web", parent="ops")
    assert world.ask() is None
    world.publish("ops", FORBID)
    assert world.ask() is Reason.POLICY_DENIED
    world.publish("ops", PERMIT)
    assert world.ask() is None
    world.publish("root", FORBID)
    assert world.ask() is world.ask("unregistered") is Reason.POLICY_DENIED


def test_what_does_not_compile_above_denies_below(world: World) -> None:
    world.put("web")
    world.publish("web", PERMIT)
    world.publish("eng", "permit(principal, action, resource) when { resource.nosuch };")
    assert world.ask() is Reason.POLICY_ERROR
    world.put("ops", "u")
    world.publish("ops", PERMIT)
    assert world.ask("u") is None
