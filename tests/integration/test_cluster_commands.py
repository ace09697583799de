"""`govraft cluster`: real processes, started, cut off, healed and stopped through the command line."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from govraft.cli.cluster_directory import load_directory
from govraft.cli.cluster_run import _locked, node_states, stop_cluster
from govraft.cli.main import run
from govraft.cli.processes import find_process
from govraft.errors import ConfigError

pytestmark = pytest.mark.cluster

Invoke = Callable[..., tuple[int, Any, str]]


@pytest.fixture
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("c") / "c"  # Short: socket paths are.
    assert run(["init", "--out", str(path)]) == 0
    yield path
    stop_cluster(load_directory(path))


@pytest.fixture
def cluster(directory: Path, capsys: pytest.CaptureFixture[str]) -> Invoke:
    def invoke(verb: str, *arguments: str) -> tuple[int, Any, str]:
        capsys.readouterr()
        code = run(["cluster", verb, str(directory), *arguments, "-o", "json"])
        printed = capsys.readouterr()
        return code, json.loads(printed.out) if printed.out else None, printed.err

    return invoke


def wait_for(directory: Path, wanted: dict[str, bool], timeout_s: float = 15) -> None:
    """Wait until each node's standing is an allow, or is not, as wanted."""
    deadline = time.monotonic() + timeout_s
    while True:
        standings = {state.id: state.standing for state in node_states(load_directory(directory))}
        if {node: standings[node] == "allow" for node in wanted} == wanted:
            return
        assert time.monotonic() < deadline, standings
        time.sleep(0.02)


def test_up_status_down(directory: Path, cluster: Invoke) -> None:
    code, nodes, _ = cluster("up")
    assert code == 0
    assert [(node["id"], node["standing"]) for node in nodes] == [(f"node-{n}", "allow") for n in (1, 2, 3)]
    code, again, _ = cluster("up")
    assert code == 0
    assert [node["pid"] for node in again] == [node["pid"] for node in nodes]
    assert cluster("status")[0] == 0
    code, _, said = cluster("up", "--proxied")
    assert code == 2
    assert "cluster down" in said
    code, _, said = cluster("cut", "node-1")
    assert code == 2
    assert "--proxied" in said
    code, outcomes, _ = cluster("down")
    assert (code, outcomes) == (0, {f"node-{n}": "stopped" for n in (1, 2, 3)})
    code, outcomes, _ = cluster("down")
    assert (code, outcomes) == (0, {f"node-{n}": "not running" for n in (1, 2, 3)})
    code, nodes, _ = cluster("status")
    assert code == 3
    assert {node["standing"] for node in nodes} == {"node_unreachable"}
    assert list((directory / "run").glob("*.pid")) == []


def test_a_killed_node_is_started_again_and_the_others_are_left_alone(directory: Path, cluster: Invoke) -> None:
    _, before, _ = cluster("up")
    os.kill(before[1]["pid"], signal.SIGKILL)
    os.waitpid(before[1]["pid"], 0)
    code, after, _ = cluster("up")
    assert code == 0
    assert [new["pid"] == old["pid"] for new, old in zip(after, before, strict=True)] == [True, False, True]


def test_a_node_that_is_cut_off_denies_while_the_others_allow(directory: Path, cluster: Invoke) -> None:
    _, nodes, _ = cluster("up", "--proxied")
    leader = next(node["id"] for node in nodes if node["status"]["is_leader"])
    others = {node["id"]: True for node in nodes if node["id"] != leader}
    code, links, _ = cluster("cut", leader)
    assert code == 0
    assert sum(link["mode"] == "cut" for link in links) == 4
    wait_for(directory, {leader: False, **others})
    assert find_process(load_directory(directory).pid_path(leader)) is not None
    assert cluster("status")[0] == 3
    assert cluster("heal", leader)[0] == 0
    wait_for(directory, {leader: True, **others})


