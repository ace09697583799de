"""Entities of domains: who may put them where, and which parents and names they may have."""

from __future__ import annotations

from typing import Any

import pytest

from govraft.core.decision.evaluator import domain_of as domain_for
from govraft.core.model import limits
from govraft.core.model.commands import EntityDelete, EntityFields, EntityPatch, EntityPut, ThresholdSet

A, B, TEAM, ADMINS = 'Agent::"a"', 'Agent::"b"', 'Team::"t"', 'Team::"admins"'


def patch(bench: Any, uid: str, by: str, **fields: Any) -> str:
    defaults: dict[str, Any] = {"set": {}, "unset": (), "add_parents": (), "remove_parents": ()}
    code: str = bench.do(bench.command(EntityPatch, uid=uid, **{**defaults, **fields}), by)
    return code


def domain_of(bench: Any, uid: str) -> str:
    found: str = bench.machine.entities[uid].domain
    return found


def test_an_entity_keeps_its_domain_until_it_is_put_elsewhere(tree: Any) -> None:
    assert tree.put_into("web", (A, ()), by="oscar") == "applied"
    assert domain_of(tree, A) == "web"
    assert patch(tree, A, "oscar", set={"x": 1}) == "applied"
    assert domain_of(tree, A) == "web"
    assert tree.put((A, {}, ())) == "applied"
    assert domain_of(tree, A) == "root"
    assert dict(tree.machine.state.entities.counts) == {"root": 1}


# oscar is operator of eng, so of web too; olga of the root, so of all.
@pytest.mark.parametrize(
    ("before", "after", "by", "code"),
    [
        (None, "root", "oscar", "threshold_unmet"),
        (None, "ops", "oscar", "threshold_unmet"),
        (None, "eng", "oscar", "applied"),
        (None, "web", "oscar", "applied"),
        (None, "nosuch", "oscar", "domain_unknown"),
        (None, "nosuch", "olga", "domain_unknown"),
        ("web", "web", "oscar", "applied"),
        ("web", "eng", "oscar", "applied"),
        ("eng", "web", "oscar", "applied"),
        ("root", "eng", "oscar", "threshold_unmet"),
        ("ops", "eng", "oscar", "threshold_unmet"),
        ("eng", "root", "oscar", "threshold_unmet"),
        ("eng", "ops", "oscar", "threshold_unmet"),
        ("ops", "eng", "olga", "applied"),
        ("eng", "root", "olga", "applied"),
    ],
)
def test_who_may_put(tree: Any, before: str | None, after: str, by: str, code: str) -> None:
    if before is not None:
        assert tree.put_into(before, (A, ())) == "applied"
    # Another spelling of the name is the same entity.
    assert tree.put_into(after, ('Agent::"\\u{61}"', ()), by=by) == code
    if code == "applied":
        assert domain_of(tree, A) == after


def test_one_entity_elsewhere_decides_for_all(tree: Any) -> None:
    assert tree.put_into("ops", (A, ())) == "applied"
    assert tree.put_into("eng", (B, ()), (A, ()), by="oscar") == "threshold_unmet"
    assert tree.put_into("eng", (B, ()), by="oscar") == "applied"
    for uids, by, code in [((A, B), "oscar", "threshold_unmet"), ((B,), "oscar", "applied"), ((A,), "olga", "applied")]:
        assert tree.do(tree.command(EntityDelete, uids=uids), by) == code


def test_who_may_patch(tree: Any) -> None:
    assert tree.put_into("ops", (A, ())) == tree.put_into("web", (B, ())) == "applied"
    assert patch(tree, A, "oscar", set={"x": 1}) == "threshold_unmet"
    assert patch(tree, B, "oscar", set={"x": 1}) == "applied"
    # What does not exist is nobody's: only the root's operators are told what is wrong.
    assert patch(tree, 'Agent::"c"', "oscar", set={"x": 1}) == "threshold_unmet"
    assert patch(tree, 'Agent::"c"', "olga", set={"x": 1}) == "entity_unknown"
    assert patch(tree, "nonsense", "olga", set={"x": 1}) == "entity_invalid"


