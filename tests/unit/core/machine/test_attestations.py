"""Attestations: each statement, each chain, and what counts."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest

from govraft.core.codec.envelope import pae, seal
from govraft.core.codec.in_toto import STATEMENT_TYPE, encode_statement
from govraft.core.machine.attestation_view import AttestationsView
from govraft.core.machine.attestations import counting
from govraft.core.model import limits
from govraft.core.model.authority import Assignment, Role
from govraft.core.model.commands import (
    AuthorityAssign,
    AuthorityResume,
    AuthoritySuspend,
    Quarantine,
    Release,
    Revoke,
    TargetKind,
    ThresholdSet,
)
from govraft.testing.attesting import ARTEFACT, SBOM, Attesting
from govraft.testing.sample import seeded_key

TOOL = 'Tool::"t"'
OTHER = hashlib.sha256(b"another artefact").hexdigest()
SCAN = "https://example.com/scan/v1"


@pytest.fixture
def world() -> Attesting:
    return Attesting()


def count(world: Attesting, entity: str = TOOL, kind: str = SBOM) -> list[str]:
    return [item.attestor for item in counting(world.machine.state, entity, kind, world.time)]


def test_what_is_on_record(world: Attesting) -> None:
    statement = world.statement(subjects={"b": OTHER, "a": ARTEFACT, "c": OTHER}, predicate={"n": [1, "x"]})
    assert world.attest('Tool::"\\u{74}"', statement=statement) == "applied"
    (item,) = world.machine.state.attestations.by_digest.values()
    assert item.digest == hashlib.sha256(statement).hexdigest() == world.last(TOOL)
    assert (item.entity, item.predicate_type, item.attestor) == (TOOL, SBOM, "ada")
    assert item.subjects == tuple(sorted((ARTEFACT, OTHER)))
    assert item.predicate == hashlib.sha256(b'{"n":[1,"x"]}').hexdigest()
    assert (item.seq, item.issued, item.expires) == (world.machine.seq, world.time, world.time + 3_600_000)
    assert (item.length, item.supersedes, item.dropped) == (1, None, None)
    assert list(world.machine.records("attestations")) == [f"attestation/{item.digest}"]


# The statement.


def spelled(world: Attesting, payload: bytes, kind: str = STATEMENT_TYPE, signers: tuple[str, ...] = ("ada",)) -> bytes:
    return world.cluster.sign_payload(kind, payload, signers)


def fields(**changes: Any) -> dict[str, Any]:
    subject = [{"name": "artefact", "digest": {"sha256": ARTEFACT}}]
    base = {"_type": "https://in-toto.io/Statement/v1", "subject": subject, "predicateType": SBOM, "predicate": {}}
    return {name: value for name, value in (base | changes).items() if value is not ...}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, "applied"),
        ({"predicate": {"deep": [[[{}]]]}}, "applied"),
        ({"subject": [{"digest": {"sha256": ARTEFACT, "sha1": "x"}, "uri": "pkg:a"}]}, "applied"),
        ({"_type": "https://in-toto.io/Statement/v0.1"}, "attestation_invalid"),
        ({"_type": ...}, "attestation_invalid"),
        ({"more": 1}, "attestation_invalid"),
        ({"predicate": []}, "attestation_invalid"),
        ({"predicate": {"score": 1.5}}, "attestation_invalid"),
        ({"predicate": {"score": 2**64}}, "attestation_invalid"),
        ({"predicate": {"text": "\ud800"}}, "attestation_invalid"),
        ({"predicateType": ""}, "attestation_invalid"),
        ({"predicateType": "no uri"}, "attestation_invalid"),
        ({"predicateType": "x:" + "y" * 254}, "applied"),
        ({"predicateType": "x:" + "y" * 255}, "attestation_invalid"),
        ({"predicateType": 7}, "attestation_invalid"),
        ({"subject": []}, "attestation_invalid"),
        ({"subject": {}}, "attestation_invalid"),
        ({"subject": [{"name": "a"}]}, "attestation_invalid"),
        ({"subject": [{"name": "a", "digest": {"sha256": "0" * 63}}]}, "attestation_invalid"),
        ({"subject": [{"name": "a", "digest": {"sha256": "A" * 64}}]}, "attestation_invalid"),
        ({"subject": [{"name": "a", "digest": {"sha512": "0" * 128}}]}, "attestation_invalid"),
        ({"subject": [{"name": 1, "digest": {"sha256": ARTEFACT}}]}, "attestation_invalid"),
        ({"subject": [{"nom": "a", "digest": {"sha256": ARTEFACT}}]}, "attestation_invalid"),
        ({"subject": [{"digest": {"sha256": ARTEFACT}}] * 64}, "applied"),
        ({"subject": [{"digest": {"sha256": ARTEFACT}}] * 65}, "limit_exceeded"),
    ],
)
def test_statements(world: Attesting, changes: dict[str, Any], code: str) -> None:
    statement = spelled(world, json.dumps(fields(**changes), indent=1).encode())
    assert world.attest(TOOL, statement=statement) == code


def test_bytes_that_are_no_statement(world: Attesting) -> None:
    good = encode_statement(SBOM, {"a": ARTEFACT}, {})
    deep = b'{"a":' * 70 + b"{}" + b"}" * 70
    bottomless = b'{"a":' + b"[" * 20_000
    for payload in (b"", b"[]", b"{", good + b"x", good[:-1] + b',"predicate":{}}', b"\xff", deep, bottomless):
        assert world.attest(TOOL, statement=spelled(world, payload)) == "attestation_invalid", payload[:80]
    assert world.attest(TOOL, statement=spelled(world, good, "application/json")) == "attestation_invalid"
    raw = world.statement()
    text = base64.b64encode(raw + b" " * ((1 - len(raw)) % 3)).decode()
    assert text.endswith("Q==") or text.endswith("A==")
    stray_bits = f"{text[:-3]}{chr(ord(text[-3]) + 1)}=="
    assert base64.b64decode(stray_bits) == base64.b64decode(text)
    for spoiled in ("", "e30=", "AAAA", text[:-1], stray_bits):
        assert world.attest(TOOL, statement=spoiled) == "attestation_invalid", spoiled[-9:]
    assert world.machine.records("attestations") == {}


def test_who_signed_the_statement(world: Attesting) -> None:
    """It is the author's own, whatever the key id says, which is a hint and which other tools write otherwise."""
    payload = encode_statement(SBOM, {"a": ARTEFACT}, {})
    message = pae(STATEMENT_TYPE, payload)
    for name, code in {
        "abe": "signature_invalid",
        "olga": "signature_invalid",
        "stranger": "signature_invalid",
    }.items():
        signature = seeded_key(f"authority {name}").sign(message)
        statement = seal(
            STATEMENT_TYPE, payload, [(world.cluster.authority_keys["ada"].public_key().public_bytes_raw(), signature)]
        )
        assert world.attest(TOOL, statement=statement) == code
    both = spelled(world, payload, signers=("ada", "abe"))
    assert world.attest(TOOL, statement=both) == "attestation_invalid"
    assert world.attest(TOOL, statement=spelled(world, payload, signers=())) == "attestation_invalid"
    opened = json.loads(spelled(world, payload))
    opened["signatures"][0]["keyid"] = ""
    assert world.attest(TOOL, statement=json.dumps(opened).encode()) == "applied"


