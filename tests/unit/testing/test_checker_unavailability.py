"""What a fault costs, in time without an allow."""

from __future__ import annotations

from govraft.testing.checkers import KindEffect, effects, unavailability
from govraft.testing.history import Check, FaultEnded, FaultStarted, NodeState


def allow(node, at):
    return Check(at, at, "client", node, "x", "q", True, "", 1, "s1")


def deny(node, at):
    return Check(at, at, "client", node, "x", "q", False, "lease_expired")


def every(node, start, end, step=10):
    return [allow(node, at) for at in range(start, end + 1, step)]


def test_bystanders_and_those_that_were_hit():
    events = [
        *every("a", 0, 100), deny("a", 150), *every("a", 260, 400),
        *every("b", 0, 100), deny("b", 110), *every("b", 160, 400),
        *every("c", 0, 400),
        FaultStarted(100, 1, "partition", ("a",)), FaultEnded(200, 1),
    ]  # fmt: skip
    [effect] = effects(events)
    assert (effect.bystanders_ns, effect.recovery_ns) == (60, 60)
    assert unavailability(events) == [KindEffect("partition", 1, 60, 60, 60, 60, 0)]


def test_median_worst_and_unrecovered_by_kind():
    events = [*every("a", 0, 1000), *every("b", 0, 150), *every("b", 230, 400), *every("b", 455, 600)]
    for number, (start, end) in enumerate([(100, 160), (300, 410), (590, 700)], 1):
        events += [FaultStarted(start, number, "kill", ("b",)), FaultEnded(end, number)]
    events += [FaultStarted(700, 4, "clock", ()), FaultEnded(800, 4)]
    assert [item.recovery_ns for item in effects(events)] == [70, 45, None, 0]
    clock, kill = unavailability(events)
    assert kill == KindEffect("kill", 3, 10, 10, 57, 70, 1)
    assert (clock.kind, clock.bystanders_worst_ns) == ("clock", 100)


def test_a_fault_that_lasts_counts_until_the_end_of_the_run():
    events = [*every("a", 0, 100), NodeState(500, "a", 1, "lease_expired"), FaultStarted(100, 1, "kill", ("b",))]
    [effect] = effects(events)
    assert effect.ended == 500
    assert effect.bystanders_ns == 400
    assert effect.recovery_ns is None


def test_a_state_that_allows_counts_as_an_allow():
    events = [NodeState(at, "a", 1, "allow") for at in range(0, 400, 20)]
    events += [FaultStarted(100, 1, "kill", ("b",)), FaultEnded(200, 1), NodeState(230, "b", 2, "allow")]
    [effect] = effects(events)
    assert (effect.bystanders_ns, effect.recovery_ns) == (20, 30)
