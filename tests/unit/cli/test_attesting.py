"""Statements, disagreements, and every kind of target on the command line."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from pathlib import Path

import pytest

from govraft.core.codec.in_toto import STATEMENT_TYPE, decode_statement, encode_statement
from govraft.testing.sample import SampleCluster

TOOL = 'Tool::"t"'
SCAN = "https://example.com/scan/v1"
ARTEFACT = hashlib.sha256(b"an artefact").hexdigest()


@pytest.fixture
def sample() -> SampleCluster:
    return SampleCluster(policies_needed=2, attestors=2)


@pytest.fixture
def predicate(tmp_path: Path) -> Path:
    path = tmp_path / "predicate.json"
    path.write_text('{"clean": true}')
    return path


def attest(cluster, predicate: Path, *more: object, expires: str = "90d"):
    return cluster(
        "attest",
        predicate,
        "--entity",
        TOOL,
        "--expires",
        expires,
        "--type",
        SCAN,
        "--subject",
        f"app={ARTEFACT}",
        *more,
    )


def on_record(cluster) -> list:
    return sorted(cluster.node.machine.state.attestations.by_digest.values(), key=lambda item: item.attestor)


def test_a_predicate_becomes_a_statement(cluster, predicate: Path) -> None:
    before = time.time_ns() // 1_000_000
    done = attest(cluster, predicate, "--key", "ada", "-o", "json")
    assert done.code == 0, done.err
    (item,) = on_record(cluster)
    assert done.data["attestation"] == item.digest
    assert done.data["receipt"]["outcome"] == "applied"
    assert (item.entity, item.predicate_type, item.attestor, item.subjects) == (TOOL, SCAN, "ada", (ARTEFACT,))
    assert 0 <= item.expires - before - 90 * 86_400_000 < 60_000


def test_the_next_statement_follows_the_last(cluster, predicate: Path) -> None:
    assert attest(cluster, predicate, "--key", "ada").code == 0
    assert attest(cluster, predicate, "--key", "abe").code == 0
    first = cluster.node.machine.state.attestations.heads(TOOL, SCAN)["ada"].digest
    predicate.write_text('{"clean": true, "again": 1}')
    assert attest(cluster, predicate, "--key", "ada").code == 0
    assert cluster.node.machine.state.attestations.heads(TOOL, SCAN)["ada"].supersedes == first
    predicate.write_text('{"clean": true, "again": 2}')
    for wrong in ("none", first):
        done = attest(cluster, predicate, "--key", "ada", "--supersedes", wrong)
        assert (done.code, "[attestation_continuity]" in done.err) == (1, True)


@pytest.mark.clause("5 attestation systems")
def test_a_ready_envelope(cluster, sample, tmp_path: Path) -> None:
    payload = encode_statement(SCAN, {"app": ARTEFACT}, {"clean": True})
    path = tmp_path / "statement.json"
    path.write_bytes(json.dumps(json.loads(sample.sign_payload(STATEMENT_TYPE, payload, ["abe"])), indent=1).encode())
    asked = ("attest", path, "--entity", TOOL, "--expires", "1h")
    other = cluster(*asked, "--key", "ada")
    assert (other.code, "[signature_invalid]" in other.err) == (1, True)
    done = cluster(*asked, "--key", "abe", "-o", "json")
    assert done.code == 0, done.err
    assert done.data["attestation"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert cluster(*asked, "--subject", f"app={ARTEFACT}").code == 2
    for text in ("", "{}", sample.sign_payload("text/plain", payload, ["abe"]).decode()):
        path.write_text(text)
        assert cluster(*asked).code == 2


def test_a_dry_run_shows_what_would_be_recorded(cluster, predicate: Path) -> None:
    done = attest(cluster, predicate, "--key", "ada", "--dry-run", "--supersedes", "none")
    assert (done.code, cluster.node.machine.seq) == (0, 1)
    command = json.loads(base64.b64decode(json.loads(done.out)["payload"]))
    statement = json.loads(base64.b64decode(command["statement"]))
    assert decode_statement(base64.b64decode(statement["payload"])).predicate_type == SCAN
    assert "signed by ada" in done.err


@pytest.mark.parametrize(
    ("more", "expires"),
    [
        ((), "1x"),
        ((), "0d"),
        ((), "401d"),
        ((), "2020-01-01T00:00:00Z"),
        ((), "2999-01-01T00:00:00Z"),
        ((), "2030-01-01T00:00:00"),
        (("--subject", "app"), "1d"),
        (("--subject", f"app={ARTEFACT}"), "1d"),
        (("--subject", "lib=abc"), "1d"),
        (("--supersedes", "x"), "1d"),
        (("--domain", "No Domain"), "1d"),
        (("--type", "no uri"), "1d"),
        (("--entity", "nobody"), "1d"),
        (("--key", "olga"), "1d"),
    ],
)
def test_bad_input_is_2_and_one_line(cluster, predicate: Path, more: tuple[str, ...], expires: str) -> None:
    keys = () if "--key" in more else ("--key", "ada")
    done = attest(cluster, predicate, *more, *keys, expires=expires)
    assert (done.code, done.out, cluster.node.machine.seq) == (2, "", 1)
    assert len(done.err.strip().splitlines()) == 1, done.err


def test_bad_predicates_are_2(cluster, predicate: Path) -> None:
    for text in ("", "[]", "{", '{"a":1,"a":2}', '{"score": 0.5}', "\udcff"):
        predicate.write_bytes(text.encode("utf-8", errors="surrogateescape"))
        assert attest(cluster, predicate, "--key", "ada").code == 2, text


def disagree(cluster, predicate: Path) -> None:
    assert attest(cluster, predicate, "--key", "ada").code == 0
    predicate.write_text('{"clean": false}')
    assert attest(cluster, predicate, "--key", "abe").code == 0


def test_list_and_show(cluster, predicate: Path) -> None:
    disagree(cluster, predicate)
    other = cluster(
        "attest", predicate, "--entity", 'Tool::"u"', "--expires", "1d", "--type", "x:y", "--subject", f"a={ARTEFACT}"
    )
    assert other.code == 0, other.err
    every = cluster("attestation", "list", "-o", "json").data
    assert [item["digest"] for item in every] == sorted(item.digest for item in on_record(cluster))
    assert {item["attestor"] for item in cluster("attestation", "list", "--disputed", "-o", "json").data} == {
        "abe",
        "ada",
    }
    about = cluster("attestation", "list", "--entity", 'Tool::"\\u{75}"', "-o", "json").data
    assert [item["entity"] for item in about] == ['Tool::"u"']
    assert "disputed" in cluster("attestation", "list").out
    shown = cluster("attestation", "show", about[0]["digest"])
    assert (shown.code, "counts" in shown.out, f"sha256:{ARTEFACT}" in shown.out) == (0, True, True)
    assert cluster("revoke", "attestation", about[0]["digest"], "--reason", "forged").code == 0
    assert "revoked" in cluster("attestation", "show", about[0]["digest"]).out
    assert cluster("attestation", "show", "0" * 64).code == 2
    assert cluster("attestation", "list", "--entity", "nobody").code == 2


def test_resolve(cluster, predicate: Path) -> None:
    disagree(cluster, predicate)
    keep = on_record(cluster)[0].digest
    asked = ("attestation", "resolve", TOOL, SCAN, "--reason", "looked")
    for more in ((), ("--keep", keep, "--keep-none"), ("--keep", "x")):
        assert cluster(*asked, *more).code == 2
    assert cluster("attestation", "resolve", TOOL, "no uri", "--reason", "x", "--keep-none").code == 2
    assert cluster(*asked, "--keep", "0" * 64).code == 1
    assert cluster(*asked, "--keep", keep).code == 0
    standing = {
        item["attestor"]: (item["counts"], item["dropped"])
        for item in cluster("attestation", "list", "-o", "json").data
    }
    assert standing["abe"] == (True, None)
    assert standing["ada"] == (False, {"reason": "looked", "seq": cluster.node.machine.seq})
    assert cluster(*asked, "--keep-none").code == 1


# Enforcement of every kind.


def test_every_kind_of_target(cluster, predicate: Path, tmp_path: Path) -> None:
    assert attest(cluster, predicate, "--key", "ada").code == 0
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "one.cedar").write_text("permit(principal, action, resource);")
    (tmp_path / "schema").write_text('entity A; entity Tool; action "run" appliesTo { principal: [A], resource: [A] };')
    published = cluster("policy", "publish", tmp_path / "p", "--schema", tmp_path / "schema", "--activate")
    assert published.code == 0, published.err
    machine = cluster.node.machine
    targets = {
        "subject": 'A::"a"',
        "resource": TOOL,
        "action": 'Action::"run"',
        "node": "n1",
        "policy": next(iter(machine.active_policies.policies)),
        "attestation": on_record(cluster)[0].digest,
        "domain": "root",
    }
    for kind, target in targets.items():
        for command, name in (("invalidate", "invalidated"), ("quarantine", "quarantined"), ("isolate", "isolated")):
            done = cluster(command, kind, target, "--reason", "odd", "--unregistered")
            assert done.code == 0, done.err
            assert machine.marks(kind, target)[name].reason == "odd"
        # It takes roots, and the command line finds out that it does.
        done = cluster("release", kind, target, "--reason", "fine")
        assert done.code == 0, done.err
        assert set(machine.marks(kind, target)) == {"invalidated"}
        assert cluster("revoke", kind, target, "--reason", "gone", "--unregistered").code == (
            1 if kind == "domain" else 0
        )


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        ("policy", "x"),
        ("attestation", "A" * 64),
        ("domain", "No"),
        ("domain", ""),
        ("node", "a b"),
        ("action", "run"),
        ("x", "y"),
    ],
)
@pytest.mark.parametrize("command", ["quarantine", "release", "isolate", "revoke", "invalidate"])
def test_bad_targets_are_2(cluster, command: str, kind: str, target: str) -> None:
    done = cluster(command, kind, target, "--reason", "x")
    assert (done.code, done.out, cluster.node.machine.seq) == (2, "", 1)
