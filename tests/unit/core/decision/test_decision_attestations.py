"""Attestations in a decision: who disagrees, and whether what a policy demands is there and fresh."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from govraft.core.decision.attestations import check_attestation, find_disagreement
from govraft.core.decision.evaluator import evaluate
from govraft.core.decision.policy_shelf import PolicyShelf
from govraft.core.model.authority import Assignment, Role
from govraft.core.model.commands import AttestationResolve, Quarantine, Revoke, TargetKind
from govraft.core.model.reasons import Reason
from govraft.core.model.request import Request
from govraft.testing.attesting import ARTEFACT, SBOM, Attesting

AGENT, TOOL = 'Agent::"a"', 'Tool::"t"'
OTHER = hashlib.sha256(b"another artefact").hexdigest()
HOUR = 3_600_000


@pytest.fixture
def world() -> Attesting:
    return Attesting()


def check(world: Attesting, at: int = 0, **fields: Any) -> tuple[str, int | None]:
    """The code of the answer, and when it ends, both after the machine's time."""
    asked: dict[str, Any] = {"path": ("root",), "digest": None, "max_age_ms": None, "wall": world.time + at, **fields}
    found = check_attestation(world.machine, TOOL, SBOM, **asked)
    ends = None if found.expires is None else found.expires - world.time
    return ("allow" if found.reason is None else found.reason.value), ends


def test_nothing_is_attested(world: Attesting) -> None:
    assert check(world) == ("attestation_missing", None)
    assert world.attest(AGENT) == "applied"
    assert world.attest(TOOL, predicate_type="x:y") == "applied"
    assert check(world) == ("attestation_missing", None)


@pytest.mark.clause("2 attestation validity")
@pytest.mark.parametrize(
    ("at", "fields", "expected"),
    [
        (0, {}, ("allow", HOUR)),
        (HOUR - 1, {}, ("allow", HOUR)),
        (HOUR, {}, ("attestation_expired", None)),
        (0, {"max_age_ms": 1_000}, ("allow", 1_000)),
        (999, {"max_age_ms": 1_000}, ("allow", 1_000)),
        (1_000, {"max_age_ms": 1_000}, ("attestation_expired", None)),
        (0, {"max_age_ms": 0}, ("attestation_expired", None)),
        (0, {"max_age_ms": 2 * HOUR}, ("allow", HOUR)),
        (HOUR, {"max_age_ms": 2 * HOUR}, ("attestation_expired", None)),
        (0, {"digest": ARTEFACT}, ("allow", HOUR)),
        (0, {"digest": OTHER}, ("attestation_missing", None)),
        (HOUR, {"digest": OTHER}, ("attestation_missing", None)),
    ],
)
def test_time_table(world: Attesting, at: int, fields: dict[str, Any], expected: tuple[str, int | None]) -> None:
    assert world.attest(TOOL, life_ms=HOUR) == "applied"
    assert check(world, at, **fields) == expected


def test_the_last_to_expire_says_until_when(world: Attesting) -> None:
    assert world.attest(TOOL, life_ms=1_000) == "applied"
    assert world.attest(TOOL, "abe", life_ms=2_000) == "applied"
    assert check(world) == ("allow", 2_000)
    assert check(world, 1_999) == ("allow", 2_000)
    assert check(world, 2_000) == ("attestation_expired", None)


def test_what_does_not_count_is_missing_even_when_it_is_old(world: Attesting) -> None:
    assert world.attest(TOOL, life_ms=1_000) == "applied"
    command = world.command(Revoke, kind=TargetKind.ATTESTATION, id=world.last(TOOL), reason="forged")
    assert world.do(command, "olga") == "applied"
    assert check(world) == ("attestation_missing", None)
    assert check(world, 1_000) == ("attestation_missing", None)


# Disagreement.


def disagree(world: Attesting, entity: str, life_ms: int = HOUR) -> None:
    assert world.attest(entity, life_ms=life_ms) == "applied"
    assert world.attest(entity, "abe", predicate={"clean": False}) == "applied"


def ask(world: Attesting, at: int = 0) -> Reason | None:
    request = Request(AGENT, 'Action::"run"', TOOL)
    return evaluate(world.machine, PolicyShelf(), request, node_id="n1", wall=world.time + at).reason


@pytest.mark.clause("7 no unresolved execution continuation")
@pytest.mark.clause("8 fail-closed disagreement handling")
@pytest.mark.parametrize("entity", [AGENT, TOOL])
def test_what_attestors_disagree_on_is_denied(world: Attesting, entity: str) -> None:
    world.activate('permit(principal, action == Action::"run", resource);')
    assert world.attest(entity) == "applied"
    assert ask(world) is None
    assert world.attest(entity, "abe", predicate={"clean": False}) == "applied"
    assert ask(world) is Reason.ATTESTATION_DISAGREEMENT
    keep = world.last(entity)
    command = world.command(AttestationResolve, entity=entity, predicate_type=SBOM, keep=keep, reason="read both")
    assert world.do(command, "olga") == "applied"
    assert ask(world) is None


def test_expiry_ends_it_and_the_finding_says_when(world: Attesting) -> None:
    world.activate('permit(principal, action == Action::"run", resource);')
    disagree(world, TOOL, life_ms=1_000)
    found = find_disagreement(world.machine, (AGENT, TOOL), world.time)
    assert found is not None
    assert found.expires == world.time + 1_000
    assert "`abe`, `ada` disagree" in found.message
    assert ask(world, 999) is Reason.ATTESTATION_DISAGREEMENT
    assert ask(world, 1_000) is None


def test_a_group_is_not_its_members(world: Attesting) -> None:
    world.activate('permit(principal, action == Action::"run", resource);')
    world.place(AGENT, parents=('Team::"x"',))
    disagree(world, 'Team::"x"')
    assert ask(world) is None


def test_a_mark_comes_first(world: Attesting) -> None:
    world.activate('permit(principal, action == Action::"run", resource);')
    disagree(world, TOOL)
    assert world.do(world.command(Quarantine, kind=TargetKind.RESOURCE, id=TOOL, reason="x"), "olga") == "applied"
    assert ask(world) is Reason.QUARANTINED


def test_attestors_of_another_domain_are_not_trusted(world: Attesting) -> None:
    world.add_domain("web")
    world.add_domain("ops")
    world.place(TOOL, "web")
    world.add_authority("wanda", Assignment(Role.ATTESTOR, "web"))
    assert world.attest(TOOL, "wanda", domain="web") == "applied"
    assert check(world, path=("web", "root")) == ("allow", HOUR)
    assert check(world, path=("ops", "root")) == ("attestation_missing", None)
    assert check(world, path=("root",)) == ("attestation_missing", None)
    # Whoever holds the role above them all is trusted in each.
    assert world.attest(TOOL, "ada", statement=world.statement("ada")) == "applied"
    assert check(world, path=("ops", "root")) == ("allow", HOUR)
