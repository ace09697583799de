"""Policies of domains: each publishes for itself, all share texts, only the root has a schema."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from govraft.core.machine.policies import bundle_digest
from govraft.core.model import limits
from govraft.core.model.commands import PolicyActivate

ONE = "permit(principal, action, resource);"
TWO = "forbid(principal, action, resource);"


def name_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def active(bench: Any, domain: str) -> Any:
    return bench.machine.state.policies.active_bundle(domain)


def test_each_domain_counts_its_own_versions(tree: Any) -> None:
    assert tree.publish_in("root", ONE) == tree.publish_in("eng", TWO, by="paula") == "applied"
    assert tree.publish_in("eng", ONE, by="paula") == tree.publish_in("web", ONE) == "applied"
    assert (active(tree, "root").version, active(tree, "eng").version, active(tree, "web").version) == (1, 2, 1)
    assert active(tree, "eng").policies == dict(sorted({name_of(ONE): ONE, name_of(TWO): TWO}.items()))
    assert tree.machine.active_policies.policies == {name_of(ONE): ONE}
    assert [item.version for item in tree.machine.policy_versions] == [1]
    keys = {key for key in tree.machine.records("policies") if key.startswith(("version", "active"))}
    assert keys == {
        "active",
        "active/eng",
        "active/web",
        "version/1",
        "version/eng/1",
        "version/eng/2",
        "version/web/1",
    }
    assert (
        active(tree, "web").digest == bundle_digest(b"", (bytes.fromhex(name_of(ONE)),)) != active(tree, "root").digest
    )
    assert active(tree, "eng") is active(tree, "eng")
    assert active(tree, "nosuch") is None


@pytest.mark.parametrize(
    ("domain", "by", "code"),
    [
        ("eng", "paula", "applied"),
        ("web", "paula", "applied"),
        ("ops", "paula", "threshold_unmet"),
        ("root", "paula", "threshold_unmet"),
        ("eng", "oscar", "threshold_unmet"),
        ("eng", "pat", "applied"),
        ("ops", "pat", "applied"),
        ("nosuch", "pat", "domain_unknown"),
        ("nosuch", "paula", "domain_unknown"),
    ],
)
def test_who_may_publish(tree: Any, domain: str, by: str, code: str) -> None:
    assert tree.publish_in(domain, ONE, by=by) == code


def test_a_version_is_activated_where_it_was_published(tree: Any) -> None:
    assert tree.publish_in("eng", ONE) == "applied"
    made = tree.machine.state.policies.of("eng").latest

    def activate(domain: str, by: str = "pat") -> str:
        code: str = tree.do(tree.command(PolicyActivate, domain=domain, version=1, digest=made.digest), by)
        return code

    assert activate("web") == activate("root") == "policy_unknown"
    assert activate("eng") == "policy_version_conflict"
    assert activate("nosuch") == "domain_unknown"
    assert activate("eng", "oscar") == "threshold_unmet"


def test_only_the_root_has_a_schema(tree: Any) -> None:
    assert tree.publish_in("eng", ONE, schema="entity Agent;") == "policy_invalid"
    assert tree.publish_in("eng", ONE) == "applied"
    assert active(tree, "eng").schema == ""
    assert tree.publish_in("root", ONE, schema=None) == "policy_invalid"


def test_texts_are_shared(tree: Any) -> None:
    assert tree.publish_in("root", ONE) == tree.publish_in("eng", ONE) == tree.publish_in("ops", ONE) == "applied"
    texts = [key for key in tree.machine.records("policies") if key.startswith("policy/")]
    assert texts == [f"policy/{name_of(ONE)}"]
    view = tree.machine.state.policies
    assert view.domains_of(bytes.fromhex(name_of(ONE))) == ("eng", "ops", "root")
    assert view.domains_of(bytes.fromhex(name_of(TWO))) == ()
    assert view.text(name_of(ONE)) == ONE
    for _ in range(limits.DOMAIN_POLICY_VERSIONS_KEPT):
        gone = (name_of(ONE),) if view.of("eng").latest.policy_ids else ()
        assert tree.publish_in("eng", removed=gone) == "applied"
    assert view.domains_of(bytes.fromhex(name_of(ONE))) == ("ops", "root")
    assert active(tree, "ops").policies == {name_of(ONE): ONE}


def test_kept_versions_and_policies_of_a_domain_are_limited(tree: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DOMAIN_POLICY_VERSIONS_KEPT", 3)
    monkeypatch.setattr(limits, "DOMAIN_POLICIES", 2)
    assert tree.publish_in("root", ONE, TWO, ONE + " ") == "applied"
    assert tree.publish_in("eng", ONE, TWO, ONE + " ") == "limit_exceeded"
    assert tree.publish_in("eng", ONE, TWO) == "applied"
    for _ in range(4):
        assert tree.publish_in("eng") == "applied"
    assert sorted(tree.machine.state.policies.of("eng").versions) == [3, 4, 5]
    assert tree.publish_in("eng", ONE + " ", removed=(name_of(ONE),)) == "applied"
    assert set(active(tree, "eng").policies) == {name_of(TWO), name_of(ONE + " ")}


def test_the_schema_to_fit_is_the_active_one_else_the_latest(bench: Any) -> None:
    view = bench.machine.state.policies
    assert view.schema() is None
    assert bench.publish(ONE, schema="entity Agent, Tool;") == "applied"
    assert view.schema() == "entity Agent, Tool;"
    assert bench.activate(1) == bench.publish(schema="entity Other;") == "applied"
    assert view.schema() == "entity Agent, Tool;"
    assert bench.activate(2) == "applied"
    assert view.schema() == "entity Other;"
