"""What a domain's effective set decides, against a reference that asks each domain's policies by themselves.

The reference knows nothing of sets that inherit: the domain's own policies must allow, and of each domain above it the
policies that forbid must let pass whatever everybody else permits; no policy of either kind may fail.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from property.test_policy_buckets import HANDLE, SCHEMA, Entity, policies, requests, whole, worlds

from govraft.core.decision.policy_shelf import PolicyShelf
from govraft.core.machine.machine import Machine
from govraft.core.model.commands import Command, DomainCreate, DomainMove, PolicyActivate, PolicyPublish
from govraft.core.model.request import Request
from govraft.core.policy import engine
from govraft.testing.sample import SampleCluster

NAMES = ("root", "a", "b", "c", "d")
PERMIT_ALL = "permit (principal, action, resource);"
PLAIN = (PERMIT_ALL, *(f'forbid (principal, action == Action::"{name}", resource);' for name in "abc"))


class Step(NamedTuple):
    """A change: publish and activate texts in a domain, or move it."""

    domain: str
    texts: tuple[str, ...]
    parent: str | None


@st.composite
def steps(draw: st.DrawFn) -> Step:
    domain = draw(st.sampled_from(NAMES))
    parent = draw(st.sampled_from(NAMES)) if draw(st.integers(0, 3)) == 0 else None
    texts = draw(st.lists(st.one_of(policies(), st.sampled_from(PLAIN), st.just(PERMIT_ALL)), max_size=4, unique=True))
    return Step(domain, tuple(text for text in texts if not engine.validate(text, HANDLE)), parent)


class World:
    """A machine, and beside it, kept by hand, who stands below whom and what each domain published."""

    def __init__(self, parents: list[int]) -> None:
        self.cluster = SampleCluster()
        self.machine = Machine(self.cluster.genesis)
        self.parents = {name: NAMES[parent] for name, parent in zip(NAMES[1:], parents, strict=True)}
        self.texts: dict[str, tuple[str, ...]] = {}
        for name, parent in self.parents.items():
            self.do(DomainCreate, "rita", "ruth", id=name, parent=parent)

    def do(self, kind: type[Command], *authors: str, **fields: Any) -> str:
        command = kind(**self.cluster.header(), **fields)
        return self.machine.apply(self.cluster.entry(command, *authors)).outcome.code

    def path(self, domain: str) -> list[str]:
        return [domain] if domain == "root" else [domain, *self.path(self.parents[domain])]

    def take(self, step: Step) -> None:
        if step.parent is None:
            self.publish(step.domain, step.texts)
        elif self.do(DomainMove, "rita", "ruth", id=step.domain, parent=step.parent) == "applied":
            self.parents[step.domain] = step.parent

    def publish(self, domain: str, texts: tuple[str, ...]) -> None:
        policies = self.machine.state.policies
        latest = policies.of(domain).latest
        bundle = None if latest is None else policies.bundle(latest.version, domain)
        have = {} if bundle is None else bundle.policies
        command = {"domain": domain, "version": 1 if latest is None else latest.version + 1}
        done = self.do(
            PolicyPublish,
            "pat",
            **command,
            expected="" if latest is None else latest.digest,
            schema=SCHEMA if latest is None and domain == "root" else None,
            policies=tuple(text for text in texts if text not in have.values()),
            removed=tuple(name for name, text in have.items() if text not in texts),
        )
        made = policies.of(domain).latest
        assert done == "applied"
        assert made is not None
        assert self.do(PolicyActivate, "pat", **command, digest=made.digest) == "applied"
        self.texts[domain] = texts

    def expected(self, domain: str, entities: dict[str, Entity], request: Request) -> bool:
        if domain not in self.texts or "root" not in self.texts:
            return False
        own, *above = self.path(domain)
        sets = [self.texts[own]]
        for name in above:
            forbids = [text for text in self.texts.get(name, ()) if text.startswith("forbid")]
            sets.append((PERMIT_ALL, *forbids))
        return all(allows(texts, entities, request) for texts in sets)


def allows(texts: tuple[str, ...], entities: dict[str, Entity], request: Request) -> bool:
    trees = {str(number): engine.policy_tree(text) for number, text in enumerate(texts)}
    decision, _, failed = whole(trees, entities, request)
    return decision == "Allow" and not failed


@pytest.mark.clause("1 deterministic policy inheritance")
@settings(
    max_examples=60,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
@given(
    st.tuples(*(st.integers(0, place) for place in range(len(NAMES) - 1))).map(list),
    st.lists(steps(), min_size=3, max_size=10),
    worlds(),
    st.lists(requests(), min_size=1, max_size=4),
)
def test_the_effective_set_decides_as_each_set_by_itself(
    parents: list[int], changes: list[Step], entities: dict[str, Entity], asked: list[Request]
) -> None:
    world, shelf = World(parents), PolicyShelf()
    world.publish("root", (PERMIT_ALL,))
    for change in changes:
        world.take(change)
        for domain in NAMES:
            effective = shelf.of(world.machine, domain)
            for request in asked:
                found = effective.compiled is not None and effective.compiled.evaluate(request, entities).effect
                expected = world.expected(domain, entities, request)
                assert (found == "allow") == expected
                event(f"{'allow' if expected else 'deny'} at depth {len(world.path(domain)) - 1}")