def test_who_signs_the_command(world: Attesting) -> None:
    assert world.attest(TOOL, signers=("olga",)) == "threshold_unmet"
    assert world.attest(TOOL, signers=("abe",)) == "signature_invalid"
    assert world.do(world.command(ThresholdSet, role=Role.ATTESTOR, count=2), "rita", "ruth") == "applied"
    assert world.attest(TOOL) == "threshold_unmet"
    assert world.attest(TOOL, signers=("abe", "ada")) == "applied"
    assert count(world) == ["ada"]


@pytest.mark.parametrize(
    ("uid", "code"),
    [
        ("Tool", "entity_invalid"),
        ('Action::"run"', "entity_invalid"),
        ('Tool::"t"', "applied"),
        ('A::B::"x"', "applied"),
    ],
)
def test_entities(world: Attesting, uid: str, code: str) -> None:
    assert world.attest(uid) == code


def test_time(world: Attesting) -> None:
    assert world.attest(TOOL, life_ms=0) == "attestation_invalid"
    assert world.attest(TOOL, life_ms=limits.ATTESTATION_LIFE_MS + 1) == "limit_exceeded"
    assert world.attest(TOOL, life_ms=1) == "applied"
    assert world.attest(TOOL, life_ms=limits.ATTESTATION_LIFE_MS, predicate={"n": 1}) == "applied"