@pytest.mark.parametrize(
    ("place", "into", "code"),
    [
        ("eng", "eng", "applied"),
        ("web", "eng", "applied"),
        ("web", "web", "applied"),
        ("eng", "web", "applied"),
        ("root", "web", "parent_outside"),
        ("root", "eng", "parent_outside"),
        ("ops", "eng", "parent_outside"),
        (None, "eng", "parent_outside"),
    ],
)
def test_parents_of_other_domains_are_refused(tree: Any, place: str | None, into: str, code: str) -> None:
    if place is not None:
        assert tree.put_into(place, (ADMINS, ())) == "applied"
    assert tree.put_into(into, (A, (ADMINS,)), by="oscar") == code
    assert tree.put_into(into, (A, ()), by="oscar") == "applied"
    assert patch(tree, A, "oscar", add_parents=(ADMINS,)) == code
    # Who is operator of the root may name anything.
    assert tree.put_into("root", (B, (ADMINS,))) == tree.put_into("ops", (B, (ADMINS,))) == "applied"
    assert patch(tree, A, "olga", remove_parents=(ADMINS,) if code == "applied" else (), set={"x": 1}) == "applied"
    assert patch(tree, A, "olga", add_parents=(ADMINS,)) == "applied"


def test_a_put_may_bring_its_parents_along(tree: Any) -> None:
    assert tree.put_into("eng", (A, (TEAM,)), (TEAM, ()), by="oscar") == "applied"
    tree.assign("paula", "operator@web")
    # The operators of web sign for web alone.
    assert tree.put_into("web", (B, (TEAM,)), by="paula") == "parent_outside"
    assert tree.put_into("web", (B, ('Team::"w"',)), ('Team::"w"', ()), by="paula") == "applied"
    assert tree.put_into("eng", (TEAM, ('Team::"w"',)), by="oscar") == "applied"


def test_parents_given_by_others_stay(tree: Any) -> None:
    assert tree.put_into("root", (ADMINS, ())) == tree.put_into("eng", (A, (ADMINS,))) == "applied"
    assert domain_of(tree, A) == "eng"
    assert patch(tree, A, "oscar", set={"x": 1}) == "applied"
    assert tree.put_into("eng", (A, (ADMINS,)), by="oscar") == "applied"
    assert patch(tree, A, "oscar", remove_parents=(ADMINS,)) == "applied"
    assert patch(tree, A, "oscar", add_parents=(ADMINS,)) == "parent_outside"


def test_the_threshold_of_the_wider_domain_counts(tree: Any) -> None:
    assert tree.put_into("root", (ADMINS, ())) == "applied"
    tree.assign("ruth", "auditor@root", "operator@root", "root@root")
    for domain, count in (("root", 2), ("eng", 1)):
        command = tree.command(ThresholdSet, role="operator", domain=domain, count=count)
        assert tree.do(command, "rita", "ruth") == "applied"
    # One operator of the root is enough for eng, but does not speak for the root alone.
    assert tree.put_into("eng", (A, (ADMINS,))) == "parent_outside"
    put = tree.command(EntityPut, domain="eng", entities=(EntityFields(A, {}, (ADMINS,)),))
    assert tree.do(put, "olga", "oscar") == "parent_outside"
    again = tree.command(EntityPut, domain="eng", entities=put.entities)
    assert tree.do(again, "olga", "ruth") == "applied"


def test_a_name_that_is_a_parent_elsewhere_cannot_be_claimed(tree: Any) -> None:
    assert tree.put_into("root", (A, (ADMINS,))) == "applied"
    assert tree.put_into("eng", (ADMINS, ()), by="oscar") == "entity_claimed"
    assert tree.put_into("eng", (A, (ADMINS,))) == "applied"
    assert tree.put_into("eng", (ADMINS, ()), by="oscar") == "applied"
    assert tree.put_into("eng", (B, (TEAM,))) == tree.put_into("eng", (TEAM, ()), by="oscar") == "applied"
    # What is there already is put again by those whose it is, whoever names it.
    assert tree.put_into("ops", (B, (TEAM,))) == tree.put_into("eng", (TEAM, ()), by="oscar") == "applied"


