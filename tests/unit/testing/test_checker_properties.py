"""Each property on histories that keep it and on planted ones that break it."""

from __future__ import annotations

import random

import msgspec
import pytest

from govraft.core.model.reasons import Reason
from govraft.testing.checkers import judge, linearizability
from govraft.testing.checkers.run import Run
from govraft.testing.checkers.same_verdict import LOCAL, REPLICATED
from govraft.testing.history import (
    Certificate,
    Check,
    CommandTried,
    FaultEnded,
    FaultStarted,
    Lineage,
    NodeState,
)

SECOND = 1_000_000_000
BOT = 'Agent::"bot"'


def check(began, at, *, node="a", reason="", seq=1, root="", target=BOT, request="q1"):
    """An allow, or a denial with `reason`; the state at a seq is called after it."""
    root = root or (f"s{seq}" if seq else "")
    return Check(began, at, "client", node, target, request, not reason, reason, seq, root)


def command(began, at, kind="quarantine", *, name="c2", outcome="effective", seq=2, code="", target=BOT):
    done = outcome == "effective"
    certified = seq if done else 0
    return CommandTried(began, at, name, kind, target, "a", outcome, code, seq if done or code else 0, certified)


def certificate(at, seq, *, root="", state_root=""):
    return Certificate(at, seq, root or f"r{seq}", state_root or f"s{seq}", "a")


def state(at, node="a", *, life=1, standing="allow", **fields):
    return NodeState(at, node, life, standing, **fields)


def lineage(at, node="a", *commands, first=1, leaves=()):
    held = commands or (("genesis", "applied"), ("c2", "applied"))
    leaves = leaves or [f"leaf{seq}" for seq in range(first, first + len(held))]
    return Lineage(at, node, first, tuple(leaves), tuple(held))


GENESIS = ("genesis", "applied")


def good():
    """A short run of three nodes in which everything is as it should be."""
    events = []
    for node in "abc":
        for at in range(0, 100, 10):
            after = at >= 50
            events.append(check(at, at + 4, node=node, seq=2 if after else 1, reason="quarantined" if after else ""))
        events += [state(0, node, seq=1), state(90, node, seq=2, certified_seq=2, signed_seq=2), lineage(99, node)]
    events += [certificate(1, 1), certificate(45, 2), command(36, 48)]
    events += [FaultStarted(20, 1, "partition", ("a",)), FaultEnded(30, 1)]
    return events


def broken(events):
    return {item.property for item in judge(events)}


def test_a_good_run_breaks_nothing():
    assert judge(good()) == []
    assert judge([]) == []
    assert judge(good(), expect_live=True, live_within_ns=20) == []


def test_the_order_of_the_events_does_not_matter():
    events = good()
    random.Random(7).shuffle(events)
    assert judge(events) == []


