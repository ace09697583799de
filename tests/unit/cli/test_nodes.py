"""Which of several nodes is asked, and what happens when it goes away."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from govraft.api.peer_credentials import PeerRules
from govraft.errors import AvailabilityError, RejectedError
from govraft.testing.node_stub import NodeStub

AGENT = 'Agent::"a"'
REVOKE = ("revoke", "subject", AGENT, "--reason", "x")


@pytest.fixture
def cut_off(cluster, sample) -> Iterator[object]:
    """A second node, listed first, that answers but brings nothing through."""
    node = type(cluster.node)(sample)
    node.read_status = lambda _: {"node": "n0", "seq": 1, "standing": "leader_unconfirmed", "message": ""}
    file = cluster.directory / "cluster.json"
    index = json.loads(file.read_text())
    index["nodes"].insert(0, {"id": "n0", "socket": "s0", "config": "x"})
    file.write_text(json.dumps(index))
    with NodeStub(cluster.directory / "s0", node, rules=PeerRules(frozenset({os.getuid()}))):
        yield node


def test_commands_go_to_a_node_that_may_allow(cluster, cut_off) -> None:
    assert cluster(*REVOKE).code == 0
    assert (cluster.node.machine.seq, cut_off.machine.seq) == (2, 1)


def test_without_such_a_node_any_that_answers_is_asked(cluster, cut_off) -> None:
    assert cluster(*REVOKE, "--endpoint", "n0", "--endpoint", "unix:///nonexistent/s").code == 0
    assert cut_off.machine.seq == 2


def test_terms_that_jumped_are_an_alarm(cluster, cut_off) -> None:
    healthy = {"node": "n0", "seq": 1, "standing": "allow", "message": ""}
    for jumps, text in (({"n4": 3}, "term_jumps: frames named"), ({}, ""), (None, ""), (3, "")):
        cut_off.read_status = lambda _, jumps=jumps: healthy | {"term_jumps": jumps}
        row, *_ = json.loads(cluster("status", "--endpoint", "n0", "-o", "json").out)
        assert row["error"].startswith(text) and bool(row["error"]) == bool(text)


def test_when_nobody_answers_it_is_unavailable(cluster, tmp_path: Path) -> None:
    nobody = ("--endpoint", f"unix://{tmp_path}/a", "--endpoint", f"unix://{tmp_path}/b", "--timeout", "0.5")
    for arguments in (REVOKE, ("policy", "list"), ("authority", "list")):
        assert cluster(*arguments, *nobody).code == 3


def test_an_unknown_outcome_is_asked_again_with_the_same_envelope(cluster) -> None:
    seen: list[tuple[bytes, bool]] = []
    real = cluster.node.submit

    async def submit(envelope: bytes, *, wait: str, timeout_s: float, retry: bool, at_least: int):
        seen.append((envelope, retry))
        if len(seen) == 1:
            raise AvailabilityError("lost", code="outcome_unknown", definite=False)
        return await real(envelope, wait=wait, timeout_s=timeout_s, retry=retry)

    cluster.node.submit = submit
    assert cluster(*REVOKE).code == 0
    assert seen == [(seen[0][0], False), (seen[0][0], True)]


@pytest.fixture
def said(cluster, cut_off) -> list[str]:
    """What the two nodes are asked, in order: `n0 retry=False`. The first one brings nothing through, and looks able."""
    asked: list[str] = []
    cut_off.read_status = cluster.node.read_status
    real = cluster.node.submit

    async def first(envelope: bytes, *, wait: str, timeout_s: float, retry: bool, at_least: int):
        asked.append(f"n0 {retry=} {at_least=}")
        raise AvailabilityError("this node reaches no leader", code="unavailable")

    async def second(envelope: bytes, *, wait: str, timeout_s: float, retry: bool, at_least: int):
        asked.append(f"n1 {retry=} {at_least=}")
        return await real(envelope, wait=wait, timeout_s=timeout_s, retry=retry)

    cut_off.submit, cluster.node.submit = first, second
    return asked


def test_a_node_that_is_unavailable_is_passed_over_for_the_next_one(cluster, said: list[str]) -> None:
    """Nothing was proposed there: the next one may judge the command anew."""
    assert cluster(*REVOKE, "--at-least", "1").code == 0
    assert said == ["n0 retry=False at_least=1", "n1 retry=False at_least=1"]


def test_one_unknown_answer_makes_all_unknown(cluster, cut_off, said: list[str]) -> None:
    """The first node may have brought the command to a leader; what the second refuses may still take effect."""

    async def lost(envelope: bytes, *, wait: str, timeout_s: float, retry: bool, at_least: int):
        said.append("n0")
        raise RejectedError("the leader says no", code="policy_unknown", definite=False)

    async def refused(envelope: bytes, *, wait: str, timeout_s: float, retry: bool, at_least: int):
        said.append(f"n1 {retry=}")
        raise RejectedError("no", code="policy_unknown", definite=not retry)

    cut_off.submit, cluster.node.submit = lost, refused
    done = cluster(*REVOKE, "--timeout", "1")
    assert said[:2] == ["n0", "n1 retry=True"]
    assert done.code == 3
    assert "[outcome_unknown]" in done.err


def test_when_all_are_unavailable_nothing_was_done(cluster, said: list[str]) -> None:
    async def neither(envelope: bytes, *, wait: str, timeout_s: float, retry: bool, at_least: int):
        said.append("n1")
        raise AvailabilityError("this node reaches no leader", code="unavailable")

    cluster.node.submit = neither
    done = cluster(*REVOKE, "--timeout", "1")
    assert said[1] == "n1"
    assert len(said) > 2, "asked again: a leader may be elected meanwhile"
    assert done.code == 3
    assert "[unavailable]" in done.err
    assert "unknown" not in done.err


def test_an_outcome_that_stays_unknown_is_said_to_be(cluster) -> None:
    async def submit(envelope: bytes, *, wait: str, timeout_s: float, retry: bool, at_least: int):
        raise AvailabilityError("lost", code="outcome_unknown", definite=False)

    cluster.node.submit = submit
    done = cluster(*REVOKE, "--timeout", "0.3")
    assert (done.code, done.out) == (3, "")
    assert "whether it took effect is unknown" in done.err


@pytest.mark.parametrize("what", ["policies", "authorities", "certificate", "lineage", "genesis"])
def test_an_answer_of_another_shape_is_no_answer(cluster, tmp_path: Path, what: str, monkeypatch) -> None:
    setattr(cluster.node, f"read_{what}", lambda _: {"odd": 1})
    monkeypatch.delenv("GOVRAFT_CLUSTER")
    commands = {
        "policies": ("policy", "list"),
        "authorities": ("authority", "list"),
        "certificate": ("lineage", "export", tmp_path / "l"),
        "lineage": ("lineage", "list"),
        "genesis": REVOKE,
    }
    done = cluster(*commands[what], "--endpoint", f"unix://{cluster.directory}/s")
    assert (done.code, done.out) == (3, "")
    assert "Traceback" not in done.err
    assert "a defect" not in done.err
