"""Domain commands: accept, reject and boundary cases."""

from __future__ import annotations

from typing import Any

import pytest

from govraft.core.model import limits
from govraft.core.model.commands import (
    BoundaryRemove,
    BoundarySet,
    DomainCreate,
    DomainMove,
    DomainRemove,
    EntityDelete,
    GrantIssue,
    GrantRevoke,
    Quarantine,
    TargetKind,
    ThresholdSet,
)

ROOTS = ("rita", "ruth")
A = 'Agent::"a"'
PERMIT = "permit(principal, action, resource);"


def move(bench: Any, identifier: str, parent: str, *by: str) -> str:
    code: str = bench.do(bench.command(DomainMove, id=identifier, parent=parent), *(by or ROOTS))
    return code


def remove(bench: Any, identifier: str, *by: str) -> str:
    code: str = bench.do(bench.command(DomainRemove, id=identifier), *(by or ROOTS))
    return code


def path(bench: Any, identifier: str) -> tuple[str, ...]:
    found: tuple[str, ...] = bench.machine.state.domains.path(identifier)
    return found


def test_create(bench: Any) -> None:
    assert bench.create("eng") == bench.create("web", "eng") == "applied"
    assert path(bench, "web") == ("web", "eng", "root")
    domain = bench.machine.state.domains.domains["web"]
    assert (domain.parent, domain.authors, domain.seq, domain.time) == ("eng", ROOTS, 3, bench.time)
    assert bench.machine.state.domains.children("root") == ("eng",)


@pytest.mark.parametrize(
    ("identifier", "parent", "code"),
    [
        ("new", "root", "applied"),
        ("new", "web", "applied"),
        ("root", "root", "domain_exists"),
        ("eng", "root", "domain_exists"),
        ("eng", "ops", "domain_exists"),
        ("new", "nosuch", "domain_unknown"),
        ("new", "new", "domain_unknown"),
        ("New", "root", "payload_malformed"),
        ("a/b", "root", "payload_malformed"),
        ("", "root", "payload_malformed"),
        ("x" * 63, "root", "applied"),
        ("x" * 64, "root", "payload_malformed"),
    ],
)
def test_create_table(tree: Any, identifier: str, parent: str, code: str) -> None:
    before = tree.machine.sections["domains"]
    assert tree.create(identifier, parent) == code
    assert (tree.machine.sections["domains"] != before) == (code == "applied")


def test_who_may_create_and_remove(tree: Any) -> None:
    assert tree.create("x", by=("rita",)) == "threshold_unmet"
    assert tree.create("x", by=("olga", "pat")) == "threshold_unmet"
    tree.assign("oscar", "root@eng")
    assert tree.create("x", "eng", by=("oscar",)) == "threshold_unmet"
    assert tree.do(tree.command(ThresholdSet, role="root", domain="eng", count=1), *ROOTS) == "applied"
    assert tree.create("x", "eng", by=("oscar",)) == tree.create("y", "web", by=("oscar",)) == "applied"
    assert tree.create("z", "ops", by=("oscar",)) == tree.create("z", by=("oscar",)) == "threshold_unmet"
    # Who governs a domain does not remove the domain itself: that takes those above it.
    tree.assign("paula", "root@web")
    assert remove(tree, "y", "paula") == "applied"
    assert remove(tree, "x", "paula") == "threshold_unmet"
    assert remove(tree, "x", "oscar") == "applied"
    assert remove(tree, "web", "paula") == "threshold_unmet"


def test_who_may_move(tree: Any) -> None:
    assert tree.do(tree.command(ThresholdSet, role="root", domain="eng", count=1), *ROOTS) == "applied"
    tree.assign("oscar", "root@eng")
    assert tree.create("app", "eng") == tree.create("deep", "web") == "applied"
    assert move(tree, "deep", "app", "oscar") == "applied"
    assert move(tree, "deep", "ops", "oscar") == "threshold_unmet"
    assert move(tree, "ops", "eng", "oscar") == "threshold_unmet"
    assert move(tree, "eng", "ops", "oscar") == "threshold_unmet"
    assert move(tree, "deep", "ops") == "applied"
    # Out of its hands it cannot be taken back.
    assert move(tree, "deep", "web", "oscar") == "threshold_unmet"