@pytest.mark.parametrize(
    ("text", "domain", "code"),
    [
        (f"permit(principal in {ADMINS}, action, resource);", "root", "entity_claimed"),
        ('permit(principal in Team :: "adm\\u{69}ns", action, resource);', "root", "entity_claimed"),
        ('permit(principal in Team:://x\n"admins", action, resource);', "root", "entity_claimed"),
        (f"permit(principal, action, resource) when {{ principal in [{ADMINS}] }};", "ops", "entity_claimed"),
        (f"permit(principal in {ADMINS}, action, resource);", "eng", "applied"),
        (f"permit(principal in {ADMINS}, action, resource);", "web", "applied"),
        (f"permit(principal, action, resource); // {ADMINS}", "root", "applied"),
        (f"// {ADMINS}\npermit(principal, action, resource);", "root", "applied"),
        ('@note("Team::\\"admins\\"") permit(principal, action, resource);', "root", "applied"),
    ],
)
def test_names_in_use_elsewhere_cannot_be_claimed(tree: Any, text: str, domain: str, code: str) -> None:
    assert tree.publish_in(domain, text) == "applied"
    assert tree.put_into("eng", (ADMINS, ()), by="oscar") == code
    # The operators of the root may hand it over; from then on it is there.
    assert tree.put_into("eng", (ADMINS, ())) == "applied"
    assert tree.put_into("eng", (ADMINS, ()), by="oscar") == "applied"


def test_a_name_is_free_again_with_the_last_version_that_uses_it(tree: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DOMAIN_POLICY_VERSIONS_KEPT", 3)
    text = f"permit(principal in {ADMINS}, action, resource);"
    assert tree.publish_in("ops", text) == "applied"
    (name,) = tree.machine.state.policies.of("ops").latest.policy_ids
    assert tree.publish_in("ops", removed=(name.hex(),)) == tree.publish_in("ops") == "applied"
    assert tree.machine.state.policies.naming(ADMINS) == ("ops",)
    assert tree.put_into("eng", (ADMINS, ()), by="oscar") == "entity_claimed"
    assert tree.publish_in("ops") == "applied"
    assert tree.machine.state.policies.naming(ADMINS) == ()
    assert tree.put_into("eng", (ADMINS, ()), by="oscar") == "applied"


def test_a_deleted_resource_is_still_decided_in_its_domain(tree: Any) -> None:
    assert tree.put_into("web", (A, ())) == "applied"
    assert tree.do(tree.command(EntityDelete, uids=(A,)), "oscar") == "applied"
    view = tree.machine.state.entities
    assert A not in tree.machine.entities
    assert domain_for(tree.machine, A) == "web"
    assert dict(view.counts) == {"web": 1}
    # It is gone for whoever patches or deletes it, and comes back only where its domain's operators put it.
    assert patch(tree, A, "oscar", set={"x": 1}) == "entity_unknown"
    assert tree.do(tree.command(EntityDelete, uids=(A,)), "oscar") == "entity_unknown"
    assert tree.put_into("ops", (A, ()), by="oscar") == "threshold_unmet"
    assert tree.put_into("root", (A, ()), by="oscar") == "threshold_unmet"
    assert tree.put_into("web", (A, ()), by="oscar") == "applied"
    assert (view.gone, dict(view.counts)) == ({}, {"web": 1})


def test_the_root_deletes_for_good(tree: Any) -> None:
    assert tree.put_into("web", (A, ()), (B, ())) == "applied"
    assert tree.do(tree.command(EntityDelete, uids=(A,)), "oscar") == "applied"
    assert tree.do(tree.command(EntityDelete, uids=(A, B)), "olga") == "applied"
    view = tree.machine.state.entities
    assert (view.gone, dict(view.counts), domain_for(tree.machine, A)) == ({}, {}, "root")
    assert tree.do(tree.command(EntityDelete, uids=(A,)), "olga") == "entity_unknown"


def test_what_is_left_of_deleted_entities_counts_towards_the_limit(tree: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ENTITIES", 2)
    assert tree.put_into("web", (A, ()), (B, ())) == "applied"
    assert tree.do(tree.command(EntityDelete, uids=(A,)), "oscar") == "applied"
    assert tree.put((TEAM, {}, ())) == "limit_exceeded"
    assert tree.put_into("web", (A, ())) == "applied"
