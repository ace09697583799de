"""What ends an invalidation: the replacement of its target, by whoever could have made it."""

from __future__ import annotations

import msgspec
import pytest

from govraft.core.machine.enforcement import end_invalidations
from govraft.core.machine.state import Changes
from govraft.core.model.authority import Assignment, Role
from govraft.core.model.commands import EntityFields, EntityPatch, EntityPut, Invalidate, MemberRotate, Quarantine
from govraft.core.model.commands.members import MemberFields
from govraft.testing.attesting import Attesting

AGENT = 'Agent::"a"'
PERMIT = 'permit(principal, action == Action::"run", resource);'


@pytest.fixture
def world() -> Attesting:
    """Domains west, with mine below it, and east; mina is an operator of mine."""
    made = Attesting()
    for name, parent in (("west", "root"), ("mine", "west"), ("east", "root")):
        made.add_domain(name, parent)
    made.add_authority("mina", Assignment(Role.OPERATOR, "mine"))
    return made


def permit(world: Attesting, text: str = PERMIT) -> str:
    world.activate(text)
    assert world.machine.active_policies is not None
    return next(name for name, known in world.machine.active_policies.policies.items() if known == text)


def put(world: Attesting, uid: str, *authors: str, domain: str = "root") -> str:
    fields = (EntityFields(uid, {}, ()),)
    return world.do(world.command(EntityPut, entities=fields, domain=domain), *(authors or ("olga",)))


def test_an_entity_that_is_put_anew(world: Attesting) -> None:
    for on in ("subject", "resource"):
        assert world.mark(Invalidate, on, AGENT) == "applied"
    assert world.mark(Quarantine, "subject", AGENT) == "applied"
    assert put(world, 'Agent::"b"') == "applied"
    assert world.marks("subject", AGENT) == {"invalidated", "quarantined"}
    assert put(world, 'Agent::"\\u{61}"') == "applied"
    assert (world.marks("subject", AGENT), world.marks("resource", AGENT)) == ({"quarantined"}, set())
    assert world.mark(Invalidate, "subject", AGENT) == "applied"
    patch = world.command(EntityPatch, uid=AGENT, set={"n": 1}, unset=(), add_parents=(), remove_parents=())
    assert world.do(patch, "olga") == "applied"
    assert "invalidated" in world.marks("subject", AGENT)


def test_an_invalidation_ends_only_from_above(world: Attesting) -> None:
    """Who may only act in one domain does not undo what was done for all by bringing the target there."""
    assert world.mark(Invalidate, "subject", AGENT) == "applied"
    assert put(world, AGENT, "mina", domain="mine") == "applied"
    assert world.marks("subject", AGENT) == {"invalidated"}
    assert put(world, AGENT, "olga", domain="mine") == "applied"
    # It is put for `mine`, though by an operator of all.
    assert world.marks("subject", AGENT) == {"invalidated"}
    assert put(world, AGENT, "olga") == "applied"
    assert world.marks("subject", AGENT) == set()


def test_an_attestation_that_is_superseded(world: Attesting) -> None:
    tool = 'Tool::"t"'
    assert world.attest(tool) == "applied"
    first = str(world.last(tool))
    assert world.mark(Invalidate, "attestation", first) == "applied"
    assert world.attest(tool, "abe") == "applied"
    assert world.marks("attestation", first) == {"invalidated"}
    assert world.attest(tool, predicate={"n": 2}) == "applied"
    assert world.marks("attestation", first) == set()


OTHER = PERMIT.replace("run", "stop")


def test_a_policy_whose_domains_activate_a_later_version(world: Attesting) -> None:
    world.activate(PERMIT)
    world.activate(PERMIT, domain="east")
    policy = world.machine.state.policies.of("east").versions[1].policy_ids[0].hex()
    assert world.mark(Invalidate, "policy", policy) == "applied"
    assert world.mark(Quarantine, "policy", policy) == "applied"
    # One that does not hold it, and one that takes it up only now, say nothing of it.
    world.activate(OTHER, domain="west")
    world.activate(PERMIT, domain="mine")
    world.activate(OTHER)
    assert world.marks("policy", policy) == {"invalidated", "quarantined"}
    world.activate(OTHER, domain="east")
    assert world.marks("policy", policy) == {"quarantined"}


def test_a_policy_that_is_active_nowhere(world: Attesting) -> None:
    policy = permit(world)
    world.activate(OTHER, removed=(policy,))
    assert world.mark(Invalidate, "policy", policy) == "applied"
    world.activate(PERMIT, domain="east")
    assert world.marks("policy", policy) == {"invalidated"}
    world.activate(PERMIT.replace("run", "stop").replace("resource)", "resource is Tool)"))
    assert world.marks("policy", policy) == {"invalidated"}
    world.activate(PERMIT)
    # The east activated it after the mark, so it waits for nobody.
    assert world.marks("policy", policy) == set()


def test_domains_and_actions_wait_for_a_later_version(world: Attesting) -> None:
    world.activate(PERMIT)
    for on, target in (("domain", "east"), ("domain", "root"), ("action", 'Action::"run"')):
        assert world.mark(Invalidate, on, target) == "applied"
    world.activate(PERMIT, domain="west")
    assert {on for on, _ in world.machine.marked} == {"domain", "action"}
    world.activate(PERMIT, domain="east")
    assert set(world.machine.marked) == {("domain", "root"), ("action", 'Action::"run"')}
    world.activate(OTHER)
    assert not world.machine.has_marks


def test_a_node_whose_key_is_rotated(world: Attesting) -> None:
    assert world.mark(Invalidate, "node", "n2") == "applied"
    member = MemberFields("n2", "", "", "")
    for name, left in (("n1", {"invalidated"}), ("n2", set())):
        rotate = world.command(MemberRotate, member=msgspec.structs.replace(member, id=name))
        changes = Changes()
        end_invalidations(world.machine.state, rotate, "root", changes)
        world.machine.state.commit(changes)
        assert world.marks("node", "n2") == left