# Domains.


def test_domains(world: Attesting) -> None:
    world.add_domain("west")
    world.add_domain("mine", "west")
    world.add_domain("east")
    world.place(TOOL, "mine")
    world.add_authority("wes", Assignment(Role.ATTESTOR, "west"))
    assert world.attest(TOOL, domain="nowhere") == "domain_unknown"
    assert world.attest(TOOL, domain="east") == "domain_invalid"
    assert world.attest(TOOL, "wes") == "threshold_unmet"
    assert world.attest(TOOL, "wes", domain="east") == "threshold_unmet"
    assert world.attest('Tool::"unregistered"', "wes", domain="west") == "domain_invalid"
    assert world.attest(TOOL, "wes", domain="west") == "applied"
    assert world.attest(TOOL, domain="mine") == "applied"
    assert count(world) == ["ada", "wes"]
    # Where the entity goes, the word of an attestor of elsewhere does not follow.
    world.place(TOOL, "east")
    assert count(world) == ["ada"]
    world.place(TOOL, "west")
    assert count(world) == ["ada", "wes"]


# The chain.


@pytest.mark.clause("6 attestation verification continuity")
def test_continuity(world: Attesting) -> None:
    wrong = "0" * 64
    assert world.attest(TOOL, supersedes=wrong) == "attestation_continuity"
    assert world.attest(TOOL) == "applied"
    first = world.last(TOOL)
    assert world.attest(TOOL, predicate={"n": 2}, supersedes=None) == "attestation_continuity"
    assert world.attest(TOOL, predicate={"n": 2}, supersedes=wrong) == "attestation_continuity"
    # Not its own, and not again as it is.
    assert world.attest(TOOL) == "attestation_continuity"
    assert world.attest('Tool::"other"', statement=world.statement()) == "attestation_continuity"
    assert world.attest(TOOL, predicate={"n": 2}) == "applied"
    item = world.machine.state.attestations.heads(TOOL, SBOM)["ada"]
    assert (item.length, item.supersedes) == (2, first)
    assert list(world.machine.records("attestations")) == [f"attestation/{item.digest}"]
    assert world.attest(TOOL, predicate={"n": 3}, supersedes=first) == "attestation_continuity"


def test_each_attestor_entity_and_type_has_its_own_chain(world: Attesting) -> None:
    assert world.attest(TOOL) == "applied"
    assert world.attest(TOOL, "abe", supersedes=world.last(TOOL)) == "attestation_continuity"
    assert world.attest(TOOL, "abe") == "applied"
    assert world.attest(TOOL, predicate_type=SCAN) == "applied"
    assert world.attest('Tool::"u"', predicate={"n": 1}) == "applied"
    assert len(world.machine.records("attestations")) == 4


def test_an_expired_one_is_followed_too(world: Attesting) -> None:
    assert world.attest(TOOL, life_ms=1_000) == "applied"
    world.time += 1_000
    assert count(world) == []
    assert world.attest(TOOL, predicate={"n": 2}, supersedes=None) == "attestation_continuity"
    assert world.attest(TOOL, predicate={"n": 2}) == "applied"
    assert count(world) == ["ada"]