PLANTED = {
    # stale allows
    "asked after the receipt": ({"stale_allow", "linearizability"}, [check(60, 61)]),
    "asked after the certificate": ({"stale_allow"}, [check(46, 47, target='Agent::"other"', request="q2")]),
    "on a state that was never certified": ({"fork"}, [check(5, 6, root="elsewhere")]),
    # forks
    "two roots of one seq": ({"fork"}, [certificate(70, 2, root="another")]),
    "two states of one seq": ({"fork"}, [certificate(70, 2, state_root="another")]),
    "a denial on another state": ({"fork"}, [check(60, 61, seq=2, root="another", reason="quarantined")]),
    "two answers on different states": (
        {"fork"}, [check(60, 61, seq=3, root="x", request="q2", reason="lease_expired"),
                   check(60, 61, seq=3, root="y", request="q3", reason="lease_expired")],
    ),
    # lineages
    "another leaf": ({"lineage_prefix"}, [lineage(80, "b", leaves=["leaf1", "other"])]),
    "a leaf rewritten on one node": ({"lineage_prefix"}, [lineage(40, "a", GENESIS, leaves=["other"])]),
    "a partial lineage that differs": (
        {"lineage_prefix"}, [lineage(80, "c", ("c2", "applied"), first=2, leaves=["other"])],
    ),
    # commands
    "an effective command gone": (
        {"lost_command"}, [lineage(95, "b", GENESIS, ("c9", "applied"))],
    ),
    "an effective command rejected": (
        {"lost_command"}, [lineage(95, "b", GENESIS, ("c2", "expired"))],
    ),
    "an effective command unreadable": ({"lost_command"}, [lineage(95, "b", GENESIS, ("", "applied"))]),
    "one id applied twice": (
        {"doubled_command"}, [lineage(95, "b", GENESIS, ("c2", "applied"), ("c2", "applied"))],
    ),
    "one id applied at two seqs on two nodes": (
        {"doubled_command"}, [lineage(95, "b", ("c2", "applied"), first=7)],
    ),
    "two receipts for one id": ({"doubled_command"}, [command(60, 70, kind="entity.put", seq=3)]),
    "two commands at one seq": ({"lost_command"}, [command(60, 70, kind="entity.put", name="c8", seq=2)]),
    "a refused command that worked": (
        {"refused_command"},
        [command(5, 6, "entity.put", name="c3", outcome="refused"), lineage(95, "b", GENESIS, ("c2", "applied"), ("c3", "applied"))],
    ),
    "a rejected command that worked": (
        {"refused_command"},
        [command(5, 6, "entity.put", name="c3", outcome="rejected", code="expired", seq=3),
         lineage(95, "b", GENESIS, ("c2", "applied"), ("c3", "applied"))],
    ),
    "a command rejected for good that another try made work": (
        {"refused_command"},
        [command(5, 6, "entity.put", name="c3", outcome="rejected", code="expired", seq=3),
         command(7, 8, "entity.put", name="c3", outcome="unknown"),
         lineage(95, "b", GENESIS, ("c2", "applied"), ("c3", "applied"))],
    ),
    "an effective command gone from the beginning of a piece": (
        {"lost_command"}, [lineage(95, "b", ("c9", "applied"), first=2)],
    ),
    # verdicts
    "two verdicts on one request": ({"same_verdict"}, [check(60, 61, seq=2, reason="policy_denied")]),
    "an allow and a denial at one seq": (
        {"same_verdict"}, [check(60, 61, seq=2, request="q5", reason="policy_denied", target="x"),
                           check(60, 61, seq=2, request="q5", target="x")],
    ),
    "an unknown reason": ({"same_verdict"}, [check(60, 61, seq=2, reason="bad_mood")]),
    # what may not fall
    "a signed seq that fell": ({"monotone"}, [state(95, "a", seq=2, certified_seq=2, signed_seq=1)]),
    "a signed seq forgotten at a restart": ({"monotone"}, [state(95, "a", life=2, signed_seq=0)]),
    "a seq that fell": ({"monotone"}, [state(95, "a", seq=1, certified_seq=2, signed_seq=2)]),
    "a certified seq that fell": ({"monotone"}, [state(95, "a", seq=2, certified_seq=1, signed_seq=2)]),
    "a life that fell": ({"monotone"}, [state(95, "a", life=0, seq=2, certified_seq=2, signed_seq=2)]),
    "a term that fell": (
        {"monotone"}, [state(91, "a", term=4, signed_seq=2, seq=2, certified_seq=2), state(95, "a", term=3, signed_seq=2, seq=2, certified_seq=2)],
    ),
    # answers that no order explains
    "an allow between two denials": ({"linearizability"}, [check(70, 71, seq=4)]),
    "a denial before its cause": (
        {"linearizability", "same_verdict"}, [check(20, 25, reason="quarantined")],
    ),
    "a revocation that nobody made": ({"linearizability", "same_verdict"}, [check(60, 61, seq=2, reason="revoked")]),
    "a release of what was free": ({"linearizability"}, [command(96, 97, "release", name="c7", seq=5, target="y")]),
    "a second quarantine": ({"linearizability"}, [command(60, 70, name="c7", seq=5)]),
    # the record
    "an answer before its question": ({"malformed"}, [check(61, 60, seq=2, reason="lease_expired")]),
    "an allow at no seq": ({"malformed", "stale_allow"}, [msgspec.structs.replace(check(5, 6), seq=0)]),
    "an allow on no state": ({"malformed"}, [msgspec.structs.replace(check(5, 6), state_root="")]),
    "an allow with a reason": ({"malformed", "same_verdict"}, [msgspec.structs.replace(check(5, 6), reason="revoked")]),
    "a denial without one": ({"malformed", "same_verdict"}, [msgspec.structs.replace(check(60, 61), allowed=False)]),
    "an unknown outcome": ({"malformed"}, [command(60, 61, "entity.put", name="c7", outcome="perhaps")]),
    "an outcome before the try": ({"malformed"}, [command(62, 61, "entity.put", name="c7", outcome="refused")]),
    "effective and not certified": (
        {"malformed"}, [msgspec.structs.replace(command(60, 61, "entity.put", name="c7", seq=9), certified_seq=8)],
    ),
    "leaves without commands": ({"malformed"}, [lineage(95, "b", GENESIS, leaves=["leaf1", "leaf2"])]),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found_and_nothing_else(name):
    expected, events = PLANTED[name]
    assert broken([*good(), *events]) == expected


def test_a_violation_says_where_and_when_and_shows_its_events():
    planted = check(60, 61, node="b", target='Agent::"other"', request="q2")
    [found] = judge([*good(), planted])
    assert found.property == "stale_allow"
    assert found.message == (
        'b allowed `Agent::"other"` at seq 1, asked at 0.000000 s; seq 2 was effective since 0.000000 s'
    )
    assert found.events == (certificate(45, 2), planted)


HARMLESS = {
    "asked before the certificate, answered after": [check(44, 60, request="q2", target="x")],
    "asked at the very moment": [check(45, 60, request="q2", target="x")],
    "local reasons differ": [check(60, 61, seq=2, reason="lease_expired"), check(60, 61, seq=2, reason="synchronizing")],
    "a node that lags": [lineage(97, "c", GENESIS)],
    "a later seq": [check(60, 61, seq=9, request="q2", target="x")],
    "the same lineage in pieces": [lineage(98, "c", ("c2", "applied"), first=2)],
    "a command of unknown outcome that worked": [
        command(60, 61, "entity.put", name="c3", outcome="unknown"),
        lineage(98, "a", GENESIS, ("c2", "applied"), ("c3", "applied")),
    ],
    "a command refused here and tried again there": [
        command(60, 61, "entity.put", name="c3", outcome="refused"),
        command(62, 63, "entity.put", name="c3", outcome="unknown"),
        lineage(98, "a", GENESIS, ("c2", "applied"), ("c3", "applied")),
    ],
    "a second try that hears of the first": [
        command(60, 61, name="c2", outcome="rejected", code="duplicate_command", seq=2)
    ],
    "a replay that was rejected": [lineage(98, "a", GENESIS, ("c2", "applied"), ("c2", "duplicate_command"))],
    "entries that hold no command": [
        lineage(98, "a", GENESIS, ("c2", "applied"), ("", "entry_malformed"), ("", "entry_malformed"))
    ],
    "a command that one node rejected by its own lights": [
        command(60, 61, "entity.put", name="c3", outcome="rejected"),
        lineage(98, "a", GENESIS, ("c2", "applied"), ("c3", "applied")),
    ],
    "a refused quarantine": [command(60, 61, name="c3", outcome="refused", target="x"), check(70, 71, target="x", seq=2, request="q2")],
    "a restart": [
        state(92, "a", life=1, standing="down"),
        state(95, "a", life=2, seq=1, signed_seq=2),
    ],
    "a retry with its receipt": [command(38, 90)],
    "a marked node denies whatever is asked": [
        command(60, 62, name="c3", seq=3, target="b"),
        check(70, 71, node="b", seq=3, target="x", request="q2", reason="quarantined"),
        check(70, 71, node="a", seq=3, target="x", request="q2"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", HARMLESS)
def test_what_may_happen_is_no_violation(name):
    assert judge([*good(), *HARMLESS[name]]) == []


def test_every_reason_is_either_replicated_or_local():
    assert REPLICATED | LOCAL == frozenset(Reason)
    assert not REPLICATED & LOCAL


def test_lies_of_an_engine_are_told_apart_from_those_of_a_node():
    events = [*good(), lineage(98, "b", GENESIS, ("c9", "applied"), leaves=["leaf1", "other"])]
    assert broken(events) == {"lineage_prefix", "lost_command"}
    assert judge(events, distrusted={"b"}) == []
    # What such a node answers still counts.
    lied = [*events, check(60, 61, node="b", request="q2", target="x")]
    assert {item.property for item in judge(lied, distrusted={"b"})} == {"stale_allow"}
    # And what it has signed must be remembered, whatever the engine forgets.
    forgot = [*good(), state(95, "b", life=2, signed_seq=1, term=0)]
    assert {item.property for item in judge(forgot, distrusted={"b"})} == {"monotone"}


def test_an_undecided_search_is_a_violation():
    events = []
    for n in range(8):
        events.append(
            command(0, 1000 + n, "quarantine" if n % 2 else "release", name=f"c{n}", outcome="effective", seq=n + 1)
        )
    events += [check(10 * n, 10 * n + 5, reason="quarantined" if n % 2 else "", seq=0, root="x") for n in range(8)]
    events = [item for item in events if isinstance(item, CommandTried)] + [
        msgspec.structs.replace(item, seq=1) for item in events if isinstance(item, Check)
    ]
    run = Run.of(events)
    assert list(linearizability(run)) == []
    [found] = linearizability(run, budget=-10_000)
    assert found.property == "undecided"


class TestLiveness:
    def live(self, events, within=20):
        return [(item.property, item.message) for item in judge(events, expect_live=True, live_within_ns=within)]

    def test_a_node_that_never_allows_again(self):
        events = [item for item in good() if not (isinstance(item, Check) and item.node == "c" and item.at > 30)]
        events = [item for item in events if not (isinstance(item, NodeState) and item.node == "c")]
        events.append(state(90, "c", standing="lease_expired", seq=2, certified_seq=2, signed_seq=2))
        assert self.live(events) == [
            ("liveness", "c did not allow again within 0.000000 s of 0.000000 s: lease_expired")
        ]
        assert judge(events) == []

    def test_a_node_that_is_down_need_not_allow(self):
        events = [item for item in good() if not (isinstance(item, Check) and item.node == "c" and item.at > 30)]
        events = [item for item in events if not (isinstance(item, NodeState) and item.node == "c")]
        assert self.live([*events, state(90, "c", standing="down")]) == []

    def test_a_fault_that_never_ends_leaves_it_undecided(self):
        assert self.live([*good(), FaultStarted(50, 2, "pause", ("a",))]) == [
            ("undecided", "fault 2 (pause) never ended")
        ]

    def test_a_run_that_ends_too_early_leaves_it_undecided(self):
        events = [*good(), FaultStarted(80, 2, "pause", ("a",)), FaultEnded(98, 2)]
        assert {name for name, _ in self.live(events)} == {"undecided"}

    def test_a_run_without_states_leaves_it_undecided(self):
        events = [item for item in good() if not isinstance(item, NodeState)]
        assert {name for name, _ in self.live(events)} == {"undecided"}

    def test_a_command_that_did_not_reach_a_node(self):
        events = [item for item in good() if not (isinstance(item, Lineage) and item.node == "c")]
        [(name, _)] = self.live([*events, lineage(99, "c", GENESIS)])
        assert name == "lost_command"

    def test_a_node_that_is_down_need_not_hold_it(self):
        events = [item for item in good() if not (isinstance(item, Lineage) and item.node == "c")]
        events += [lineage(99, "c", GENESIS), state(95, "c", standing="down")]
        assert self.live(events) == []

    def test_a_run_without_lineages_leaves_it_undecided(self):
        events = [item for item in good() if not isinstance(item, Lineage)]
        assert {name for name, _ in self.live(events)} == {"undecided"}


EARLY = {
    "an allow on what was never certified": check(80, 81, seq=9, target="x", request="q2"),
    "an allow before its certificate": check(42, 44, seq=2, target="x", request="q2"),
    "a receipt before its certificate": command(40, 44, "entity.put", name="c3", seq=2),
    "a receipt that names no certificate": command(80, 81, "entity.put", name="c3", seq=9),
}


@pytest.mark.parametrize("name", EARLY)
def test_what_rests_on_a_certificate_comes_after_it(name):
    assert judge(good(), all_certificates=True) == []
    found = {item.property for item in judge([*good(), EARLY[name]], all_certificates=True)}
    assert "uncertified" in found
    assert "uncertified" not in broken([*good(), EARLY[name]])


def test_a_flood_of_violations_is_cut():
    events = [*good(), *[check(60, 61, request="q2", target="x") for _ in range(100)]]
    assert 1 < len(judge(events)) <= 20
