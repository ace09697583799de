"""A node that meets rules which it does not know: it stops applying, denies, says why, and goes on when it is updated."""

from __future__ import annotations

import pytest
from permit_cluster import PermitCluster as Cluster

from govraft.core.machine import machine as machine_module
from govraft.core.model.commands import ClusterRules
from govraft.core.model.reasons import Reason
from govraft.core.model.rules import RULES_NEWEST
from govraft.node import core as core_module
from govraft.node import gate as gate_module

FUTURE = RULES_NEWEST + 1


def know(monkeypatch: pytest.MonkeyPatch, newest: int) -> None:
    """Which version of govraft all nodes run from now on."""
    for module in (machine_module, core_module):
        monkeypatch.setattr(module, "RULES_NEWEST", newest)


def raised(sim: Cluster, monkeypatch: pytest.MonkeyPatch) -> int:
    """A cluster that went over to future rules, and applied one more entry by them; its seq."""
    know(monkeypatch, FUTURE)
    for node in sim.nodes.values():
        node.core.submissions.peer_rules.update(dict.fromkeys(sim.nodes, FUTURE))
    sim.govern(sim.envelope(ClusterRules(**sim.header("raise"), to=FUTURE), "root-1"))
    sim.govern(sim.quarantine("after"))
    assert sim.leader.core.machine.rules == FUTURE
    return int(sim.leader.core.machine.seq)


@pytest.mark.parametrize("snapshot_entries", [2, 10_000])
def test_a_node_denies(monkeypatch: pytest.MonkeyPatch, snapshot_entries: int) -> None:
    sim = Cluster(snapshot_entries=snapshot_entries)
    seq = raised(sim, monkeypatch)
    follower = next(name for name, node in sim.nodes.items() if not node.core.sequencer.is_leader)
    sim.crash(follower)
    know(monkeypatch, RULES_NEWEST)
    sim.start(follower)
    core = sim.nodes[follower].core
    assert (core.machine.rules, core.machine.seq) == (FUTURE, seq - 1), "it applied up to the raise, and no more"
    standing = core.gate.standing()
    assert (standing.lease, standing.reason) == (None, Reason.NODE_STARTING)
    assert f"rules {FUTURE}" in standing.message
    assert "update govraft" in standing.message
    answers: list[object] = []
    core.submit(sim.quarantine("x"), wait="effective", timeout_ms=1000, done=answers.append)
    assert [answer.code for answer in answers] == ["rules_unknown"]
    know(monkeypatch, FUTURE)
    sim.crash(follower)
    sim.start(follower)
    assert sim.nodes[follower].core.machine.seq == seq, "an updated node takes all of it"


def test_it_says_nothing_to_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    sim = Cluster()
    raised(sim, monkeypatch)
    know(monkeypatch, RULES_NEWEST)
    name = next(name for name, node in sim.nodes.items() if not node.core.sequencer.is_leader)
    sim.crash(name)
    sim.start(name)
    core = sim.nodes[name].core
    core.take_effects()
    for _ in range(40):
        sim.now_ns += 100_000_000
        core.settle()
        assert all(send.channel != core_module.RAFT_CHANNEL for send in core.take_effects().sends)
    assert gate_module.explain_unknown_rules(FUTURE) in core.gate.standing().message


def test_the_leader_waits_for_every_member() -> None:
    """Nobody is left behind: a member that is away, or runs an older version, is named."""
    sim = Cluster()
    raising = sim.envelope(ClusterRules(**sim.header("raise"), to=FUTURE), "root-1")
    leader = sim.leader
    known = leader.core.submissions.peer_rules
    assert known == dict.fromkeys(sim.nodes, RULES_NEWEST)
    known.update(dict.fromkeys(sim.nodes, FUTURE))
    other = next(name for name in sim.nodes if name != leader.id)
    for old in (RULES_NEWEST, None):
        known[other] = old
        if old is None:
            del known[other]
        answers = sim.submit(leader.id, raising)
        sim.run_until(lambda: answers)  # noqa: B023 - run at once
        assert (answers[0].code, answers[0].definite) == ("rules_not_known", True)
        assert f"`{other}`" in str(answers[0])
    assert leader.core.machine.rules == RULES_NEWEST
