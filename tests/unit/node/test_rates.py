"""Rates: each node counts for itself, and together they never exceed the whole."""

from __future__ import annotations

import random

import pytest

from govraft.core.decision.finding import Charge
from govraft.core.model.electorate import Electorate, Member, QuorumRule
from govraft.node import rates
from govraft.node.rates import Rates

S = 1_000_000_000
DRIFT = 10_000
KEY = "root/b/A"


def members(epoch: int, *names: str, observers: int = 0) -> Electorate:
    voters = [Member(name, b"", b"", True, "") for name in names]
    return Electorate(
        epoch,
        QuorumRule.MAJORITY,
        (*voters, *(Member(f"o{n}", b"", b"", False, "") for n in range(observers))),
    )


THREE = members(0, "a", "b", "c")


def ready(electorate: Electorate = THREE, drift: int = DRIFT) -> Rates:
    """A node that started long ago."""
    return Rates(node_id="a", electorate=electorate, drift_ppm=drift, now=-10_000_000 * S)


def allowed(node: Rates, now: int, most: int = 9, seconds: int = 60, key: str = KEY, of: Electorate = THREE) -> bool:
    return node.take((Charge(key, most, seconds),), of, now) is None


def test_without_charges_everything_has_room() -> None:
    assert Rates(node_id="a", electorate=THREE, drift_ppm=0, now=0).take((), THREE, 0) is None


@pytest.mark.parametrize(("most", "share"), [(1, 0), (2, 0), (3, 1), (9, 3), (11, 3), (12, 4)])
def test_the_share_is_rounded_down(most: int, share: int) -> None:
    node = ready()
    assert sum(allowed(node, 0, most) for _ in range(20)) == share


def test_observers_answer_too() -> None:
    electorate = members(0, "a", "b", "c", observers=3)
    node = ready(electorate)
    assert sum(allowed(node, 0, 12, of=electorate) for _ in range(20)) == 2


def test_room_comes_back_after_the_window() -> None:
    """A little later than the window, never earlier: the clock may be fast."""
    node = ready()
    assert [allowed(node, 0) for _ in range(4)] == [True, True, True, False]
    assert not allowed(node, 60 * S * (1_000_000 + DRIFT) // 1_000_000)
    assert allowed(node, 62 * S)


def test_subjects_are_counted_apart() -> None:
    node = ready()
    assert [allowed(node, 0, 3, key=key) for key in ("x", "y", "x", "y")] == [True, True, False, False]


def test_all_charges_or_none() -> None:
    node = ready()
    wide, narrow = Charge("w", 30, 60), Charge("n", 3, 60)
    assert node.take((wide, narrow), THREE, 0) is None
    for _ in range(50):
        assert node.take((wide, narrow), THREE, 0) == narrow
    assert sum(node.take((wide,), THREE, 0) is None for _ in range(50)) == 9


def test_a_started_node_has_used_up_its_window() -> None:
    """It does not know what it allowed before."""
    node = Rates(node_id="a", electorate=THREE, drift_ppm=DRIFT, now=5 * S)
    assert not allowed(node, 5 * S)
    assert not allowed(node, 65 * S)
    assert allowed(node, 67 * S)
    assert not allowed(node, 67 * S, seconds=3_600)


def test_the_members_of_before_count_for_another_window() -> None:
    node = ready()
    two = members(1, "a", "b")
    assert [allowed(node, 0) for _ in range(4)] == [True, True, True, False]
    node = ready()
    assert [allowed(node, 10 * S, of=two) for _ in range(4)] == [True, True, True, False]
    assert [allowed(node, 140 * S, of=two) for _ in range(5)] == [True] * 4 + [False]


def test_more_members_leave_less_at_once() -> None:
    node = ready()
    nine = members(1, *"abcdefghi")
    assert [allowed(node, 0, of=nine) for _ in range(2)] == [True, False]


def test_who_joins_waits_for_a_window() -> None:
    node = ready(members(0, "b", "c"))
    assert not allowed(node, 0)
    assert not allowed(node, 60 * S)
    assert allowed(node, 62 * S)


def test_a_missed_change_counts_as_used() -> None:
    """Members may have come, used a larger share, and gone."""
    node = ready()
    assert not allowed(node, 0, of=members(2, "a", "b", "c"))
    assert allowed(node, 62 * S, of=members(2, "a", "b", "c"))
    assert not allowed(node, 62 * S, of=members(5, "a", "b", "c"))


def test_only_so_many_subjects_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "RATE_COUNTS", 3)
    node = ready()
    assert [allowed(node, 0, key=str(number)) for number in range(4)] == [True, True, True, False]
    assert allowed(node, 0, key="1")
    # What no window reaches any more makes room, whichever window it was; and nothing is forgotten too early.
    assert not allowed(node, 40 * S, key="9", seconds=7)
    assert allowed(node, 62 * S, key="9", seconds=7)
    assert sum(allowed(node, 62 * S + number, key=f"k{number}") for number in range(9)) == 2
    assert node._held == 3


