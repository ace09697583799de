"""What a node tells about domains, their policies and entities, and what it makes sure of before it proposes them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from govraft.core.machine.machine import Machine
from govraft.core.model.commands import (
    Command,
    DomainCreate,
    EntityFields,
    EntityPut,
    PolicyActivate,
    PolicyPublish,
    ProposalOpen,
)
from govraft.errors import InputError, RejectedError
from govraft.node.proposals import examine_proposal
from govraft.node.world_reads import world_reads
from govraft.testing.sample import CREATED, SampleCluster

SCHEMA = 'entity Agent; entity Tool; action "run" appliesTo { principal: [Agent], resource: [Tool] };'
ONE = "permit(principal, action, resource);"
TWO = "forbid(principal, action, resource);"


class World:
    """A machine with domains `eng` and, below it, `web`."""

    def __init__(self) -> None:
        self.cluster = SampleCluster()
        self.machine = Machine(self.cluster.genesis)
        self.examined: list[tuple[str, dict[str, str], Any]] = []
        for name, parent in (("eng", "root"), ("web", "eng")):
            self.do(DomainCreate, "rita", "ruth", id=name, parent=parent)

    def do(self, kind: type[Command], *authors: str, **fields: Any) -> None:
        entry = self.cluster.entry(kind(**self.cluster.header(), **fields), *authors)
        assert self.machine.apply(entry).outcome.code == "applied"

    def publish(self, domain: str, *texts: str, schema: str | None = None, activate: bool = True) -> None:
        command = self.publication(domain, *texts, schema=schema)
        assert self.machine.apply(self.cluster.entry(command, "pat")).outcome.code == "applied"
        latest = self.machine.state.policies.of(domain).latest
        assert latest is not None
        if activate:
            self.do(PolicyActivate, "pat", domain=domain, version=latest.version, digest=latest.digest)

    def publication(self, domain: str, *texts: str, schema: str | None = None) -> PolicyPublish:
        latest = self.machine.state.policies.of(domain).latest
        version, expected = (1, "") if latest is None else (latest.version + 1, latest.digest)
        return PolicyPublish(
            **self.cluster.header(),
            domain=domain,
            version=version,
            expected=expected,
            schema=schema,
            policies=texts,
            removed=(),
        )

    def read(self, what: str, **params: Any) -> Any:
        return world_reads(self.machine)[what](params)

    def examine(self, command: Command) -> list[tuple[str, dict[str, str], Any]]:
        async def note(schema: str, policies: Mapping[str, str], entities: Any) -> None:
            self.examined.append((schema, dict(policies), entities))

        asyncio.run(examine_proposal(self.machine, command, note))
        return self.examined


@pytest.fixture
def world() -> World:
    return World()


def test_domains(world: World) -> None:
    world.publish("root", ONE, schema=SCHEMA)
    world.do(EntityPut, "olga", domain="web", entities=(EntityFields('Tool::"t"', {}, ()),))
    listed = world.read("domains")
    assert [(item["id"], item["path"], item["entities"], item["policy_version"]) for item in listed] == [
        ("root", ["root"], 0, 1),
        ("eng", ["root", "eng"], 0, 0),
        ("web", ["root", "eng", "web"], 1, 0),
    ]
    assert (listed[0]["seq"], listed[0]["authors"], listed[2]["seq"], listed[2]["authors"]) == (
        1,
        [],
        3,
        ["rita", "ruth"],
    )


def test_policies_of_a_domain(world: World) -> None:
    assert world.read("policies", domain="eng") == {"active": None, "versions": []}
    world.publish("root", ONE, schema=SCHEMA)
    world.publish("eng", TWO)
    world.publish("eng", ONE, activate=False)
    found = world.read("policies", domain="eng")
    assert (found["active"]["version"], [item["version"] for item in found["versions"]]) == (1, [1, 2])
    assert world.read("policies")["active"]["version"] == 1
    active = world.read("policy", domain="eng")
    assert (active["version"], active["schema"], list(active["policies"].values())) == (1, SCHEMA, [TWO])
    assert set(world.read("policy", domain="eng", version=2)["policies"].values()) == {ONE, TWO}
    assert list(world.read("policy")["policies"].values()) == [ONE]


@pytest.mark.parametrize(
    ("what", "params", "code"),
    [
        ("policy", {"domain": "eng"}, "policy_unknown"),
        ("policy", {"domain": "eng", "version": 3}, "policy_unknown"),
        ("policy", {"domain": "nosuch"}, "domain_unknown"),
        ("policies", {"domain": 1}, "domain_unknown"),
        ("entities", {"domain": "nosuch"}, "domain_unknown"),
        ("entities", {"domain": None}, "domain_unknown"),
        ("entities", {"after": 1}, "malformed"),
        ("entities", {"limit": -1}, "malformed"),
        ("entity", {}, "entity_unknown"),
        ("entity", {"uid": ["x"]}, "entity_unknown"),
    ],
)
def test_a_senseless_read_is_an_input_error(world: World, what: str, params: dict[str, Any], code: str) -> None:
    with pytest.raises(InputError) as caught:
        world.read(what, **params)
    assert caught.value.code == code


def test_entities_of_a_domain_are_paged(world: World) -> None:
    for domain, names in (("eng", "acegi"), ("web", "bdfh")):
        fields = tuple(EntityFields(f'Tool::"{name}"', {}, ()) for name in names)
        world.do(EntityPut, "olga", domain=domain, entities=fields)
    found, after = [], ""
    while after is not None:
        page = world.read("entities", domain="eng", limit=2, after=after)
        found += [item["uid"] for item in page["entities"]]
        after = page["next"]
    assert found == [f'Tool::"{name}"' for name in "acegi"]
    assert len(world.read("entities")["entities"]) == 9
    assert world.read("entity", uid='Tool::"b"') == {"uid": 'Tool::"b"', "attrs": {}, "parents": [], "domain": "web"}


# Before a proposal.


def test_policies_of_a_domain_are_examined_under_the_schema_of_the_root(world: World) -> None:
    with pytest.raises(RejectedError) as caught:
        world.examine(world.publication("eng", ONE))
    assert (caught.value.code, world.examined) == ("policy_invalid", [])
    world.publish("root", ONE, schema=SCHEMA, activate=False)
    assert world.examine(world.publication("eng", TWO))[-1][:2][0] == SCHEMA
    world.do(
        PolicyActivate,
        "pat",
        version=1,
        digest=world.machine.policy_versions[0].digest,
    )
    world.publish("root", schema="entity Other;", activate=False)
    # The active one decides, not a later one.
    schema, policies, entities = world.examine(world.publication("eng", TWO))[-1]
    assert (schema, list(policies.values()), entities) == (SCHEMA, [TWO], None)


def test_what_stays_in_the_root_is_examined_under_a_new_schema(world: World) -> None:
    world.publish("root", ONE, schema=SCHEMA)
    world.publish("eng", TWO)
    schema, policies, _ = world.examine(world.publication("root", schema="entity Other;"))[-1]
    assert (schema, list(policies.values())) == ("entity Other;", [ONE])


def test_what_is_put_to_the_vote_is_examined_at_once(world: World) -> None:
    world.publish("root", ONE, schema=SCHEMA)

    def proposal(command: str, body: dict[str, Any]) -> ProposalOpen:
        header = world.cluster.header()
        times = {"epoch": 1, "sequence": 1, "expires": CREATED + 10_000}
        return ProposalOpen(**header, command=command, body=body, author="pat", **times)

    fields = {"version": 2, "expected": "0" * 64, "schema": None, "policies": [TWO], "removed": []}
    schema, policies, _ = world.examine(proposal("policy.publish", fields))[-1]
    assert (schema, list(policies.values())) == (SCHEMA, [TWO])
    entity = {"uid": 'Agent::"a"', "attrs": {}, "parents": []}
    assert world.examine(proposal("entity.put", {"entities": [entity]}))[-1][2] is not None
    count = len(world.examined)
    assert len(world.examine(proposal("domain.remove", {"id": "eng"}))) == count
    with pytest.raises(RejectedError) as caught:
        world.examine(proposal("nonsense", {}))
    assert caught.value.code == "proposal_invalid"