def test_what_one_node_sends_can_be_cut_alone(directory: Path, cluster: Invoke) -> None:
    _, nodes, _ = cluster("up", "--proxied")
    follower = next(node["id"] for node in nodes if not node["status"]["is_leader"])
    code, links, _ = cluster("cut", follower, "--from", "--mode", "hold")
    assert code == 0
    assert {(link["from"], link["mode"]) for link in links if link["mode"] != "open"} == {(follower, "hold")}
    # It hears the others, but none of them hears it ask for a lease.
    wait_for(directory, {node["id"]: node["id"] != follower for node in nodes})
    assert cluster("heal")[0] == 0
    wait_for(directory, {node["id"]: True for node in nodes})


def test_an_up_that_fails_stops_what_it_started_and_says_why(directory: Path, cluster: Invoke) -> None:
    (directory / "nodes" / "node-2" / "node-2.key.pem").chmod(0o644)
    code, printed, said = cluster("up")
    assert (code, printed) == (3, None)
    assert "node-2" in said
    assert "0644" in said
    loaded = load_directory(directory)
    assert [find_process(loaded.pid_path(node.id)) for node in loaded.nodes] == [None] * 3


def test_a_configuration_that_cannot_be_used_starts_nothing(directory: Path, cluster: Invoke) -> None:
    config = directory / "nodes" / "node-3" / "node.toml"
    config.write_text(config.read_text().replace('"lan"', '"moon"'))
    code, printed, said = cluster("up")
    assert (code, printed) == (2, None)
    assert "timing.profile" in said
    assert find_process(load_directory(directory).pid_path("node-1")) is None


def test_addresses_of_its_own_are_not_replaced(directory: Path, cluster: Invoke) -> None:
    config = directory / "nodes" / "node-3" / "node.toml"
    config.write_text(config.read_text() + '[peers]\n"node-1" = "127.0.0.1:1"\n')
    code, _, said = cluster("up", "--proxied")
    assert code == 2
    assert "peers" in said


def test_two_commands_do_not_work_on_one_cluster_at_once(directory: Path, cluster: Invoke) -> None:
    with _locked(load_directory(directory)):
        for verb in ("up", "down"):
            code, _, said = cluster(verb)
            assert code == 3
            assert "another" in said


def test_nodes_do_not_inherit_the_passphrase_of_the_keys(
    directory: Path, cluster: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOVRAFT_KEY_PASSPHRASE", "correct horse")
    monkeypatch.setenv("GOVRAFT_OTHER", "seen")
    _, nodes, _ = cluster("up")
    environment = Path(f"/proc/{nodes[0]['pid']}/environ").read_bytes()
    assert b"GOVRAFT_OTHER" in environment
    assert b"correct horse" not in environment


def test_a_node_that_is_no_member_is_refused(directory: Path, cluster: Invoke) -> None:
    cluster("up", "--proxied")
    for verb in ("cut", "heal"):
        code, _, said = cluster(verb, "node-9")
        assert code == 2
        assert "node-1, node-2, node-3" in said


def test_a_directory_that_is_no_cluster_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="govraft init"):
        load_directory(tmp_path)


def test_a_removed_node_is_neither_asked_nor_started_and_can_be_stopped(
    directory: Path, cluster: Invoke, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cluster("up")[0] == 0
    where = ("--cluster", str(directory))
    assert run(["member", "remove", "node-3", "--reason", "moved", *where]) == 0
    # It runs on, and denies; the others are the cluster.
    code, nodes, _ = cluster("up")
    assert (code, [node["id"] for node in nodes]) == (0, ["node-1", "node-2"])
    assert cluster("status")[0] == 0
    capsys.readouterr()
    assert run(["status", *where, "-o", "json"]) == 0
    assert [item["endpoint"] for item in json.loads(capsys.readouterr().out)] == ["node-1", "node-2"]
    code, outcomes, _ = cluster("down")
    assert (code, outcomes) == (0, {f"node-{n}": "stopped" for n in (1, 2, 3)})
    code, nodes, _ = cluster("up")
    assert (code, [node["id"] for node in nodes]) == (0, ["node-1", "node-2"])
    # An index that does not know of the removal, as of a copy of the directory made before, stops nobody either.
    index = directory / "cluster.json"
    index.write_text(index.read_text().replace('"removed": true', '"removed": false'))
    code, nodes, _ = cluster("up")
    assert (code, {node["id"]: node["standing"] for node in nodes}) == (
        0,
        {"node-1": "allow", "node-2": "allow", "node-3": "revoked"},
    )
