"""How many make a quorum, and what two quorums always share."""

from __future__ import annotations

import pytest

from govraft.core.model.electorate import Electorate, Member, QuorumRule
from govraft.core.model.limits import VOTERS
from govraft.errors import InvariantViolation

# Protocol, "Signed objects": ⌊n/2⌋+1 and ⌊2n/3⌋+1, written out.
MAJORITY = {1: 1, 2: 2, 3: 2, 4: 3, 5: 3, 6: 4, 7: 4, 8: 5, 9: 5}
BYZANTINE = {1: 1, 2: 2, 3: 3, 4: 3, 5: 4, 6: 5, 7: 5, 8: 6, 9: 7}


def test_the_tables_cover_every_electorate():
    assert set(MAJORITY) == set(BYZANTINE) == set(range(1, VOTERS + 1))


@pytest.mark.parametrize("voters", MAJORITY)
def test_quorum_sizes(voters):
    assert QuorumRule.MAJORITY.quorum_size(voters) == MAJORITY[voters]
    assert QuorumRule.BYZANTINE.quorum_size(voters) == BYZANTINE[voters]


@pytest.mark.parametrize("voters", MAJORITY)
def test_two_quorums_share_an_honest_voter(voters):
    shared = 2 * QuorumRule.MAJORITY.quorum_size(voters) - voters
    assert shared >= 1
    liars = (voters - 1) // 3
    assert 2 * QuorumRule.BYZANTINE.quorum_size(voters) - voters > liars
    assert QuorumRule.BYZANTINE.quorum_size(voters) <= voters


@pytest.mark.parametrize("rule", QuorumRule)
def test_nobody_is_no_electorate(rule):
    with pytest.raises(InvariantViolation):
        rule.quorum_size(0)


def test_observers_do_not_raise_the_quorum():
    members = tuple(Member(name, name.encode() * 32, b"", name in "abc", "") for name in "abcxyz")
    electorate = Electorate(1, QuorumRule.MAJORITY, members)
    assert [member.id for member in electorate.voters] == ["a", "b", "c"]
    assert electorate.quorum_count == 2
    assert electorate.find("x") is members[3]
    assert electorate.find("q") is None
