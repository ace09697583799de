"""What is typed wrongly is refused before it is signed: types, actions, and entities that nobody has registered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from govraft.errors import AvailabilityError

SCHEMA = """
namespace Ops { entity Runner; action reboot appliesTo { principal: Runner, resource: Runner }; }
entity Team;
entity Agent in [Team] { level?: Long };
entity Color enum ["red"];
@doc("entity Fake;")
entity Tool;
action "run tests", use appliesTo { principal: Agent, resource: Tool };
"""


@pytest.fixture
def governed(cluster, tmp_path: Path):
    (tmp_path / "p.cedar").write_text("permit (principal, action, resource);")
    (tmp_path / "s.cedarschema").write_text(SCHEMA)
    (tmp_path / "e.json").write_text(
        json.dumps([{"uid": 'Agent::"a"'}, {"uid": 'Tool::"t"'}, {"uid": 'Ops::Runner::"r"'}])
    )
    assert (
        cluster("policy", "publish", tmp_path / "p.cedar", "--schema", tmp_path / "s.cedarschema", "--activate").code
        == 0
    )
    assert cluster("entity", "put", tmp_path / "e.json").code == 0
    return cluster


STOPS = ("quarantine", "isolate", "revoke", "invalidate")


@pytest.mark.parametrize(
    ("kind", "uid", "message", "code"),
    [
        ("subject", 'Agnet::"a"', "the active schema has no entity type `Agnet`; did you mean `Agent`?", "type_unknown"),
        ("subject", 'Runner::"r"', "no entity type `Runner`; did you mean `Ops::Runner`?", "type_unknown"),
        ("resource", 'Fake::"a"', "no entity type `Fake`", "type_unknown"),
        ("action", 'Action::"run_tests"', 'no action `Action::"run_tests"`; did you mean `Action::"run tests"`?', "action_unknown"),
        ("action", 'Action::"reboot"', "no action", "action_unknown"),
        ("subject", 'Agent::"b"', 'no entity `Agent::"b"` is registered: if that is no typing error, add', "entity_unknown"),
        ("subject", 'Team::"t"', "is registered", "entity_unknown"),
    ],
)  # fmt: skip
def test_a_stop_that_names_nobody_is_refused(
    governed, tmp_path: Path, kind: str, uid: str, message: str, code: str
) -> None:
    (tmp_path / "ids").write_text(uid + "\n")
    seq = governed.node.machine.seq
    for command in STOPS:
        for named in ([uid], ["--from", tmp_path / "ids"]):
            done = governed(command, kind, *named, "--reason", "r")
            assert (done.code, done.out) == (2, "")
            assert message in done.err and f"[{code}]" in done.err
    assert governed.node.machine.seq == seq


@pytest.mark.parametrize(
    ("kind", "uid"),
    [
        ("subject", 'Agent::"a"'),
        ("resource", 'Ops::Runner::"r"'),
        ("action", 'Action::"use"'),
        ("action", 'Ops::Action::"reboot"'),
        ("node", "n1"),
        ("domain", "root"),
    ],
)
def test_what_exists_is_stopped(governed, kind: str, uid: str) -> None:
    done = governed("quarantine", kind, uid, "--reason", "r")
    assert done.code == 0 or "[target_invalid]" in done.err, done.err


def test_whoever_says_so_stops_what_is_not_registered_yet(governed) -> None:
    assert governed("revoke", "subject", 'Agent::"b"', "--reason", "r", "--unregistered").code == 0
    assert governed("revoke", "subject", 'Agnet::"b"', "--reason", "r", "--unregistered").code == 2


@pytest.mark.parametrize("what", ["policy", "entity"])
def test_a_lookup_that_fails_keeps_nobody_from_stopping_something(governed, monkeypatch, what: str) -> None:
    def fail(_: object) -> None:
        raise AvailabilityError("it is gone")

    monkeypatch.setattr(governed.node, f"read_{what}", fail, raising=False)
    done = governed("quarantine", "subject", 'Agent::"nobody"', "--reason", "r")
    assert done.code == 0
    assert "whether what is named exists could not be looked up: it is gone" in done.err


def test_without_a_schema_there_is_nothing_to_compare(cluster) -> None:
    assert cluster("quarantine", "subject", 'Agent::"a"', "--reason", "r").code == 0


@pytest.mark.parametrize(
    ("holder", "action", "resource", "code"),
    [
        ('Agnet::"a"', 'Action::"use"', 'Tool::"t"', "type_unknown"),
        ('Agent::"a"', 'Action::"sue"', 'Tool::"t"', "action_unknown"),
        ('Agent::"a"', 'Action::"use"', 'Tol::"t"', "type_unknown"),
        ('Agent::"a"', 'Action::"use"', 'Tool::"u"', "entity_unknown"),
    ],
)
def test_a_grant_names_what_exists(governed, holder: str, action: str, resource: str, code: str) -> None:
    given = ("--holder", holder, "--action", action, "--resource", resource, "--until", "2h")
    done = governed("grant", "issue", "g", *given)
    assert (done.code, f"[{code}]" in done.err) == (2, True)
    assert governed("grant", "issue", "g", *given, "--unregistered").code == (0 if code == "entity_unknown" else 2)


def test_so_does_a_boundary(governed) -> None:
    assert governed("boundary", "set", "b", "--action", 'Action::"sue"', "--level-max", 1).code == 2
    assert (
        governed("boundary", "set", "b", "--action", 'Action::"use"', "--subject", 'Team::"t"', "--level-max", 1).code
        == 0
    )