def test_at_the_limit_the_longest_expired_makes_room(world: Attesting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ATTESTATIONS", 2)
    assert world.attest(TOOL, life_ms=2_000) == "applied"
    assert world.attest(TOOL, "abe", life_ms=1_000) == "applied"
    assert world.attest(TOOL, predicate_type=SCAN) == "limit_exceeded"
    # A chain goes on at the limit.
    assert world.attest(TOOL, "abe", life_ms=1_000, predicate={"n": 2}) == "applied"
    world.time += 999
    assert world.attest(TOOL, predicate_type=SCAN) == "limit_exceeded"
    world.time += 1
    assert world.attest(TOOL, predicate_type=SCAN) == "applied"
    assert world.last(TOOL, "abe") is None
    assert world.last(TOOL) is not None
    # Whose chain was forgotten begins a new one.
    world.time += 1_000
    assert world.attest(TOOL, "abe", predicate={"n": 3}) == "applied"
    assert world.last(TOOL) is None


def test_what_was_superseded_leaves_nothing_behind(world: Attesting) -> None:
    for number in range(300):
        assert world.attest(TOOL, predicate={"n": number}) == "applied"
    view = world.machine.state.attestations
    assert (len(view.by_digest), len(world.machine.records("attestations"))) == (1, 1)
    assert len(view._expiries) < 100
    assert view.longest_expired(world.time + 3_600_000) is view.heads(TOOL, SBOM)["ada"]


def test_one_that_comes_back_has_its_new_time(world: Attesting) -> None:
    first = world.statement()
    assert world.attest(TOOL, statement=first, life_ms=1_000) == "applied"
    assert world.attest(TOOL, predicate={"n": 2}) == "applied"
    assert world.attest(TOOL, statement=first, life_ms=5_000) == "applied"
    view = world.machine.state.attestations
    assert view.longest_expired(world.time + 1_000) is None
    assert view.longest_expired(world.time + 5_000) is view.heads(TOOL, SBOM)["ada"]


def test_the_view_takes_changes_in_any_order(world: Attesting) -> None:
    assert world.attest(TOOL) == "applied"
    old = dict(world.machine.records("attestations"))
    assert world.attest(TOOL, predicate={"n": 2}) == "applied"
    new = dict(world.machine.records("attestations"))
    (old_key, new_key), view = (*old, *new), AttestationsView()
    view.note(old_key, old[old_key])
    view.note(new_key, new[new_key])
    view.note(old_key, None)
    assert view.heads(TOOL, SBOM) == world.machine.state.attestations.heads(TOOL, SBOM)
    view.note(new_key, None)
    assert (view.by_digest, view.by_entity) == ({}, {})


# What counts.


def enforce(world: Attesting, kind: Any, digest: str) -> str:
    return world.do(world.command(kind, kind=TargetKind.ATTESTATION, id=digest, reason="why"), "olga")


def test_what_does_not_count(world: Attesting) -> None:
    assert world.attest(TOOL) == "applied"
    digest = str(world.last(TOOL))
    assert count(world) == ["ada"]
    assert enforce(world, Quarantine, digest) == "applied"
    assert count(world) == []
    assert enforce(world, Release, digest) == "applied"
    assert count(world) == ["ada"]
    roots = ("rita", "ruth")
    assert world.do(world.command(AuthoritySuspend, id="ada", reason="away"), *roots) == "applied"
    assert count(world) == []
    assert world.do(world.command(AuthorityResume, id="ada", reason="back"), *roots) == "applied"
    assert count(world) == ["ada"]
    auditor = (Assignment(Role.AUDITOR, "root"),)
    assert world.do(world.command(AuthorityAssign, id="ada", assignments=auditor), *roots) == "applied"
    assert count(world) == []
    attestor = (Assignment(Role.ATTESTOR, "root"),)
    assert world.do(world.command(AuthorityAssign, id="ada", assignments=attestor), *roots) == "applied"
    assert count(world) == ["ada"]
    assert enforce(world, Revoke, digest) == "applied"
    assert count(world) == []
    # The next one is another attestation.
    assert world.attest(TOOL, predicate={"n": 2}) == "applied"
    assert count(world) == ["ada"]


def test_the_last_millisecond(world: Attesting) -> None:
    assert world.attest(TOOL, life_ms=1_000) == "applied"
    world.time += 999
    assert count(world) == ["ada"]
    world.time += 1
    assert count(world) == []