def test_a_denied_subject_takes_no_room() -> None:
    node = ready()
    for number in range(100):
        assert not allowed(node, 0, most=1, key=str(number))
    assert node._held == 0


def test_the_least_recently_used_goes_first() -> None:
    node = ready()
    assert allowed(node, 0, key="x")
    assert allowed(node, 1 * S, key="y")
    assert allowed(node, 50 * S, key="x")
    assert allowed(node, 63 * S, key="z")
    assert [key for table in node._tables.values() for key in table] == ["x", "z"]
    assert [allowed(node, 64 * S, key="x") for _ in range(3)] == [True, True, False]


def test_a_share_is_never_exceeded() -> None:
    """Whatever the pattern of requests, in any window, against a count of every single allow."""
    rng = random.Random(3)
    for _ in range(60):
        seconds, most = rng.choice([1, 3, 60]), rng.choice([3, 9, 30])
        node, now, given = ready(drift=0), 0, []
        for _ in range(300):
            now += rng.choice([0, 1, S // 50, S // 3, seconds * S // 64, seconds * S])
            before = sum(1 for at in given if at > now - seconds * S)
            if allowed(node, now, most, seconds):
                given.append(now)
                assert before < most // 3
        assert given


def test_the_cluster_never_exceeds_the_whole() -> None:
    """Nodes start, join and leave one at a time, and learn of it late: in no window do all together allow more."""
    rng = random.Random(5)
    total = 0
    for _ in range(150):
        most, seconds = rng.choice([4, 6, 12]), 10
        names = ["a", "b", "c"]
        epoch, now = 0, 0
        history = [members(epoch, *names)]
        nodes = {name: Rates(node_id=name, electorate=history[0], drift_ppm=0, now=0) for name in "abcdef"}
        views = dict.fromkeys("abcdef", 0)
        given: list[int] = []
        for _ in range(400):
            now += rng.choice([0, S // 10, S // 2])
            if rng.random() < 0.03:
                # The next change waits until everybody who may answer knows of this one, as epochs do.
                if all(views[name] == epoch for name in names):
                    absent = [name for name in "abcdef" if name not in names]
                    if absent and (len(names) < 3 or rng.random() < 0.5):
                        names.append(rng.choice(absent))
                    elif len(names) > 1:
                        names.remove(rng.choice(names))
                    epoch += 1
                    history.append(members(epoch, *names))
                    # Effective: whoever left has stopped.
            elif rng.random() < 0.01:
                name = rng.choice("abcdef")
                nodes[name] = Rates(node_id=name, electorate=history[epoch], drift_ppm=0, now=now)
                views[name] = epoch
            name = rng.choice("abcdef")
            views[name] = epoch
            if name in names and allowed(nodes[name], now, most, seconds, of=history[epoch]):
                given.append(now)
                assert sum(1 for at in given if at > now - seconds * S) <= most
        total += len(given)
    assert total > 500


def test_the_window_allows_for_a_fast_clock() -> None:
    node = ready(drift=100_000)
    assert allowed(node, 0, 3)
    assert not allowed(node, 66 * S - 1, 3)
    assert allowed(node, 68 * S, 3)


@pytest.mark.parametrize(
    ("since", "most", "message"),
    [
        (-10_000_000 * S, 2, "3 nodes share 2 in 60 s for `root/b/A`, which leaves none for each: set a rate of 3 or more"),
        (-10_000_000 * S, 7, "this node's share is used up: 2 of 7 in 60 s for `root/b/A`, which 3 nodes share"),
        (-20 * S, 7, "this node was not there to count its share of 7 in 60 s for `root/b/A`: it allows none of it for another 40 s"),
    ],
)  # fmt: skip
def test_a_full_rate_says_share_and_whole(since: int, most: int, message: str) -> None:
    node = Rates(node_id="a", electorate=THREE, drift_ppm=0, now=since)
    charge = Charge(KEY, most, 60)
    while (full := node.take((charge,), THREE, 0)) is None:
        pass
    assert node.explain(full, 0) == message
