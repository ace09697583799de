"""`govraft policy test` and `govraft policy impact`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from govraft.core.codec.canonical import pack_json
from govraft.core.evidence.decision_export import encode_end, encode_header
from govraft.core.evidence.decisions import NO_MASK, Mask, gap_fields, record_fields

SCHEMA = (
    "entity Agent = { level?: Long }; entity Tool; action use, drop appliesTo { principal: Agent, resource: Tool };\n"
)
PERMIT = "permit (principal, action, resource);"
FORBID_X = 'forbid (principal == Agent::"x", action, resource);'
LEVEL = (
    "permit (principal, action, resource) when { principal has level && principal.level + 9223372036854775807 > 0 };"
)
X, Y, USE, T = 'Agent::"x"', 'Agent::"y"', 'Action::"use"', 'Tool::"t"'


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def case(principal: str, expect: str, **more: Any) -> dict[str, Any]:
    return {"principal": principal, "action": USE, "resource": T, "expect": expect, **more}


class Files:
    """Policies, schema, entities and cases in files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.schema = write(path / "schema", SCHEMA)
        self.entities = write(path / "entities.json", json.dumps([{"uid": T}, {"uid": X, "attrs": {"level": 3}}]))

    def policies(self, *texts: str) -> Path:
        return write(self.path / "p.cedar", "\n".join(texts))

    def cases(self, *cases: dict[str, Any]) -> Path:
        return write(self.path / "cases.jsonl", "\n".join(map(json.dumps, cases)))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def offline(files: Files, *texts: str) -> tuple[object, ...]:
    return ("--policies", files.policies(*texts), "--schema", files.schema, "--entities", files.entities)


def govern(cluster: Any, files: Files, domain: str, *texts: str) -> None:
    schema = ("--schema", files.schema) if domain == "root" else ("--domain", domain)
    assert cluster("policy", "publish", files.policies(*texts), *schema, "--activate").code == 0


# Testing.


