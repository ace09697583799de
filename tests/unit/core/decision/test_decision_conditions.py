"""Permits with conditions, asked through the evaluator: at least one must have all of its own met."""

from __future__ import annotations

from typing import Any

import pytest

from govraft.core.decision import conditions, evaluator
from govraft.core.decision.evaluator import evaluate
from govraft.core.decision.finding import Finding, denied
from govraft.core.decision.policy_shelf import PolicyShelf
from govraft.core.machine.entry import encode_entry
from govraft.core.machine.machine import Machine
from govraft.core.model.commands import (
    BoundarySet,
    EntityFields,
    EntityPut,
    GrantIssue,
    GrantRevoke,
    PolicyActivate,
    PolicyPublish,
    Rate,
    Window,
)
from govraft.core.model.reasons import Reason
from govraft.core.model.request import Request
from govraft.core.model.units import WallMs
from govraft.testing.sample import CREATED, SampleCluster

SCHEMA = """
entity Group in [Group]; entity Agent in [Group]; entity Tool in [Group];
action "all";
action "run", "stop" in ["all"] appliesTo { principal: [Agent], resource: [Tool], context: { level?: Long } };
"""
GRANTED = '@requires_grant("true") permit(principal, action, resource);'
ATTESTED = '@requires_attestation("x:y") permit(principal, action, resource);'
BOTH = '@requires_grant("true") @requires_attestation("x:y") permit(principal, action, resource);'
FREE = 'permit(principal, action == Action::"stop", resource);'
REQUEST = Request('Agent::"a"', 'Action::"run"', 'Tool::"t"')
NOW = CREATED + 1_000


class Court:
    """A machine with active policies, and the evaluator before it."""

    def __init__(self, *policies: str) -> None:
        self.cluster = SampleCluster()
        self.machine = Machine(self.cluster.genesis)
        self.shelf = PolicyShelf()
        self.do(PolicyPublish, "pat", version=1, expected="", schema=SCHEMA, policies=policies, removed=())
        version = self.machine.policy_versions[-1]
        self.do(PolicyActivate, "pat", version=1, digest=version.digest)
        entities = (('Agent::"a"', ('Group::"crew"',)), ('Tool::"t"', ('Group::"tools"',)))
        self.do(EntityPut, entities=tuple(EntityFields(uid, {}, parents) for uid, parents in entities))

    def do(self, kind: Any, author: str = "olga", **fields: Any) -> None:
        command = kind(**self.cluster.header(), **fields)
        applied = self.machine.apply(encode_entry(WallMs(NOW), self.cluster.sign(command, author)))
        assert applied.outcome.code == "applied"

    def grant(self, identifier: str = "g", **fields: Any) -> None:
        given = {
            "holder": 'Group::"crew"',
            "actions": ('Action::"all"',),
            "resources": ('Group::"tools"',),
            "not_before": NOW,
            "not_after_grant": NOW + 500,
            "delegate": None,
            "depth": 0,
        }
        self.do(GrantIssue, id=identifier, **{**given, **fields})

    def ask(self, request: Request = REQUEST, wall: int = NOW) -> Finding:
        return evaluate(self.machine, self.shelf, request, node_id="n1", wall=wall)


def test_a_permit_without_conditions_counts_by_itself() -> None:
    found = Court("permit(principal, action, resource);").ask()
    assert (found.reason, found.expires, len(found.policies)) == (None, None, 1)


def test_a_grant_by_group_of_subject_action_and_resource() -> None:
    court = Court(GRANTED)
    assert court.ask().reason is Reason.GRANT_MISSING
    court.grant()
    found = court.ask()
    assert (found.reason, found.expires) == (None, NOW + 500)
    assert court.ask(wall=NOW + 499).is_allow
    assert court.ask(wall=NOW + 500).reason is Reason.GRANT_EXPIRED
    court.do(GrantRevoke, id="g", reason="why")
    assert court.ask().reason is Reason.GRANT_MISSING


def test_who_leaves_the_group_loses_its_grants() -> None:
    court = Court(GRANTED)
    court.grant()
    assert court.ask().is_allow
    court.do(EntityPut, entities=(EntityFields('Tool::"t"', {}, ()),))
    assert court.ask().reason is Reason.GRANT_MISSING


def test_another_spelling_is_the_same_request() -> None:
    court = Court(GRANTED)
    court.grant(holder='Agent::"a"', actions=('Action::"run"',), resources=('Tool::"t"',))
    assert court.ask(Request('Agent::"\\u{61}"', 'Action::"\\x72un"', 'Tool::"\\x74"')).is_allow


def test_a_clock_behind_the_machine_brings_nothing_back() -> None:
    court = Court(GRANTED)
    court.grant(not_after_grant=NOW + 1)
    assert court.ask(wall=NOW - 1_000_000).is_allow
    command = EntityPut(**court.cluster.header(), entities=(EntityFields('Agent::"z"', {}, ()),))
    court.machine.apply(encode_entry(WallMs(NOW + 1), court.cluster.sign(command, "olga")))
    assert court.ask(wall=NOW - 1_000_000).reason is Reason.GRANT_EXPIRED


MET, LATER = Finding(None), Finding(None, expires=NOW + 900)
NO_WORD = denied(Reason.ATTESTATION_MISSING, "x")
OLD_WORD = denied(Reason.ATTESTATION_EXPIRED, "x")


