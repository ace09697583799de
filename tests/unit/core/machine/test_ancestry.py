"""The graph of parents: no cycles, no long chains, whatever the order of changes."""

from __future__ import annotations

import random
from typing import Any

import pytest

from govraft.core.machine import ancestry
from govraft.core.machine.ancestry import check_ancestry
from govraft.core.machine.records import ENTITY_PREFIX, Entity, encode_record
from govraft.core.machine.views import EntitiesView
from govraft.core.model.commands import EntityDelete
from govraft.core.model.limits import ENTITY_PARENT_CHAIN
from govraft.core.model.outcome import Rejection

Graph = dict[str, tuple[str, ...]]


def uid(number: int) -> str:
    return f'T::"{number}"'


def chain(first: int, last: int) -> list[tuple[str, dict[str, Any], tuple[str, ...]]]:
    return [(uid(number), {}, (uid(number + 1),)) for number in range(first, last)]


def test_cycles_are_refused(bench: Any) -> None:
    assert bench.put(*chain(0, 5)) == "applied"
    assert bench.put((uid(5), {}, (uid(0),))) == "entity_cycle"
    assert bench.put((uid(5), {}, (uid(9), uid(3)))) == "entity_cycle"
    assert bench.put((uid(8), {}, (uid(9),)), (uid(9), {}, (uid(8),))) == "entity_cycle"
    # A change that takes the old way out while it brings the new one in is fine.
    assert bench.put((uid(5), {}, (uid(0),)), (uid(2), {}, ())) == "applied"


def test_a_cycle_through_an_entity_that_does_not_exist_yet(bench: Any) -> None:
    assert bench.put((uid(1), {}, (uid(2),))) == "applied"
    assert bench.put((uid(2), {}, (uid(1),))) == "entity_cycle"
    assert bench.do(bench.command(EntityDelete, uids=(uid(1),))) == "applied"
    assert bench.put((uid(2), {}, (uid(1),))) == "applied"
    assert bench.put((uid(1), {}, (uid(2),))) == "entity_cycle"


def test_the_chain_is_limited_in_both_directions(bench: Any) -> None:
    assert bench.put(*chain(0, ENTITY_PARENT_CHAIN)) == "applied"
    assert bench.put((uid(999), {}, (uid(0),))) == "limit_exceeded"
    assert bench.put((uid(999), {}, (uid(1),))) == "applied"
    assert bench.put((uid(ENTITY_PARENT_CHAIN), {}, (uid(888),))) == "limit_exceeded"
    assert bench.put((uid(ENTITY_PARENT_CHAIN), {}, ())) == "applied"
    # In the middle: 30 below, 35 above, joined by one.
    assert bench.put(*chain(1000, 1030), *chain(2000, 2033)) == "applied"
    assert bench.put((uid(1030), {}, (uid(2000),))) == "applied"
    assert bench.put((uid(2033), {}, (uid(2034),))) == "limit_exceeded"


def sound(graph: Graph, limit: int) -> Rejection | None:
    """The dumb way: the longest path by walking all paths."""

    def longest(node: str, seen: tuple[str, ...]) -> int:
        if node in seen:
            raise LookupError
        return max((1 + longest(parent, (*seen, node)) for parent in graph.get(node, ())), default=0)

    try:
        return Rejection.LIMIT_EXCEEDED if max((longest(node, ()) for node in graph), default=0) > limit else None
    except LookupError:
        return Rejection.ENTITY_CYCLE


def test_random_graphs_against_the_dumb_way(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = 4
    monkeypatch.setattr(ancestry, "ENTITY_PARENT_CHAIN", limit)
    rng = random.Random(7)
    found = []
    for _ in range(150):
        view = EntitiesView()
        graph: Graph = {}
        for _ in range(25):
            names = [uid(number) for number in rng.sample(range(9), rng.randint(1, 3))]
            changed = {name: tuple(sorted({uid(rng.randrange(9)) for _ in range(rng.randrange(3))})) for name in names}
            expected = sound({**graph, **changed}, limit)
            refused = check_ancestry(view, changed)
            # A graph can break both rules; either is a fair answer, but silence is not.
            assert (refused is None) == (expected is None)
            if expected is Rejection.LIMIT_EXCEEDED:
                assert refused is not None
                assert refused.reason is expected
            found.append(expected)
            if refused is None:
                graph.update(changed)
                for name, parents in changed.items():
                    view.note(ENTITY_PREFIX + name, encode_record(Entity(name, {}, parents)))
    assert min(found.count(kind) for kind in (None, Rejection.ENTITY_CYCLE, Rejection.LIMIT_EXCEEDED)) > 50


def test_children_are_forgotten_with_their_parents() -> None:
    view = EntitiesView()
    for name in ("a", "b"):
        view.note(ENTITY_PREFIX + name, encode_record(Entity(name, {}, ("p",))))
    assert list(view.children["p"]) == ["a", "b"]
    for name in ("a", "b"):
        view.note(ENTITY_PREFIX + name, None)
    assert view.children == {}


def test_many_children_cost_no_recursion(bench: Any) -> None:
    for start in range(0, 3000, 500):
        assert bench.put(*[(uid(start + number + 10), {}, (uid(0),)) for number in range(500)]) == "applied"
    assert bench.put((uid(0), {}, (uid(1),))) == "applied"
    assert len(bench.machine.entities) == 3001
