"""`govraft domain`, and `--domain` of the commands that know domains."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

SCHEMA = "entity Agent; entity Tool; action use appliesTo { principal: Agent, resource: Tool };\n"
ONE = '@id("one")\npermit (principal, action, resource);'
TWO = '@id("two")\nforbid (principal == Agent::"x", action, resource);'
TOOL = 'Tool::"t"'


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_create_list_show_move_remove(cluster) -> None:
    assert cluster("domain", "create", "eng").code == 0
    assert cluster("domain", "create", "web", "--parent", "eng").code == 0
    done = cluster("domain", "create", "ops", "-o", "json")
    assert (done.code, done.data["outcome"]) == (0, "applied")
    listed = cluster("domain", "list", "-o", "json").data
    assert [item["path"] for item in listed] == [["root"], ["root", "eng"], ["root", "eng", "web"], ["root", "ops"]]
    assert cluster("domain", "list").out.splitlines()[1].startswith("root ")
    shown = cluster("domain", "show", "eng", "-o", "json").data
    assert (shown["below"], shown["policy_version"], shown["authors"]) == (["web"], 0, ["rita", "ruth"])
    assert cluster("domain", "move", "web", "ops").code == 0
    assert "root / ops / web" in cluster("domain", "show", "web").out
    assert cluster("domain", "remove", "web").code == 0
    assert cluster("domain", "show", "web").code == 2


@pytest.mark.parametrize(
    ("arguments", "exit_code", "code"),
    [
        (("create", "eng"), 1, "domain_exists"),
        (("create", "a", "--parent", "nosuch"), 1, "domain_unknown"),
        (("create", "NO"), 2, "malformed"),
        (("move", "eng", "eng"), 1, "domain_invalid"),
        (("remove", "root"), 1, "domain_invalid"),
        (("show", "nosuch"), 2, "domain_unknown"),
    ],
)
def test_refusals_name_their_code(cluster, arguments: tuple[str, ...], exit_code: int, code: str) -> None:
    assert cluster("domain", "create", "eng").code == 0
    done = cluster("domain", *arguments)
    assert done.code == exit_code
    assert f"[{code}]" in done.err
    assert done.err.count("\n") == 1


def test_a_dry_run_submits_nothing(cluster) -> None:
    done = cluster("domain", "create", "eng", "--dry-run")
    assert done.code == 0
    assert len(json.loads(done.out)["signatures"]) == 2
    assert cluster.node.machine.seq == 1


def test_entities_of_a_domain(cluster, tmp_path: Path) -> None:
    cluster("domain", "create", "eng")
    file = write(tmp_path / "e.json", json.dumps([{"uid": TOOL}, {"uid": 'Tool::"u"'}, {"uid": 'Tool::"v"'}]))
    assert cluster("entity", "put", file, "--domain", "eng").code == 0
    assert cluster("entity", "put", write(tmp_path / "r.json", json.dumps([{"uid": 'Agent::"x"'}]))).code == 0
    assert len(cluster("entity", "list", "--domain", "eng", "-o", "json").data) == 3
    assert [item["uid"] for item in cluster("entity", "list", "--domain", "root", "-o", "json").data] == ['Agent::"x"']
    assert cluster("entity", "show", TOOL, "-o", "json").data["domain"] == "eng"
    assert cluster("entity", "list", "--domain", "nosuch").code == 2
    assert cluster("entity", "put", file, "--domain", "nosuch").code == 1
    assert cluster("domain", "list", "-o", "json").data[1]["entities"] == 3


def test_policies_of_a_domain(cluster, tmp_path: Path) -> None:
    machine, schema = cluster.node.machine, write(tmp_path / "schema", SCHEMA)
    one, two = write(tmp_path / "one.cedar", ONE), write(tmp_path / "two.cedar", TWO)
    cluster("domain", "create", "eng")
    done = cluster("policy", "publish", one, "--domain", "eng", "--activate")
    assert (done.code, "publish one in `root`" in done.err) == (2, True)
    assert cluster("policy", "publish", two, "--schema", schema, "--activate").code == 0
    done = cluster("policy", "publish", one, "--schema", schema, "--domain", "eng")
    assert (done.code, "only the root domain has a schema" in done.err) == (2, True)
    done = cluster("policy", "publish", one, "--domain", "eng", "--activate", "-o", "json")
    assert (done.code, done.data["domain"], done.data["version"]) == (0, "eng", 1)
    active = machine.state.policies.active_bundle
    assert (set(active("eng").policies.values()), set(active("root").policies.values())) == ({ONE}, {TWO})
    # The same again is nothing new.
    assert "nothing was published" in cluster("policy", "publish", one, "--domain", "eng").err

    assert cluster("policy", "publish", two, "--domain", "eng").code == 0
    diff = cluster("policy", "diff", "--domain", "eng").out
    assert "--- v1/one" in diff
    assert "+forbid" in diff
    assert "schema" not in diff
    assert cluster("policy", "activate", 2, "--domain", "eng").code == 0
    dry = cluster("policy", "rollback", 1, "--domain", "eng", "--dry-run")
    assert (dry.code, len(dry.out.splitlines())) == (0, 2)
    assert cluster("policy", "rollback", 1, "--domain", "eng").code == 0
    assert (active("eng").version, set(active("eng").policies.values())) == (3, {ONE})
    assert len(cluster("policy", "list", "--domain", "eng", "-o", "json").data["versions"]) == 3
    assert cluster("policy", "show", "--domain", "eng").out.splitlines()[1:] == ONE.splitlines()
    assert cluster("policy", "show", "--domain", "nosuch").code == 2
    assert cluster("policy", "list", "--domain", "nosuch").code == 2


def test_a_domain_is_emptied_and_removed(cluster, tmp_path: Path) -> None:
    cluster("domain", "create", "eng")
    cluster("policy", "publish", write(tmp_path / "a.cedar", TWO), "--schema", write(tmp_path / "s", SCHEMA))
    cluster("policy", "publish", tmp_path / "a.cedar", "--domain", "eng", "--activate")
    assert "[domain_in_use]" in cluster("domain", "remove", "eng").err
    assert cluster("policy", "publish", "--domain", "eng").code == 2
    assert cluster("policy", "publish", tmp_path / "a.cedar", "--empty", "--domain", "eng").code == 2
    assert cluster("policy", "publish", "--empty", "--domain", "eng", "--activate").code == 0
    assert cluster("domain", "remove", "eng").code == 0


def test_a_rollback_asks_once_at_a_terminal(cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = write(tmp_path / "one.cedar", ONE), write(tmp_path / "two.cedar", TWO)
    cluster("policy", "publish", one, "--schema", write(tmp_path / "schema", SCHEMA), "--activate")
    cluster("policy", "publish", two, "--activate")
    asked: list[str] = []

    def refuse(question: str, **_: object) -> None:
        import click

        asked.append(question)
        raise click.Abort

    monkeypatch.setattr("click.confirm", refuse)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    seq = cluster.node.machine.seq
    assert cluster("policy", "rollback", 1).code != 0
    assert cluster.node.machine.seq == seq
    assert asked == ["leave 1 policies out, bring 1 back, and activate that in `root`?"]
    assert cluster("policy", "rollback", 1, "--dry-run").code == 0
    assert cluster("policy", "rollback", 1, "--yes").code == 0
    assert len(asked) == 1
