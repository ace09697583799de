"""The vectors of evidence files: as they are written down, and as the verifier judges them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from govraft.testing.evidence_vectors import KINDS, make_vectors, outcome

VECTORS = Path(__file__).resolve().parent.parent / "vectors"


def read(kind: str) -> dict:
    return json.loads((VECTORS / f"{kind}.json").read_text(encoding="utf-8"))


def test_every_kind_is_written_down() -> None:
    assert sorted(path.stem for path in VECTORS.glob("*.json")) == sorted(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_down_is_what_is_made(kind: str) -> None:
    """If this fails on purpose: scripts/vectors, and say so in the changelog; other verifiers must follow."""
    assert read(kind) == {"kind": kind, "cases": json.loads(json.dumps(make_vectors(kind)))}


@pytest.mark.parametrize("kind", KINDS)
def test_the_verifier_agrees(kind: str) -> None:
    cases = read(kind)["cases"]
    assert len({case["name"] for case in cases}) == len(cases)
    for case in cases:
        expect, proven = outcome(case)
        assert (case["name"], expect) == (case["name"], case["expect"])
        assert json.loads(json.dumps(proven)) == case.get("proven")


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_both_sides(kind: str) -> None:
    found = [case["expect"] for case in read(kind)["cases"]]
    assert 1 <= found.count("ok") < len(found)


def test_what_no_verifier_may_accept() -> None:
    """Written twice, so that a verifier that grows lenient cannot write its own vectors unnoticed."""
    accepted = {case["name"] for kind in ("permit", "denial") for case in read(kind)["cases"] if case["expect"] == "ok"}
    assert accepted == {
        "two of three voters",
        "all voters",
        "a newline at the end",
        "single use, for its audience",
        "the first moment",
        "the last moment",
        "another spelling of the request",
        "on the seq that is known",
        "epoch 3",
        "a certificate of a day before",
        "the old certificate of a change",
        "a denial",
        "of a request that cannot be read",
        "a refusal to sign a permit",
        "of a node that isolated itself",
        "of one from before `node_isolated`",
        "of a member of epoch 3",
    }
