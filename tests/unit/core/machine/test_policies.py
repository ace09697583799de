"""Policy commands: accept, reject and boundary cases."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from govraft.core.machine.policies import bundle_digest, policy_id
from govraft.core.model import limits

ONE = "permit(principal, action, resource);"
TWO = "forbid(principal, action, resource);"
SCHEMA_2 = "entity Agent, Tool;"


def name_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_publish_and_activate(bench: Any) -> None:
    assert bench.publish(ONE, TWO) == "applied"
    (version,) = bench.machine.policy_versions
    assert (version.version, version.authors, version.seq) == (1, ("pat",), 2)
    assert version.digest == bundle_digest(version.schema_digest, version.policy_ids)
    assert bench.machine.active_policies is None
    assert bench.activate(1) == "applied"
    active: Any = bench.machine.active_policies
    assert active.policies == {name_of(ONE): ONE, name_of(TWO): TWO}
    assert list(active.policies) == sorted(active.policies)
    assert (active.version, active.digest) == (1, version.digest)
    assert active.schema.startswith("entity Agent;")
    assert bench.machine.active_policies is active


def test_a_version_changes_the_one_before(bench: Any) -> None:
    assert bench.publish(ONE) == "applied"
    assert bench.publish(TWO, removed=(name_of(ONE),)) == "applied"
    assert bench.machine.policy_bundle(2).policies == {name_of(TWO): TWO}
    assert bench.publish(schema=SCHEMA_2) == "applied"
    third = bench.machine.policy_bundle(3)
    assert (third.schema, third.policies) == (SCHEMA_2, {name_of(TWO): TWO})
    assert bench.publish(ONE, removed=(name_of(TWO),)) == "applied"
    assert bench.publish(removed=(name_of(ONE),)) == "applied"
    assert bench.machine.policy_bundle(5).policies == {}
    assert bench.machine.policy_bundle(1).policies == {name_of(ONE): ONE}
    assert bench.machine.policy_bundle(6) is None


@pytest.mark.clause("2 policy validity")
@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"version": 1}, "policy_version_conflict"),
        ({"version": 3}, "policy_version_conflict"),
        ({"expected": ""}, "policy_digest_conflict"),
        ({"expected": "0" * 64}, "policy_digest_conflict"),
        ({"removed": ("0" * 64,)}, "policy_unknown"),
        ({"removed": (name_of(ONE), name_of(ONE))}, "policy_unknown"),
        ({"policies": (ONE,)}, "policy_invalid"),
        ({"policies": (TWO, TWO)}, "policy_invalid"),
        ({"policies": (ONE,), "removed": (name_of(ONE),)}, "applied"),
        # Whether the policies fit a schema is found out when they are proposed.
        ({"schema": ""}, "applied"),
        ({"policies": (TWO + " " * (limits.POLICY_BYTES - len(TWO)),)}, "applied"),
        ({"policies": (TWO + " " * (limits.POLICY_BYTES - len(TWO) + 1),)}, "limit_exceeded"),
        ({"policies": ("é" * (limits.POLICY_BYTES // 2 + 1),)}, "limit_exceeded"),
    ],
)
def test_publish_table(bench: Any, fields: dict[str, Any], code: str) -> None:
    assert bench.publish(ONE) == "applied"
    before = bench.machine.sections["policies"]
    assert bench.publish(**fields) == code
    assert (bench.machine.sections["policies"] != before) == (code == "applied")


def test_the_first_version_needs_a_schema(bench: Any) -> None:
    assert bench.publish(ONE, schema=None) == "policy_invalid"
    assert bench.publish(ONE, version=2) == "policy_version_conflict"
    assert bench.publish(ONE, expected="0" * 64) == "policy_digest_conflict"
    assert bench.publish() == "applied"


@pytest.mark.parametrize(
    "text",
    [
        "permit(principal, action, resource) when { " + "(" * 40 + "true" + ")" * 40 + " };",
        "permit(principal, action, resource) when { " + "!" * 600 + "true };",
    ],
)
def test_hazards_are_refused(bench: Any, text: str) -> None:
    assert bench.publish(text) == "policy_hazardous"
    assert bench.publish(ONE) == "applied"
    assert bench.publish(text) == "policy_hazardous"
    assert bench.publish(schema="entity A { a: " + "Set<" * 40 + "Long" + ">" * 40 + " };") == "policy_hazardous"


def test_activate_table(bench: Any) -> None:
    assert bench.activate(1) == "policy_unknown"
    assert bench.publish(ONE) == bench.publish(TWO) == "applied"
    assert bench.activate(1, digest="0" * 64) == "policy_digest_conflict"
    assert bench.activate(3) == "policy_unknown"
    assert bench.activate(2) == "applied"


def test_activation_never_goes_back(bench: Any) -> None:
    assert bench.publish(ONE) == bench.publish(TWO) == "applied"
    assert bench.activate(2) == "applied"
    assert bench.activate(1) == "policy_version_conflict"
    assert bench.activate(2) == "policy_version_conflict"
    assert bench.machine.active_policies.version == 2


def test_old_versions_are_dropped_but_never_the_active_one(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "POLICY_VERSIONS_KEPT", 3)
    texts = [f'permit(principal == Agent::"{number}", action, resource);' for number in range(6)]
    assert bench.publish(texts[0]) == bench.publish(texts[1], removed=(name_of(texts[0]),)) == "applied"
    assert bench.activate(2) == "applied"
    before = bench.machine.active_policies
    for number in range(2, 6):
        assert (
            bench.publish(texts[number], schema=f"entity E{number};", removed=(name_of(texts[number - 1]),))
            == "applied"
        )
    assert [item.version for item in bench.machine.policy_versions] == [2, 5, 6]
    assert bench.machine.active_policies is before
    records = set(bench.machine.records("policies"))
    used = {name_of(texts[1]), name_of(texts[4]), name_of(texts[5])}
    assert {key.removeprefix("policy/") for key in records if key.startswith("policy/")} == used
    assert sum(key.startswith("schema/") for key in records) == 3
    for version in (2, 5, 6):
        assert bench.machine.policy_bundle(version) is not None


def test_texts_live_as_long_as_a_version_uses_them(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "POLICY_VERSIONS_KEPT", 3)
    key = f"policy/{name_of(ONE)}"
    assert bench.publish(ONE) == bench.publish(TWO) == "applied"
    assert bench.activate(2) == "applied"
    assert bench.publish(removed=(name_of(ONE),)) == "applied"
    # Version 1 goes; of those kept only the active one still has the policy.
    assert bench.publish() == "applied"
    assert [item.version for item in bench.machine.policy_versions] == [2, 3, 4]
    assert bench.machine.policy_bundle(2).policies == {name_of(ONE): ONE, name_of(TWO): TWO}
    assert bench.machine.active_policies.version == 2
    assert bench.activate(4) == "applied"
    assert bench.machine.active_policies.policies == {name_of(TWO): TWO}
    assert key in bench.machine.records("policies")
    assert bench.publish() == "applied"
    assert key not in bench.machine.records("policies")


def test_a_policy_that_comes_back_keeps_its_text(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "POLICY_VERSIONS_KEPT", 3)
    assert bench.publish(ONE) == bench.publish(TWO, removed=(name_of(ONE),)) == bench.publish() == "applied"
    # Version 1, the last one with this policy, is dropped in the same entry that brings it back.
    assert bench.publish(ONE) == "applied"
    assert bench.machine.policy_bundle(4).policies == {name_of(ONE): ONE, name_of(TWO): TWO}


def test_the_number_of_policies_is_limited(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "POLICIES", 2)
    assert bench.publish(ONE, TWO, ONE + " ") == "limit_exceeded"
    assert bench.publish(ONE, TWO) == "applied"
    assert bench.publish(ONE + " ") == "limit_exceeded"
    assert bench.publish(ONE + " ", removed=(name_of(ONE),)) == "applied"


def test_the_size_of_a_schema_is_limited(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SCHEMA_BYTES", len(SCHEMA_2))
    assert bench.publish(schema=SCHEMA_2 + " ") == "limit_exceeded"
    assert bench.publish(schema=SCHEMA_2) == "applied"


@pytest.mark.clause("6 deterministic policy identifiers")
def test_ids_and_digests_depend_on_every_byte() -> None:
    assert policy_id(ONE).hex() == name_of(ONE) != policy_id(ONE + " ").hex()
    ids = (bytes(32), b"\x01" * 32)
    assert bundle_digest(b"s" * 32, ids) != bundle_digest(b"t" * 32, ids) != bundle_digest(b"s" * 32, ids[:1])
