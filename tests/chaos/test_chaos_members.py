"""Members that come and go in a chaos run: clean when the nodes are, dirty when one that was removed goes on."""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from govraft.errors import AvailabilityError, InputError, RejectedError
from govraft.testing.chaos.catalogue import GROUPS, NEMESES
from govraft.testing.chaos.members import CHANGES, MemberChurn
from govraft.testing.chaos.nemesis import Arena, UnavailableFaultError
from govraft.testing.chaos.options import ChaosOptions
from govraft.testing.chaos.report import make_report, write_report
from govraft.testing.chaos.run import run_chaos
from govraft.testing.chaos.scenarios import SCENARIOS
from govraft.testing.chaos.timeline import FAULT_COLOURS
from govraft.testing.chaos.workload import Orders
from govraft.testing.history import FaultEnded, FaultStarted, NodeState

STALE = str(Path(__file__).with_name("stale_node.py"))
S = 1_000_000_000


def fake(*names, running=True):
    return {name: SimpleNamespace(id=name, is_running=running, endpoint=f"unix:///nowhere/{name}") for name in names}


@pytest.fixture
def arena(tmp_path):
    made = Arena(SimpleNamespace(nodes=fake("a", "b", "c")), tmp_path)
    yield made
    made.close()


def test_whoever_is_claimed_is_nobody_elses(arena):
    assert arena.claim("a")
    assert not arena.claim("a")
    assert [node.id for node in arena.take(2, random.Random(1))] == ["b", "c"]
    with pytest.raises(UnavailableFaultError):
        arena.take(1, random.Random(1))
    assert not arena.claim("b")
    arena.give_back(fake("a", "b").values())
    assert arena.claim("b")
    assert arena.busy == {"b", "c"}


def test_a_quorum_is_of_the_nodes_that_there_are(arena):
    assert arena.quorum == 2
    arena.cluster.nodes = fake(*"abcde")
    assert arena.quorum == 3


def test_spares_are_left_alone_until_they_have_a_socket(tmp_path):
    endpoints = {"a": "unix:///nowhere/a.sock", "b": f"unix://{tmp_path}/b.sock"}
    orders = Orders("w", "ask", "/", endpoints, ["t"], 1.0, 1, 1, "h", ["b"])
    assert (orders.is_there("a"), orders.is_there("b")) == (True, False)
    (tmp_path / "b.sock").touch()
    assert orders.is_there("b")


class Office:
    def __init__(self, error=None):
        self.error = error

    def remove_member(self, node_id):
        return b"envelope"


def churn(arena, error, changed):
    """A churn whose every command ends with this error; `changed` is set when one did."""

    def submit(envelope, **_):
        changed.set()
        raise error

    arena.cluster.submit, arena.cluster.commands = submit, Office()
    events, numbers = [], iter(range(1, 1000))
    dice = random.Random(1)
    dice.uniform = lambda *_: 0.001
    dice.random = lambda: 0.9
    made = MemberChurn(arena, dice, [], watch=lambda _: None, record=events.append, number=lambda: next(numbers))
    return made, events


@pytest.mark.parametrize(
    "error", [RejectedError("no", code="last_voter", seq=9), AvailabilityError("late"), ValueError("a mistake")]
)
def test_a_change_that_cannot_be_made_is_a_finding(arena, error):
    arena.cluster.nodes = fake(*"abcd")
    changed = threading.Event()
    made, events = churn(arena, error, changed)
    made.start()
    assert changed.wait(10)
    made.stop()
    made.close()
    assert made.findings and any(str(error) in finding for finding in made.findings)
    assert made.changes == dict.fromkeys(CHANGES, 0)
    started = [event for event in events if isinstance(event, FaultStarted)]
    assert {event.kind for event in started} == {"shrink-members"}
    assert Counter(event.fault for event in started) == Counter(e.fault for e in events if isinstance(e, FaultEnded))


def test_the_opinion_of_one_node_is_not_final(arena):
    answers = [RejectedError("no", code="member_unknown"), RejectedError("no", code="member_unknown"), "receipt"]

    def submit(envelope, **_):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    made, _ = churn(arena, RejectedError("no"), threading.Event())
    arena.cluster.submit = submit
    assert made._submit_patiently(b"envelope") == "receipt"
    answers += [RejectedError("no", code="member_unknown", seq=5), "receipt"]
    with pytest.raises(RejectedError):
        made._submit_patiently(b"envelope")


def test_nothing_is_changed_where_nothing_can_be(arena):
    made, events = churn(arena, RejectedError("no"), threading.Event())
    made._change()
    assert (events, made.findings, arena.outside) == ([], [], set())


def test_every_kind_of_change_has_a_colour_and_a_place_in_the_report(tmp_path):
    assert set(GROUPS) == set(NEMESES) | set(CHANGES)
    assert set(GROUPS.values()) <= set(FAULT_COLOURS)
    events = [NodeState(at * S, "node-1", 1, "allow", 1, 1, 1, "node-1", 1) for at in range(9)]
    for number, kind in enumerate(CHANGES, 1):
        events += [FaultStarted(number * S, number, kind, ("node-1",)), FaultEnded((number + 1) * S, number)]
    events.sort(key=lambda event: event.at)
    faults = [event for event in events if isinstance(event, FaultStarted)]
    plan = SimpleNamespace(missing={})
    options = ChaosOptions(tmp_path, scenario="members")
    result = SimpleNamespace(
        options=options, plan=plan, network="proxy", events=events, violations=[], faults=faults, skipped=[],
        signed_reads=0,
    )  # fmt: skip
    assert [row["kind"] for row in make_report(result).unavailability] == list(CHANGES)
    write_report(result, tmp_path)
    assert "rotate-member" in (tmp_path / "report.html").read_text()


def test_nodes_cannot_join_in_namespaces(tmp_path):
    with pytest.raises(InputError, match="choose `--network proxy`"):
        run_chaos(ChaosOptions(tmp_path / "out", scenario="members", network="namespaces"))
    assert not (tmp_path / "out").exists()


def test_only_one_scenario_moves_members():
    assert [name for name, scenario in SCENARIOS.items() if scenario.members] == ["members"]


@pytest.mark.cluster
def test_members_come_and_go_under_faults(tmp_path):
    result = run_chaos(ChaosOptions(tmp_path / "out", scenario="members", seed=2, duration_s=14, checks_per_s=700))
    assert [(item.property, item.message) for item in result.violations] == []
    kinds = Counter(fault.kind for fault in result.faults)
    assert sum(kinds[kind] for kind in CHANGES) >= 1
    assert sum(kinds[kind] for kind in NEMESES) >= 1
    assert result.network == "proxy"
    write_report(result, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "report.json").read_text())["faults"] == len(result.faults)


@pytest.mark.cluster
@pytest.mark.soak
def test_a_node_that_goes_on_allowing_is_found_while_members_move(tmp_path):
    programs = {f"node-{number}": [STALE] for number in (1, 2, 3)}
    options = ChaosOptions(
        tmp_path / "out", scenario="members", seed=2, duration_s=14, checks_per_s=700, programs=programs
    )
    assert "stale_allow" in {violation.property for violation in run_chaos(options).violations}