@pytest.mark.parametrize(
    ("policies", "is_granted", "attested", "reason", "expires", "count"),
    [
        ([ATTESTED], False, LATER, None, NOW + 900, 1),
        ([ATTESTED], False, NO_WORD, Reason.ATTESTATION_MISSING, None, 1),
        ([ATTESTED], False, OLD_WORD, Reason.ATTESTATION_EXPIRED, None, 1),
        ([BOTH], True, LATER, None, NOW + 500, 1),
        ([BOTH], True, MET, None, NOW + 500, 1),
        ([BOTH], False, LATER, Reason.GRANT_MISSING, None, 1),
        ([BOTH], True, OLD_WORD, Reason.ATTESTATION_EXPIRED, None, 1),
        ([BOTH], False, NO_WORD, Reason.GRANT_MISSING, None, 1),
        # One that is met is enough, and the allow lasts as long as the last of them.
        ([GRANTED, ATTESTED], True, NO_WORD, None, NOW + 500, 1),
        ([GRANTED, ATTESTED], False, LATER, None, NOW + 900, 1),
        ([GRANTED, ATTESTED], True, LATER, None, NOW + 900, 2),
        ([GRANTED, "permit(principal, action, resource);"], False, MET, None, None, 1),
        ([GRANTED, "permit(principal, action, resource);"], True, MET, None, None, 2),
        # A permit for something else does not help.
        ([GRANTED, FREE], False, MET, Reason.GRANT_MISSING, None, 1),
        # No condition brings anything past a forbid.
        ([GRANTED, "forbid(principal, action, resource);"], True, MET, Reason.POLICY_DENIED, None, 1),
    ],
)
def test_table(
    monkeypatch: pytest.MonkeyPatch,
    policies: list[str],
    is_granted: bool,
    attested: Finding,
    reason: Reason | None,
    expires: int | None,
    count: int,
) -> None:
    monkeypatch.setattr(conditions, "check_attestation", lambda *_given, **_options: attested)
    court = Court(*policies)
    if is_granted:
        court.grant()
    found = court.ask()
    assert (found.reason, found.expires, len(found.policies)) == (reason, expires, count)


def test_the_first_unmet_condition_in_the_order_of_ids_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conditions, "check_attestation", lambda *_given, **_options: OLD_WORD)
    court = Court(GRANTED, ATTESTED)
    first = court.ask().policies[0]
    wanted = {GRANTED: Reason.GRANT_MISSING, ATTESTED: Reason.ATTESTATION_EXPIRED}
    assert court.machine.active_policies is not None
    assert court.ask().reason is wanted[court.machine.active_policies.policies[first]]
    assert court.ask().policies == tuple(sorted(court.ask().policies))
    assert len(court.ask().policies) == 2


@pytest.mark.parametrize(("about", "entity"), [("", 'Tool::"t"'), ('@attested("principal")', 'Agent::"a"')])
def test_what_is_asked_of_the_attestations(monkeypatch: pytest.MonkeyPatch, about: str, entity: str) -> None:
    asked: list[Any] = []

    def check(_machine: Any, *given: Any, **options: Any) -> Finding:
        asked.append((given, options))
        return MET

    monkeypatch.setattr(conditions, "check_attestation", check)
    digest = "ab" * 32
    text = f'@attestation_digest("sha256:{digest}") @attestation_max_age("60") {about} {ATTESTED}'
    assert Court(text).ask().is_allow
    assert asked == [((entity, "x:y"), {"path": ("root",), "digest": digest, "max_age_ms": 60_000, "wall": NOW})]


def test_an_allow_that_no_permit_determined_is_an_error() -> None:
    court = Court(GRANTED)
    reach = conditions.Reach(("A",), frozenset(), frozenset(), ("root",))
    found = conditions.check_conditions(court.machine, [], reach, "T", wall=NOW)
    assert found.reason is Reason.POLICY_ERROR


def test_the_evaluator_asks_even_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluator, "ask_policies", lambda *_given: Finding(None))
    assert Court(FREE).ask().reason is Reason.POLICY_ERROR


def test_policies_with_unknown_conditions_deny_everything() -> None:
    """Publishing refuses them where they are handed in; should they get past that, nothing is allowed."""
    court = Court('@requires_grnt("true") permit(principal, action, resource);', FREE)
    assert court.ask().reason is Reason.POLICY_ERROR
    assert court.ask(Request('Agent::"a"', 'Action::"stop"', 'Tool::"t"')).reason is Reason.POLICY_ERROR


# Boundaries.


def test_a_boundary_binds_what_policies_and_grants_allow() -> None:
    court = Court(GRANTED)
    court.grant()
    court.do(BoundarySet, id="b", level_max=2, subject='Group::"crew"', action='Action::"all"')
    assert court.ask().reason is Reason.BOUNDARY_EXCEEDED
    found = court.ask(Request(REQUEST.principal, REQUEST.action, REQUEST.resource, {"level": 2}))
    assert (found.reason, found.expires, len(found.policies)) == (None, NOW + 500, 1)


def test_what_policies_deny_is_told_first() -> None:
    court = Court(FREE)
    court.do(BoundarySet, id="b", level_max=2)
    assert court.ask().reason is Reason.POLICY_DENIED


def test_the_finding_carries_charges_and_the_first_end() -> None:
    court = Court(GRANTED)
    court.grant(not_after_grant=NOW + 100_000_000)
    court.do(BoundarySet, id="b", rate=Rate(6, 60), windows=(Window((0, 1, 2, 3, 4, 5, 6), 0, 1440),))
    found = court.ask()
    midnight = -(-NOW // 86_400_000) * 86_400_000
    assert found.expires == midnight
    assert [(charge.key, charge.most, charge.seconds) for charge in found.charges] == [('root/b/Agent::"a"', 6, 60)]