def test_files_are_enough(cluster, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOVRAFT_CLUSTER")
    cases = files.cases(case(X, "deny"), case(Y, "allow"), case(X, "deny", reason="policy_denied", rule="r"))
    done = cluster("policy", "test", cases, *offline(files, PERMIT, FORBID_X), "-o", "json")
    assert done.code == 0, done.err
    assert (done.code, done.data["as_expected"], done.data["failures"]) == (0, 3, [])
    done = cluster("policy", "test", cases, *offline(files, PERMIT), "-o", "json")
    assert (done.code, [item["line"] for item in done.data["failures"]]) == (1, [1, 3])
    assert [(item["expect"], item["got"]) for item in done.data["failures"]] == [
        ("deny", "allow"),
        ("policy_denied", "allow"),
    ]
    assert "1 of 3" in cluster("policy", "test", cases, *offline(files, PERMIT)).out


def test_an_error_is_a_deny_and_is_counted(cluster, files: Files) -> None:
    done = cluster("policy", "test", files.cases(case(X, "deny")), *offline(files, LEVEL), "-o", "json")
    assert (done.code, done.data["reasons"]) == (0, {"policy_error": 1})
    done = cluster("policy", "test", files.cases(case(X, "deny", reason="policy_denied")), *offline(files, LEVEL))
    assert (done.code, "denied: policy_error" in done.out) == (1, True)
    cases = files.cases(case(X, "deny", reason="policy_error"), case(Y, "deny", reason="policy_denied"))
    assert cluster("policy", "test", cases, *offline(files, LEVEL)).code == 0


def test_the_active_policies_are_tested_each_resource_in_its_domain(cluster, files: Files) -> None:
    cluster("domain", "create", "eng")
    cluster("entity", "put", files.entities, "--domain", "eng")
    govern(cluster, files, "root", FORBID_X)
    cases = files.cases(case(X, "deny"), case(Y, "allow"))
    assert cluster("policy", "test", cases).code == 1
    govern(cluster, files, "eng", PERMIT)
    assert cluster("policy", "test", cases).code == 0
    assert cluster("policy", "test", cases, "--policies", files.policies(PERMIT), "--domain", "eng").code == 0
    # What root would forbid binds eng too; what it would permit does not.
    done = cluster("policy", "test", cases, "--policies", files.policies(PERMIT), "-o", "json")
    assert (done.code, [item["line"] for item in done.data["failures"]]) == (1, [1])
    done = cluster("policy", "test", cases, "--policies", files.policies(FORBID_X), "--domain", "eng", "-o", "json")
    assert (done.code, [item["line"] for item in done.data["failures"]]) == (1, [2])


@pytest.mark.parametrize(
    ("texts", "cases", "options", "message"),
    [
        ((PERMIT,), [{"principal": X, "action": USE, "resource": T}], (), "needs `expect`"),
        ((PERMIT,), [case(X, "maybe")], (), "`expect` is allow or deny"),
        ((PERMIT,), [case(X, "allow", expected="deny")], (), "`expected` is not known"),
        ((PERMIT,), [], (), "holds no requests"),
        (("permit (principal, action, resource) when { principal.nosuch };",), [case(X, "allow")], (), "nosuch"),
        (("permit (principal",), [case(X, "allow")], (), "p.cedar"),
        ((PERMIT,), [case(X, "allow")], ("--domain", "nosuch"), "only the root domain has a schema"),
    ],
)
def test_what_cannot_be_tested_is_said(
    cluster, files: Files, texts: tuple[str, ...], cases: list[dict[str, Any]], options: tuple[str, ...], message: str
) -> None:
    done = cluster("policy", "test", files.cases(*cases), *offline(files, *texts), *options)
    assert done.code == 2
    assert message in done.err
    assert done.err.count("\n") == 1


def test_a_candidate_needs_its_domain_and_its_schema_policies(cluster, files: Files) -> None:
    cases = files.cases(case(X, "allow"))
    done = cluster("policy", "test", cases, "--policies", files.policies(PERMIT))
    assert (done.code, "no policy is active" in done.err) == (2, True)
    govern(cluster, files, "root", PERMIT)
    done = cluster("policy", "test", cases, "--policies", files.policies(PERMIT), "--domain", "nosuch")
    assert (done.code, "[domain_unknown]" in done.err) == (2, True)
    assert cluster("policy", "test", cases, "--schema", files.schema).code == 2


# Impact.


def record(principal: str, reason: str, seq: int, *, mask: Mask = NO_MASK, **more: Any) -> dict[str, Any]:
    fields = {
        "node": "n1",
        "time": 1_700_000_000_000,
        "decision": "d",
        "source": "check",
        "seq": seq,
        "state_root": "0" * 64,
        "verdict": "deny" if reason else "allow",
        "reason": reason,
        "message": "",
        "policies": [],
        "errors": [],
        "latency_us": 1,
        "trace": "",
        **more,
    }
    return record_fields(fields, {"principal": principal, "action": USE, "resource": T, "context": {}}, mask)


def export(cluster: Any, path: Path, *records: dict[str, Any]) -> Path:
    cluster_id = cluster.node.sample.genesis.cluster_id
    lines = [pack_json({**item, "index": index}) for index, item in enumerate(records)]
    header = encode_header(cluster=cluster_id, node="n1", log="0" * 32, first=0, last=len(lines), before=[])
    end = encode_end(size=len(lines), root=b"\0" * 32, proof=[], anchors=[])
    path.write_bytes(header + b"".join(line + b"\n" for line in lines) + end)
    return path


def test_impact_names_the_verdicts_that_change(cluster, files: Files, tmp_path: Path) -> None:
    govern(cluster, files, "root", PERMIT)
    seq = cluster.node.machine.seq
    decisions = export(
        cluster,
        tmp_path / "decisions.jsonl",
        record(X, "", seq),
        record(Y, "", seq),
        record(Y, "policy_denied", seq),
        record(X, "policy_denied", seq),
        record(Y, "revoked", seq),
        record(Y, "grant_missing", seq),
        record(X, "grant_missing", seq),
        record(Y, "lease_expired", 0, state_root=""),
        record(Y, "leader_unconfirmed", seq),
        record(X, "", seq, mask=Mask(["principal"], b"s" * 32)),
        gap_fields("n1", 1, 3),
    )
    done = cluster(
        "policy", "impact", "--policies", files.policies(PERMIT, FORBID_X), "--decisions", decisions, "-o", "json"
    )
    assert done.code == 0, done.err
    assert done.data["counts"] == {
        "changed": 2,
        "denied for the node's reasons": 2,
        "gaps": 1,
        "masked": 1,
        "same": 4,
        "undecided": 1,
    }
    changes = [(item["index"], item["recorded"], item["now"], item["principal"]) for item in done.data["changes"]]
    assert changes == [(0, "allow", "policy_denied", X), (2, "policy_denied", "allow", Y)]
    assert "record 2" in cluster("policy", "impact", "--policies", files.policies(PERMIT), "--decisions", decisions).out


def test_an_allow_that_only_conditions_could_give_is_undecided(cluster, files: Files, tmp_path: Path) -> None:
    govern(cluster, files, "root", PERMIT)
    decisions = export(cluster, tmp_path / "d.jsonl", record(X, "", 1), record(X, "policy_denied", 1))
    lent = '@requires_grant("true") permit (principal, action, resource);'
    done = cluster("policy", "impact", "--policies", files.policies(lent), "--decisions", decisions, "-o", "json")
    assert done.data["counts"] == {"undecided": 2}
    # Beside a permit without conditions they decide nothing.
    done = cluster(
        "policy", "impact", "--policies", files.policies(lent, PERMIT), "--decisions", decisions, "-o", "json"
    )
    assert done.data["counts"] == {"changed": 1, "same": 1}


def test_impact_on_a_lineage_uses_the_state_of_each_record(cluster, files: Files, tmp_path: Path) -> None:
    govern(cluster, files, "root", PERMIT)
    before = cluster.node.machine.seq
    assert cluster("revoke", "subject", Y, "--reason", "r", "--unregistered").code == 0
    after = cluster.node.machine.seq
    lineage = tmp_path / "lineage.jsonl"
    assert cluster("lineage", "export", lineage).code == 0
    lent = '@requires_grant("true") permit (principal, action, resource);'
    decisions = export(
        cluster,
        tmp_path / "d.jsonl",
        record(X, "", after),
        record(Y, "", before),
        record(Y, "revoked", after),
        record(Y, "policy_denied", before),
        record(Y, "", after + 1),
    )
    arguments = ("--decisions", decisions, "--lineage", lineage, "-o", "json")
    done = cluster("policy", "impact", "--policies", files.policies(PERMIT, FORBID_X), *arguments)
    assert done.code == 0, done.err
    assert done.data["counts"] == {"beyond the lineage": 1, "changed": 2, "same": 2}
    assert [(item["index"], item["now"]) for item in done.data["changes"]] == [(0, "policy_denied"), (3, "allow")]
    done = cluster("policy", "impact", "--policies", files.policies(lent), *arguments)
    assert [(item["index"], item["now"]) for item in done.data["changes"]] == [
        (0, "grant_missing"),
        (1, "grant_missing"),
    ]


@pytest.mark.parametrize("content", [b"", b"{}\n", b"junk\n"])
def test_what_is_no_decision_export_is_refused(cluster, files: Files, tmp_path: Path, content: bytes) -> None:
    govern(cluster, files, "root", PERMIT)
    file = tmp_path / "d"
    file.write_bytes(content)
    done = cluster("policy", "impact", "--policies", files.policies(PERMIT), "--decisions", file)
    assert done.code in (1, 2)
    assert done.err.count("\n") == 1
    assert cluster("policy", "impact", "--decisions", file).code == 2
    assert cluster("policy", "impact", "--policies", files.policies(PERMIT), "--decisions", tmp_path / "none").code == 2


def test_an_export_that_was_cut_off_is_refused(cluster, files: Files, tmp_path: Path) -> None:
    govern(cluster, files, "root", PERMIT)
    file = export(cluster, tmp_path / "d", record(X, "", 1), record(X, "", 1))
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-1]))
    done = cluster("policy", "impact", "--policies", files.policies(PERMIT), "--decisions", file)
    assert done.code == 1
    assert "cut off" in done.err
