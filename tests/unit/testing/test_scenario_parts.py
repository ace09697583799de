"""How the scenarios of `scripts/scenarios` judge and tamper, on records made by hand."""

from __future__ import annotations

import json

import pytest
from scenario.audit import tamper
from scenario.figures import Findings, Grid, print_findings
from scenario.windows import deny_windows, longest_gap
from unit.core.evidence.audit_bench import AuditBench, Lines

from govraft.core.evidence.replay import replay_decisions
from govraft.testing.history import Check, CommandTried, FaultEnded, FaultStarted, NodeState
from govraft.testing.local_cluster_errors import ClusterError

MS = 1_000_000


def allow(at, node):
    return Check(at * MS - 1, at * MS, "c", node, "t", "q", True, "", 1, "r")


def deny(at, node):
    return Check(at * MS - 1, at * MS, "c", node, "t", "q", False, "lease_expired")


def effective(at):
    return CommandTried(at * MS - 1, at * MS, f"c{at}", "quarantine", "t", "a", "effective", "", at, at)


def test_windows_are_of_the_nodes_that_serve_and_that_the_step_is_not_about():
    events = [
        *(allow(at, node) for at in (5, 50, 90, 130, 260) for node in "ab"),
        *(deny(at, "a") for at in range(5, 300, 5)),
        NodeState(170 * MS, "a", 1, "allow"),
        NodeState(120 * MS, "a", 1, "lease_expired"),
        allow(105, "c"),
        effective(20),
        CommandTried(60 * MS, 60 * MS, "c60", "release", "t", "a", "rejected", "not_quarantined", 2),
        effective(105),
        FaultStarted(10 * MS, 1, "add c", ("c",)),
        FaultEnded(100 * MS, 1),
        FaultStarted(100 * MS, 2, "remove b, leading", ("b",)),
        FaultEnded(200 * MS, 2),
        FaultStarted(200 * MS, 3, "promote c", ()),
        FaultEnded(300 * MS, 3),
    ]
    add, remove, promote = deny_windows(events)
    assert (add.name, add.took_ms, add.denied_ms, add.command_ms) == ("add c", 90, {"a": 40, "b": 40}, 80)
    assert (remove.denied_ms, remove.command_ms) == ({"a": 40}, 95)
    assert promote.denied_ms == {"a": 60, "c": 100}


@pytest.mark.parametrize(
    ("moments", "gap"), [([], 10), ([5], 5), ([0, 12], 10), ([-5, 3, 4, 20], 6), ([10], 10), ([1, 9], 8)]
)
def test_the_ends_of_a_stretch_count(moments, gap):
    assert longest_gap([moment * MS for moment in moments], 0, 10 * MS) == gap


@pytest.mark.parametrize("count", [40, 90])
def test_an_audit_finds_what_was_tampered_with_and_nothing_else(count):
    bench = AuditBench()
    for number in range(count):
        if number % 10 == 2:
            bench.quarantine(f"a{number // 10}")
        bench.ask(f"a{number % 9}", "run")
    bench.anchor()
    lines = bench.decisions()
    changed, expected = tamper(lines)
    assert len(changed) == len(lines) - 1
    report = replay_decisions(Lines(changed), bench.lineage(), bench.genesis)
    assert [(item.index, item.problem) for item in report.mismatches] == expected
    assert sorted(problem for _, problem in expected) == ["missing", "verdict", "verdict"]
    assert replay_decisions(Lines(lines), bench.lineage(), bench.genesis).is_clean


def test_a_log_without_denials_is_not_tampered_with():
    bench = AuditBench()
    bench.ask("a", "run")
    with pytest.raises(ClusterError, match="nothing can be tampered with"):
        tamper(bench.decisions())


def findings():
    found = Findings("trial", load=[0.5, 1.0])
    found.add("speed", 1234.5, "km/h", "downhill")
    found.grids.append(Grid("a grid", ("step", "took"), (("first", 12.3), ("second", None))))
    found.demand("two is not three", holds=False)
    found.demand("never said", holds=True)
    return found


def test_findings_are_printed_for_people(capsys):
    print_findings(findings(), "table")
    said = capsys.readouterr().out
    for wanted in (
        "speed",
        "1,234",
        "km/h",
        "downhill",
        "a grid",
        "12.3",
        "WRONG: two is not three",
        "1 things are wrong",
    ):
        assert wanted in said
    assert "never said" not in said


def test_findings_are_printed_for_programs(capsys):
    print_findings(findings(), "json")
    found = json.loads(capsys.readouterr().out)
    assert found["scenario"] == "trial"
    assert found["problems"] == ["two is not three"]
    assert found["figures"] == [{"name": "speed", "value": 1234.5, "unit": "km/h", "note": "downhill"}]
