"""Marks in a decision: what stops a request, and with which reason."""

from __future__ import annotations

from typing import Any

import pytest

from govraft.core.decision.evaluator import evaluate
from govraft.core.decision.finding import Finding, denied
from govraft.core.decision.marks import without_marked
from govraft.core.decision.policy_shelf import PolicyShelf
from govraft.core.model.commands import Invalidate, Isolate, Quarantine, Revoke, TargetKind
from govraft.core.model.reasons import Reason
from govraft.core.model.request import Request
from govraft.testing.attesting import Attesting

AGENT, TOOL, RUN = 'Agent::"a"', 'Tool::"t"', 'Action::"run"'
PERMIT = 'permit(principal, action == Action::"run", resource);'
TWIN = 'permit(principal, action == Action::"run", resource is Tool);'
REASONS: dict[Any, Reason] = {
    Quarantine: Reason.QUARANTINED,
    Isolate: Reason.ISOLATED,
    Revoke: Reason.REVOKED,
    Invalidate: Reason.INVALIDATED,
}


@pytest.fixture
def world() -> Attesting:
    made = Attesting()
    made.activate(PERMIT)
    made.add_domain("west")
    made.add_domain("mine", "west")
    return made


def ask(world: Attesting, node: str = "n1") -> Finding:
    return evaluate(world.machine, PolicyShelf(), Request(AGENT, RUN, TOOL), node_id=node, wall=world.time)


def mark(world: Attesting, kind: Any, on: TargetKind, target: str) -> None:
    assert world.do(world.command(kind, kind=on, id=target, reason="why"), "olga") == "applied"


@pytest.mark.clause("2 enforcement requirements")
@pytest.mark.clause("2 runtime trust state")
@pytest.mark.parametrize("kind", REASONS)
@pytest.mark.parametrize(
    ("on", "target"),
    [
        (TargetKind.SUBJECT, AGENT),
        (TargetKind.SUBJECT, 'Team::"x"'),
        (TargetKind.RESOURCE, TOOL),
        (TargetKind.ACTION, RUN),
        (TargetKind.NODE, "n1"),
        (TargetKind.DOMAIN, "west"),
    ],
)
def test_each_mark_on_each_kind_denies_with_its_reason(
    world: Attesting, kind: Any, on: TargetKind, target: str
) -> None:
    world.activate(PERMIT, domain="west")
    world.place(TOOL, "west")
    world.place(AGENT, parents=('Team::"x"',))
    assert ask(world).is_allow
    mark(world, kind, on, target)
    found = ask(world)
    assert found.reason is REASONS[kind]
    assert found.message.endswith(": why")


def test_what_is_marked_elsewhere_does_not_matter(world: Attesting) -> None:
    for on, target in (
        (TargetKind.SUBJECT, TOOL),
        (TargetKind.RESOURCE, AGENT),
        (TargetKind.ACTION, 'Action::"stop"'),
        (TargetKind.NODE, "n2"),
        (TargetKind.DOMAIN, "west"),
    ):
        mark(world, Revoke, on, target)
    assert ask(world).is_allow


@pytest.mark.parametrize(
    ("marked", "domain", "stopped"),
    [
        ("mine", "mine", True),
        ("west", "mine", True),
        ("root", "mine", True),
        ("mine", "west", False),
        ("west", "west", True),
        ("west", "root", False),
    ],
)
def test_a_domain_stops_all_below_it(world: Attesting, marked: str, domain: str, stopped: bool) -> None:
    world.place(TOOL, domain)
    mark(world, Quarantine, TargetKind.DOMAIN, marked)
    # What is not stopped is for the policies of that domain to decide.
    assert (ask(world).reason is Reason.QUARANTINED) is stopped


def test_the_gravest_mark_is_the_reason(world: Attesting) -> None:
    for kind in (Invalidate, Quarantine, Isolate, Revoke):
        mark(world, kind, TargetKind.SUBJECT, AGENT)
        assert ask(world).reason is REASONS[kind]


# Policies.


@pytest.mark.parametrize("kind", REASONS)
def test_a_marked_permit_permits_nothing(world: Attesting, kind: Any) -> None:
    (policy,) = ask(world).policies
    mark(world, kind, TargetKind.POLICY, policy)
    found = ask(world)
    assert (found.reason, found.policies) == (REASONS[kind], (policy,))


def test_another_permit_may_stand_in(world: Attesting) -> None:
    (first,) = ask(world).policies
    world.activate(TWIN)
    both = ask(world).policies
    (second,) = set(both) - {first}
    assert len(both) == 2
    mark(world, Quarantine, TargetKind.POLICY, first)
    found = ask(world)
    assert (found.is_allow, found.policies) == (True, (second,))
    mark(world, Revoke, TargetKind.POLICY, second)
    found = ask(world)
    # The reason is that of the first in the order of the ids.
    assert found.reason is (Reason.QUARANTINED if first < second else Reason.REVOKED)
    assert found.policies == both


def test_a_permit_that_is_marked_does_not_lift_a_forbid(world: Attesting) -> None:
    (policy,) = ask(world).policies
    world.activate('forbid(principal, action == Action::"run", resource);')
    mark(world, Quarantine, TargetKind.POLICY, policy)
    assert ask(world).reason is Reason.POLICY_DENIED


def test_only_an_allow_is_looked_at(world: Attesting) -> None:
    mark(world, Quarantine, TargetKind.DOMAIN, "mine")
    refused = denied(Reason.POLICY_DENIED, "no")
    assert without_marked(world.machine, refused) is refused
    # An allow that nothing determined is a defect, and no allow.
    assert without_marked(world.machine, Finding(None)).reason is Reason.POLICY_ERROR
