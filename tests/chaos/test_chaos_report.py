"""The report: numbers that are those of the history, and a page that shows them without help."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest

from govraft.testing.chaos.options import ChaosOptions, ChaosResult
from govraft.testing.chaos.planner import Plan
from govraft.testing.chaos.report import PROPERTIES, make_report, summary_lines, write_report
from govraft.testing.chaos.timeline import STATES, timeline
from govraft.testing.checkers import Violation
from govraft.testing.history import Check, CommandTried, FaultEnded, FaultStarted, NodeState

S = 1_000_000_000
VOID = {"link", "meta", "rect", "path", "br"}


def check(at, node="node-1", allowed=True, reason=""):
    root = "aa" if allowed else ""
    return Check(at - 1000, at, "c", node, "agent-1", "r", allowed, reason, 5 if allowed else 0, root)


def history():
    fault = FaultStarted(3 * S, 1, "isolate-leader", ("node-1",), "all <links> cut")
    tried = CommandTried(8 * S, 8 * S + 5, "x", "quarantine", "agent-1", "node-2", "effective", "", 6, 6)
    lost = CommandTried(8 * S, 9 * S, "y", "release", "agent-1", "node-1", "unknown", "timed_out")
    events = [NodeState(n * S // 5, f"node-{k}", 1, "allow", 5, 5, 5, "node-2", 1) for n in range(61) for k in (1, 2)]
    events += [check(n * S // 5, "node-2") for n in range(61)]
    events += [check(n * S // 5) for n in range(15)]
    events += [check(n * S // 5, allowed=False, reason="partition_ambiguous") for n in range(20, 30)]
    events += [check(n * S // 5) for n in range(32, 61)]
    events += [fault, FaultEnded(6 * S, 1), tried, lost]
    return sorted(events, key=lambda event: event.at)


def result(tmp_path, violations=(), events=None):
    events = history() if events is None else events
    faults = [event for event in events if isinstance(event, FaultStarted)]
    plan = Plan("mixed", 3, (), {"loss": "the loopback proxy"})
    options = ChaosOptions(tmp_path, 3, "mixed", 3, 12.0)
    return ChaosResult(options, plan, "namespaces", events, list(violations), faults, ["bridge: not now"], 4)


class Reader(HTMLParser):
    """Fails on anything that is not closed; collects text and tags."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.text = [], set(), []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_numbers_are_those_of_the_history(tmp_path):
    report = make_report(result(tmp_path))
    assert (report.checks, report.allows, report.commands, report.faults) == (115, 105, 2, 1)
    assert report.denials_by_reason == {"partition_ambiguous": 10}
    assert report.commands_by_outcome == {"effective": 1, "unknown": 1}
    assert report.faults_by_kind == {"isolate-leader": 1}
    (row,) = report.unavailability
    # node-1 was hit; it allows again at 6.4 s, the fault is over at 6 s. node-2 allows five times a second.
    assert (row["recovery_worst_ms"], row["bystanders_worst_ms"], row["unrecovered"]) == (0, 200, 0)
    assert set(report.properties) == set(PROPERTIES)
    assert not any(report.properties.values())
    assert summary_lines(report)[-1] == "no violation"


def test_faults_that_overlap_do_not_blur_the_table_of_those_that_came_alone(tmp_path):
    base = [event for event in history() if not isinstance(event, FaultStarted | FaultEnded)]
    alone = [FaultStarted(1 * S, 1, "mute", ("node-1",)), FaultEnded(2 * S, 1)]
    pair = [
        FaultStarted(4 * S, 2, "mute", ("node-1",)),
        FaultStarted(5 * S, 3, "kill-leader", ("node-1",)),
        FaultEnded(5 * S + S // 2, 2),
        FaultEnded(6 * S, 3),
    ]
    events = sorted(base + alone + pair, key=lambda event: event.at)
    rows = {row["kind"]: row for row in make_report(result(tmp_path, events=events)).unavailability}
    assert (rows["mute"]["count"], rows["mute"]["alone"]) == (2, 1)
    assert (rows["kill-leader"]["count"], rows["kill-leader"]["alone"]) == (1, 0)
    assert rows["mute"]["recovery_worst_ms"] == 0
    together = make_report(result(tmp_path, events=sorted(base + pair, key=lambda event: event.at))).unavailability
    assert {row["kind"]: row["recovery_worst_ms"] for row in together}["mute"] > 0


def test_a_violation_is_counted_shown_and_can_be_replayed(tmp_path):
    broken = Violation.of("stale_allow", "node-1 <allowed> too late", check(5 * S))
    report = write_report(result(tmp_path, [broken]), tmp_path)
    assert report.properties["stale_allow"] == 1
    lines = summary_lines(report)
    assert "VIOLATION stale_allow: node-1 <allowed> too late" in lines
    assert lines[-1] == (
        "replay: scripts/chaos --nodes 3 --scenario mixed --seed 3 --duration 12s --network namespaces"
    )
    page = Reader((tmp_path / "report.html").read_text())
    text = " ".join(page.text)
    assert "✗ Violated: stale_allow ×1" in text
    assert "node-1 <allowed> too late" in text
    assert 'class="broken"' in (tmp_path / "report.html").read_text()
    stored = json.loads((tmp_path / "report.json").read_text())
    assert stored["violations"][0]["events"][0]["node"] == "node-1"


def test_a_property_that_is_unknown_here_is_not_hidden(tmp_path):
    report = make_report(result(tmp_path, [Violation("brand_new", "m", ())]))
    assert report.properties["brand_new"] == 1


def test_the_page_stands_alone_and_says_what_matters(tmp_path):
    write_report(result(tmp_path), tmp_path)
    text = (tmp_path / "report.html").read_text()
    page = Reader(text)
    assert not page.tags & {"script", "link", "img", "iframe"}
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    shown = " ".join(page.text)
    for wanted in (
        "✓ Nothing was violated", "isolate-leader", "node-2", "partition_ambiguous", "all <links> cut",
        "not possible here: needs the loopback proxy", "bridge: not now", "0:05",
    ):  # fmt: skip
        assert wanted in shown, wanted
    for state in STATES.values():
        assert state.words in shown


def test_the_picture_shows_a_denial_where_it_was(tmp_path):
    drawn = timeline(history(), [])
    assert drawn.count(f'fill="{STATES["no_lease"].colour}"') >= 1
    assert STATES["down"].colour not in drawn
    assert 'class="leader"' in drawn
    assert 'class="effective"' in drawn
    assert 'class="unknown"' in drawn
    without = timeline([event for event in history() if getattr(event, "reason", "") == ""], [])
    assert STATES["no_lease"].colour not in without
    assert timeline([], []) == ""


def test_a_long_run_goes_on_below():
    events = [NodeState(n * S, "node-1", 1, "allow", 1, 1) for n in range(200)]
    drawn = timeline(events, [])
    assert drawn.count("translate(0 ") == 4
    assert "3:00" in drawn


@pytest.mark.parametrize("standing", ["down", "node_unreachable", "node_starting", "clock_unsafe", "never_heard_of"])
def test_every_standing_has_a_colour(standing):
    drawn = timeline([NodeState(0, "node-1", 1, standing), NodeState(S, "node-1", 1, standing)], [])
    assert any(state.colour in drawn for state in STATES.values())
    assert STATES["serves"].colour not in drawn
