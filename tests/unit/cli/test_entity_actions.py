"""Entity files that list actions, as most of Cedar's own do: the schema alone says what an action is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

SCHEMA = """
entity Agent; entity Tool;
action any; action read in [any]; action peek in [read];
namespace App { action run in [Action::"all"]; action all; }
action use appliesTo { principal: [Agent], resource: [Tool] };
"""


def action(name: str, *parents: str, **attrs: Any) -> dict[str, Any]:
    kind, _, name = name.rpartition("/")
    return {
        "uid": {"type": kind or "Action", "id": name},
        "attrs": attrs,
        "parents": [{"type": kind or "Action", "id": parent} for parent in parents],
    }


@pytest.fixture
def put(cluster: Any, tmp_path: Path) -> Any:
    (tmp_path / "schema").write_text(SCHEMA)
    (tmp_path / "p.cedar").write_text('permit (principal, action == Action::"use", resource);')

    def invoke(*entities: Any, schema: bool = True) -> Any:
        if schema:
            done = cluster("policy", "publish", tmp_path / "p.cedar", "--schema", tmp_path / "schema", "--activate")
            assert done.code == 0, done.err
        (tmp_path / "e.json").write_text(json.dumps(entities))
        return cluster("entity", "put", tmp_path / "e.json")

    return invoke


def test_actions_that_say_what_the_schema_says_are_left_out(cluster: Any, put: Any) -> None:
    entities = [{"uid": 'Agent::"a"'}, action("any"), action("read", "any"), action("peek", "read", "any")]
    done = put(*entities, action("App::Action/run", "all"))
    assert done.code == 0, done.err
    assert "4 actions are as the schema has them" in done.err
    assert set(cluster.node.machine.entities) == {'Agent::"a"'}


@pytest.mark.parametrize(
    ("entity", "said"),
    [
        (action("fly"), "it declares no such action"),
        (action("read"), 'it is also in `Action::"any"`'),
        (action("peek", "any"), 'it is also in `Action::"read"`'),
        (action("any", "read"), 'it is not in `Action::"any"`, `Action::"read"`'),
        (action("read", "use"), 'it is also in `Action::"any"`, and it is not in `Action::"use"`'),
        (action("any", level=3), "an action has no attributes, here it has `level`"),
        (action("App::Action/run", "nosuch"), 'it is also in `App::Action::"all"`'),
    ],
)
def test_an_action_that_differs_is_refused_with_the_difference(cluster: Any, put: Any, entity: Any, said: str) -> None:
    done = put({"uid": 'Agent::"a"'}, entity)
    assert (done.code, said in done.err) == (2, True), done.err
    assert "is not as the schema has it" in done.err
    assert not cluster.node.machine.entities


def test_without_a_schema_nothing_says_what_an_action_is(cluster: Any, put: Any) -> None:
    done = put({"uid": 'Agent::"a"'}, action("any"), schema=False)
    assert (done.code, "no schema is active" in done.err) == (2, True), done.err
    assert not cluster.node.machine.entities


def test_actions_alone_are_nothing_to_put(put: Any) -> None:
    done = put(action("any"))
    assert (done.code, "hold actions only" in done.err) == (2, True), done.err


def test_trying_policies_compares_actions_with_the_schema_in_the_file(cluster: Any, tmp_path: Path) -> None:
    (tmp_path / "schema").write_text(SCHEMA)
    (tmp_path / "p.cedar").write_text('permit (principal, action == Action::"use", resource);')
    case = {"principal": 'Agent::"a"', "action": 'Action::"use"', "resource": 'Tool::"t"', "expect": "allow"}
    (tmp_path / "cases.jsonl").write_text(json.dumps(case))
    files = ("--policies", tmp_path / "p.cedar", "--schema", tmp_path / "schema", "--entities", tmp_path / "e.json")
    for entity, code in ((action("read", "any"), 0), (action("read"), 2)):
        (tmp_path / "e.json").write_text(json.dumps([{"uid": 'Agent::"a"'}, {"uid": 'Tool::"t"'}, entity]))
        assert cluster("policy", "test", tmp_path / "cases.jsonl", *files).code == code
