"""Disagreements of attestors: what is one, what ends one, and who may settle it."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from govraft.core.machine.attestations import counting, disagreeing
from govraft.core.model import limits
from govraft.core.model.authority import Assignment, Role
from govraft.core.model.commands import AttestationResolve, Isolate, ThresholdSet
from govraft.testing.attesting import ARTEFACT, SBOM, Attesting

TOOL = 'Tool::"t"'
OTHER = hashlib.sha256(b"another artefact").hexdigest()
SCAN = "https://example.com/scan/v1"


@pytest.fixture
def world() -> Attesting:
    return Attesting()


def count(world: Attesting, entity: str = TOOL, kind: str = SBOM) -> list[str]:
    return [item.attestor for item in counting(world.machine.state, entity, kind, world.time)]


def resolve(world: Attesting, keep: str | None, *authors: str, **fields: Any) -> str:
    defaults = {"entity": TOOL, "predicate_type": SBOM, "keep": keep, "reason": "looked at both"}
    return world.do(world.command(AttestationResolve, **{**defaults, **fields}), *(authors or ("olga",)))


@pytest.mark.parametrize(
    ("other", "disagree"),
    [
        ({}, False),
        ({"subjects": {"another name": ARTEFACT}}, False),
        ({"subjects": {"artefact": OTHER}}, True),
        ({"subjects": {"artefact": ARTEFACT, "more": OTHER}}, True),
        ({"predicate": {"clean": False}}, True),
        ({"predicate_type": SCAN, "predicate": {"clean": False}}, False),
    ],
)
def test_disagreement_table(world: Attesting, other: dict[str, Any], disagree: bool) -> None:
    assert world.attest(TOOL) == "applied"
    assert world.attest(TOOL, "abe", **other) == "applied"
    found = disagreeing(world.machine.state, TOOL, SBOM, world.time)
    assert [item.attestor for item in found] == (["abe", "ada"] if disagree else [])
    assert resolve(world, world.last(TOOL)) == ("applied" if disagree else "attestation_unknown")


def disagree(world: Attesting) -> tuple[str, str]:
    assert world.attest(TOOL) == "applied"
    assert world.attest(TOOL, "abe", predicate={"clean": False}) == "applied"
    assert count(world) == ["abe", "ada"]
    return str(world.last(TOOL, "ada")), str(world.last(TOOL, "abe"))


@pytest.mark.parametrize(("keep", "left"), [(0, ["ada"]), (1, ["abe"]), (None, [])])
def test_a_resolution_keeps_one_or_none(world: Attesting, keep: int | None, left: list[str]) -> None:
    both = disagree(world)
    assert resolve(world, None if keep is None else both[keep], reason="the scanner was old") == "applied"
    assert count(world) == left
    dropped = [item for item in world.machine.state.attestations.by_digest.values() if item.dropped is not None]
    assert len(dropped) == 2 - len(left)
    for item in dropped:
        assert item.dropped is not None
        assert (item.dropped.reason, item.dropped.authors, item.dropped.seq) == (
            "the scanner was old",
            ("olga",),
            world.machine.seq,
        )
    assert resolve(world, None) == "attestation_unknown"


def test_a_resolution_holds_until_another_attestation_comes(world: Attesting) -> None:
    ada, abe = disagree(world)
    assert resolve(world, ada) == "applied"
    assert count(world) == ["ada"]
    assert world.attest(TOOL, "abe", predicate={"clean": 0}, supersedes=None) == "attestation_continuity"
    assert world.attest(TOOL, "abe", predicate={"clean": 0}, supersedes=abe) == "applied"
    assert disagreeing(world.machine.state, TOOL, SBOM, world.time)
    # They can agree by themselves.
    assert world.attest(TOOL, "abe", predicate={"clean": True}) == "applied"
    assert count(world) == ["abe", "ada"]
    assert not disagreeing(world.machine.state, TOOL, SBOM, world.time)


def test_expiry_and_marks_end_a_disagreement(world: Attesting) -> None:
    assert world.attest(TOOL, life_ms=1_000) == "applied"
    assert world.attest(TOOL, "abe", predicate={"clean": False}) == "applied"
    assert disagreeing(world.machine.state, TOOL, SBOM, world.time)
    assert not disagreeing(world.machine.state, TOOL, SBOM, world.time + 1_000)
    assert world.mark(Isolate, "attestation", str(world.last(TOOL, "abe"))) == "applied"
    assert not disagreeing(world.machine.state, TOOL, SBOM, world.time)


def test_resolutions_that_are_refused(world: Attesting) -> None:
    ada, _ = disagree(world)
    assert resolve(world, "0" * 64) == "attestation_unknown"
    assert resolve(world, ada, predicate_type=SCAN) == "attestation_unknown"
    assert resolve(world, ada, entity='Tool::"u"') == "attestation_unknown"
    assert resolve(world, ada, entity="Tool") == "entity_invalid"
    assert resolve(world, ada, "ada") == "threshold_unmet"
    assert resolve(world, ada, reason="x" * (limits.REASON_CHARS + 1)) == "limit_exceeded"
    world.add_domain("west")
    world.add_authority("wanda", Assignment(Role.OPERATOR, "west"))
    assert resolve(world, ada, "wanda") == "threshold_unmet"
    world.place(TOOL, "west")
    assert resolve(world, ada, "wanda", reason="x" * limits.REASON_CHARS) == "applied"


def test_two_operators_where_it_takes_two(world: Attesting) -> None:
    ada, _ = disagree(world)
    assert world.do(world.command(ThresholdSet, role=Role.OPERATOR, count=2), "rita", "ruth") == "applied"
    assert resolve(world, ada) == "threshold_unmet"
    assert resolve(world, ada, "olga", "oscar") == "applied"
