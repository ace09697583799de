"""Which of several nodes is asked, and what happens when it goes away."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from govraft.api.peer_credentials import PeerRules
from govraft.errors import AvailabilityError
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


def test_when_nobody_answers_it_is_unavailable(cluster, tmp_path: Path) -> None:
    nobody = ("--endpoint", f"unix://{tmp_path}/a", "--endpoint", f"unix://{tmp_path}/b", "--timeout", "0.5")
    for arguments in (REVOKE, ("policy", "list"), ("authority", "list")):
        assert cluster(*arguments, *nobody).code == 3


def test_an_unknown_outcome_is_asked_again_with_the_same_envelope(cluster) -> None:
    seen: list[tuple[bytes, bool]] = []
    real = cluster.node.submit

    async def submit(envelope: bytes, *, wait: str, timeout_s: float, retry: bool):
        seen.append((envelope, retry))
        if len(seen) == 1:
            raise AvailabilityError("lost", code="outcome_unknown", definite=False)
        return await real(envelope, wait=wait, timeout_s=timeout_s, retry=retry)

    cluster.node.submit = submit
    assert cluster(*REVOKE).code == 0
    assert seen == [(seen[0][0], False), (seen[0][0], True)]


def test_an_outcome_that_stays_unknown_is_said_to_be(cluster) -> None:
    async def submit(envelope: bytes, *, wait: str, timeout_s: float, retry: bool):
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
