"""Which entities a policy names, in every spelling that Cedar accepts."""

from __future__ import annotations

import json

import pytest

from govraft.core.model.ids import canonical_uid
from govraft.core.policy import engine
from govraft.core.policy.names import named_entities

X = 'Team::"x"'


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (f"permit(principal in {X}, action, resource);", {X}),
        ('permit(principal in Team :: "x", action, resource);', {X}),
        ('permit(principal in Team\n::\t// a comment "y" Team::"z"\n"x", action, resource);', {X}),
        ('permit(principal in Team::"\\u{78}", action, resource);', {X}),
        ('permit(principal in Team::"\\x78", action, resource);', {X}),
        ('permit(principal in A::B :: C::"x", action, resource);', {'A::B::C::"x"'}),
        ('permit(principal == Team::"a\\"; Team::\\"x\\"", action, resource);', {'Team::"a\\"; Team::\\"x\\""'}),
        ('permit(principal, action in [Action::"a", N::Action::"b"], resource is T in Team::"x");',
         {'Action::"a"', 'N::Action::"b"', X}),
        ('permit(principal, action, resource) when { context.by == Team::"x" && resource.in has "y" };', {X}),
        ('permit(principal, action, resource) when { resource == if true then Team::"x" else Team::"y" };',
         {X, 'Team::"y"'}),
        ('permit(principal, action, resource) when { "Team::\\"x\\"" == resource.name };', set()),
        (f'@note("{json.dumps(X)[1:-1]}") permit(principal, action, resource); // {X}', set()),
        ("permit(principal is Team, action, resource);", set()),
        ('permit(principal, action, resource) when { ip("10.0.0.1").isIpv4() };', set()),
    ],
)  # fmt: skip
def test_names(text: str, names: set[str]) -> None:
    assert named_entities(text) == names
    assert all(canonical_uid(name) == name for name in names)


@pytest.mark.parametrize(
    "text",
    [
        'permit(principal in Team :: "x", action, resource);',
        'permit(principal in Team\n::\t// a comment "y"\n"x", action, resource);',
        'permit(principal in Team::"\\u{78}", action == A::Action :: "run", resource);',
        'permit(principal, action, resource) when { context.by in [Team::"x", Team:: "\\x79"] };',
    ],
)
def test_the_engine_reads_the_same_names(text: str) -> None:
    found: set[str] = set()
    todo: list[object] = [engine.policy_tree(text)]
    while todo:
        node = todo.pop()
        if isinstance(node, dict):
            if node.keys() == {"type", "id"}:
                found.add(canonical_uid(f"{node['type']}::{json.dumps(node['id'])}"))
            todo.extend(node.values())
        elif isinstance(node, list):
            todo.extend(node)
    assert found
    assert named_entities(text) == found
