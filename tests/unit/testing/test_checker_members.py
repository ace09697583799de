"""Nodes that become members or cease to be: `revoked` is then said of the node, and not of whom was asked about."""

from __future__ import annotations

import pytest

from govraft.testing.checkers import judge
from govraft.testing.history import Check, CommandTried

MOVES = ["member.add", "member.remove", "member.rotate", "member.evict"]


def check(at, node, reason="", *, seq=1):
    return Check(at, at + 1, node, node, "bot", "q", not reason, reason, seq, "root" if seq else "")


def move(kind, node):
    return CommandTried(5, 6, "c1", kind, node, "a", "effective", "", 2, 2)


def broken(*events):
    return [item.property for item in judge(events)]


@pytest.mark.parametrize("kind", MOVES)
@pytest.mark.parametrize("seq", [0, 2])
def test_a_node_that_is_no_member_says_nothing_about_its_subjects(kind, seq):
    events = [check(1, "a"), move(kind, "b"), check(10, "b", "revoked", seq=seq), check(12, "a", seq=2)]
    assert broken(*events) == []


@pytest.mark.parametrize("kind", MOVES)
def test_other_nodes_still_do(kind):
    assert "linearizability" in broken(check(1, "a"), move(kind, "b"), check(10, "c", "revoked", seq=0))


def test_the_other_mark_is_still_of_the_subject():
    events = [check(1, "a"), move("member.remove", "b"), check(10, "b", "quarantined", seq=0)]
    assert "linearizability" in broken(*events)


def test_a_promoted_node_was_a_member_before():
    assert "linearizability" in broken(check(1, "a"), move("member.promote", "b"), check(10, "b", "revoked", seq=0))


def test_a_removed_node_that_allows_is_stale():
    assert "stale_allow" in broken(check(1, "a"), move("member.remove", "b"), check(10, "b", seq=1))