@pytest.mark.parametrize(
    ("identifier", "parent", "code"),
    [
        ("web", "ops", "applied"),
        ("web", "root", "applied"),
        ("eng", "ops", "applied"),
        ("web", "eng", "domain_invalid"),
        ("eng", "eng", "domain_invalid"),
        ("eng", "web", "domain_invalid"),
        ("root", "eng", "domain_invalid"),
        ("nosuch", "eng", "domain_unknown"),
        ("web", "nosuch", "domain_unknown"),
    ],
)
def test_move_table(tree: Any, identifier: str, parent: str, code: str) -> None:
    before = tree.machine.sections["domains"]
    assert move(tree, identifier, parent) == code
    assert (tree.machine.sections["domains"] != before) == (code == "applied")
    assert path(tree, identifier)[1:2] == ((parent,) if code == "applied" else path(tree, identifier)[1:2])


def test_a_subtree_moves_with_its_domain(tree: Any) -> None:
    assert path(tree, "web") == ("web", "eng", "root")
    assert move(tree, "eng", "ops") == "applied"
    assert path(tree, "web") == ("web", "eng", "ops", "root")
    assert move(tree, "web", "root") == move(tree, "ops", "web") == "applied"
    assert path(tree, "eng") == ("eng", "ops", "web", "root")


def test_a_move_leaves_no_role_unable(tree: Any) -> None:
    assert tree.do(tree.command(ThresholdSet, role="operator", domain="web", count=3), *ROOTS) == "role_unable"
    assert tree.do(tree.command(ThresholdSet, role="operator", domain="web", count=2), *ROOTS) == "applied"
    assert move(tree, "web", "ops") == "role_unable"
    assert tree.do(tree.command(ThresholdSet, role="operator", domain="web", count=1), *ROOTS) == "applied"
    assert move(tree, "web", "ops") == "applied"


def test_depth_boundary(bench: Any) -> None:
    above = "root"
    for level in range(limits.DOMAIN_DEPTH):
        assert bench.create(f"d{level}", above) == "applied"
        above = f"d{level}"
    assert bench.create("deeper", above) == "limit_exceeded"
    assert bench.create("a") == bench.create("b", "a") == "applied"
    last = limits.DOMAIN_DEPTH - 1
    assert move(bench, "a", f"d{last - 1}") == "limit_exceeded"
    assert move(bench, "a", f"d{last - 2}") == "applied"
    assert len(path(bench, "b")) == limits.DOMAIN_DEPTH + 1
    assert move(bench, "b", f"d{last}") == "limit_exceeded"


def test_count_boundary(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DOMAINS", 2)
    assert bench.create("a") == bench.create("b") == "applied"
    assert bench.create("c") == "limit_exceeded"
    assert remove(bench, "a") == bench.create("c") == "applied"


def fill(bench: Any, kind: str) -> Any:
    """Put something into `ops`; what undoes it."""
    roots, command = ROOTS, bench.command
    if kind == "child":
        assert bench.create("below", "ops") == "applied"
        return lambda: remove(bench, "below")
    if kind == "entity":
        assert bench.put_into("ops", (A, ())) == "applied"
        return lambda: bench.do(command(EntityDelete, uids=(A,)))
    if kind == "policies":
        assert bench.publish_in("root") == bench.publish_in("ops", PERMIT) == "applied"
        name = bench.machine.state.policies.of("ops").latest.policy_ids[0].hex()
        return lambda: bench.publish_in("ops", removed=(name,))
    if kind == "grant":
        times = {"not_before": bench.time, "not_after_grant": bench.time + 1_000}
        lent = {"id": "g", "holder": A, "actions": ('Action::"run"',), "resources": ('Tool::"t"',), "domain": "ops"}
        assert bench.do(command(GrantIssue, **lent, **times, delegate=None, depth=0)) == "applied"
        return lambda: bench.do(command(GrantRevoke, id="g", reason="r"))
    if kind == "boundary":
        assert bench.do(command(BoundarySet, id="b", level_max=1, domain="ops")) == "applied"
        return lambda: bench.do(command(BoundaryRemove, id="b", domain="ops"))
    if kind == "role":
        bench.assign("oscar", "operator@eng", "operator@ops")
        return lambda: bench.assign("oscar", "operator@eng") or "applied"
    assert bench.do(command(ThresholdSet, role="operator", domain="ops", count=1), *roots) == "applied"
    return lambda: bench.do(command(ThresholdSet, role="operator", domain="ops", count=0), *roots)


@pytest.mark.parametrize("kind", ["child", "entity", "policies", "grant", "boundary", "role", "threshold"])
def test_remove_table(tree: Any, kind: str) -> None:
    undo = fill(tree, kind)
    before = tree.machine.sections["domains"]
    assert remove(tree, "ops") == "domain_in_use"
    assert tree.machine.sections["domains"] == before
    assert undo() == "applied"
    assert remove(tree, "ops") == "applied"
    assert path(tree, "ops") == ()


@pytest.mark.parametrize(("identifier", "code"), [("root", "domain_invalid"), ("nosuch", "domain_unknown")])
def test_what_cannot_be_removed(tree: Any, identifier: str, code: str) -> None:
    assert remove(tree, identifier) == code


def test_removal_takes_versions_texts_and_marks_along(tree: Any) -> None:
    assert tree.publish_in("root", PERMIT) == tree.publish_in("ops", PERMIT, PERMIT + " ") == "applied"
    policies = tree.machine.state.policies
    both = tuple(name.hex() for name in policies.of("ops").latest.policy_ids)
    assert tree.publish_in("ops", removed=both) == "applied"
    stop = tree.command(Quarantine, kind=TargetKind.DOMAIN, id="ops", reason="r")
    assert tree.do(stop) == "applied"
    assert remove(tree, "ops") == "applied"
    left = set(tree.machine.records("policies"))
    assert {key.partition("/")[0] for key in left} == {"active", "version", "schema", "policy"}
    # The text that the root uses too stays.
    assert sum(key.startswith("policy/") for key in left) == 1
    assert not any("ops" in key for key in left)
    assert not tree.machine.state.entities.marks
    assert "ops" not in policies.by_domain


def test_a_removed_name_rests(tree: Any) -> None:
    assert remove(tree, "ops") == "applied"
    end = tree.time + limits.DOMAIN_NAME_REST_MS
    assert tree.create("ops") == "domain_exists"

    def create_at(time: int) -> str:
        tree.time = time
        header = tree.cluster.header(not_after=time + 1_000)
        code: str = tree.do(DomainCreate(**header, id="ops", parent="eng"), *ROOTS)
        return code

    assert create_at(end - 1) == "domain_exists"
    assert create_at(end) == "applied"
    assert path(tree, "ops") == ("ops", "eng", "root")
    assert list(tree.machine.records("domains")) == ["domain/eng", "domain/web", "domain/ops"]


def test_names_that_rested_are_forgotten_a_few_at_a_time(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DOMAIN_NAME_REST_MS", 10)
    monkeypatch.setattr(limits, "DOMAIN_NAMES_PRUNED_PER_ENTRY", 2)
    monkeypatch.setattr(limits, "DOMAIN_NAMES_RESTING", 3)
    for name in ("d", "c", "b", "a"):
        assert bench.create(name) == "applied"
    for name in ("d", "b", "c"):
        assert remove(bench, name) == "applied"
    assert remove(bench, "a") == "limit_exceeded"
    bench.time += 10
    assert bench.create("x") == "applied"
    # All three are over at the same time: the order of the names decides, whatever was removed first.
    assert list(bench.machine.state.domains.resting) == ["d"]
    assert remove(bench, "a") == "applied"
    assert list(bench.machine.state.domains.resting) == ["a"]
