"""Decision logs of real nodes: recorded, anchored, exported and evaluated again; and what a kill leaves of them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from integration.cluster_harness import ACTION, TOOL, Cluster, eventually

from govraft.adapters.decision_log import DecisionLogReader
from govraft.cli.main import run
from govraft.core.evidence.decisions import DecisionRecord, decode_leaf

pytestmark = pytest.mark.cluster

STRICT = '[decisions]\nmode = "strict"\nanchor_s = 1'
MASKED = '[decisions]\nmasked = ["principal"]\nanchor_s = 1'


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    timing = {"node-1": "[decisions]\nanchor_s = 1", "node-2": STRICT, "node-3": MASKED}
    with Cluster(timing=timing) as cluster:
        cluster.start()
        cluster.permit_all()
        yield cluster


@pytest.fixture(autouse=True)
def _whole(cluster: Cluster) -> None:
    cluster.start()


def log_of(cluster: Cluster, node: str) -> Path:
    return cluster.home / "nodes" / node / "data" / "decisions.db"


def records(cluster: Cluster, node: str) -> list[DecisionRecord]:
    reader = DecisionLogReader(log_of(cluster, node))
    try:
        found = [decode_leaf(leaf) for leaf in reader.leaves(0, reader.tree.size)]
    finally:
        reader.close()
    return [record for record in found if isinstance(record, DecisionRecord)]


def recorded(cluster: Cluster, node: str, *decisions: str) -> list[DecisionRecord]:
    def there() -> list[DecisionRecord] | None:
        found = {record.decision: record for record in records(cluster, node)}
        return [found[name] for name in decisions] if found.keys() >= set(decisions) else None

    return eventually(there, lambda: f"{decisions} are not in the log of {node}")


def govraft(capsys: Any, *arguments: object) -> tuple[int, Any, str]:
    capsys.readouterr()
    code = run(["-o", "json", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, json.loads(out) if out.strip() else None, err


def test_every_answer_leaves_its_record(cluster: Cluster) -> None:
    node = cluster.nodes["node-1"]
    allow = node.check("recorded")
    deny = node.client.check('Agent::"recorded"', 'Action::"no such"', TOOL)
    batch = node.client.check_many([(f'Agent::"b{number}"', ACTION, TOOL) for number in range(20)])
    assert allow and not deny and all(batch)
    found = recorded(cluster, "node-1", *(item.decision for item in (allow, deny, *batch)))
    assert [record.verdict for record in found] == ["allow", "deny", *["allow"] * 20]
    assert found[0].request == {"principal": 'Agent::"recorded"', "action": ACTION, "resource": TOOL, "context": {}}
    assert (found[0].node, found[0].seq, found[0].state_root) == ("node-1", allow.seq, allow.state_root)
    assert found[0].policies == allow.policies and found[1].reason == deny.reason
    assert 0 < found[0].latency_us < 10_000_000


def test_what_never_came_to_the_gate_is_recorded_too(cluster: Cluster) -> None:
    before = len(records(cluster, "node-1"))
    deny = cluster.nodes["node-1"].client.check('Agent::"x"', ACTION, TOOL, context={"big": "x" * 100_000})
    assert not deny and not deny.decision
    # Whether the client or the node refuses it, the next decision is there, and nothing was lost.
    allow = cluster.nodes["node-1"].check("after")
    recorded(cluster, "node-1", allow.decision)
    assert len(records(cluster, "node-1")) > before


def test_a_masked_log_does_not_say_who_asked(cluster: Cluster) -> None:
    allow = cluster.nodes["node-3"].check("secret-agent")
    (record,) = recorded(cluster, "node-3", allow.decision)
    assert record.masked == ["principal"] and record.request is not None
    assert list(record.request["principal"]) == ["masked"]
    files = list(log_of(cluster, "node-3").parent.glob("decisions.db*"))
    assert len(files) == 3 and all(b"secret-agent" not in file.read_bytes() for file in files)


@pytest.mark.clause("5 audit registries")
@pytest.mark.clause("6 distributed audit reconciliation")
def test_logs_are_anchored_exported_and_evaluated_again(cluster: Cluster, tmp_path: Path, capsys: Any) -> None:
    for node in cluster.nodes.values():
        for number in range(30):
            node.check(f"agent-{number % 7}")
    cluster.submit(cluster.quarantine("agent-3"))
    sizes = {}
    for name, node in cluster.nodes.items():
        deny = node.check("agent-3")
        assert not deny
        recorded(cluster, name, deny.decision)
        sizes[name] = len(records(cluster, name))

    def anchored() -> bool:
        anchors = {item["node"]: item["size"] for item in cluster.nodes["node-1"].client.read("anchors")}
        return all(anchors.get(name, 0) >= size for name, size in sizes.items())

    eventually(anchored, cluster.describe)
    genesis = cluster.home / "genesis.json"
    for name in cluster.nodes:
        code, _, err = govraft(capsys, "--cluster", cluster.home, "audit", "export", name, tmp_path / f"{name}.jsonl")
        assert code == 0, err
    cluster.settled()
    code, _, err = govraft(capsys, "--cluster", cluster.home, "lineage", "export", tmp_path / "lineage.jsonl")
    assert code == 0, err
    for name, size in sizes.items():
        lineage = ("--lineage", tmp_path / "lineage.jsonl", "--genesis", genesis)
        code, report, err = govraft(capsys, "audit", "replay", tmp_path / f"{name}.jsonl", *lineage)
        assert (code, report["clean"], report["mismatch_count"]) == (0, True, 0), (report, err)
        assert report["anchored"] >= size and report["last"] >= size and report["dropped"] == 0
        counted = "masked" if name == "node-3" else "allow"
        assert report["counts"][counted] >= 30
    code, found, err = govraft(capsys, "--cluster", cluster.home, "audit", "reconcile")
    assert (code, found["agree"], found["differences"]) == (0, True, []), (found, err)


def test_every_allow_that_left_is_in_a_strict_log_after_a_kill(cluster: Cluster) -> None:
    node, allowed, stopped = cluster.nodes["node-2"], [], threading.Event()

    def ask(place: int) -> None:
        number = 0
        while not stopped.is_set():
            verdict = node.check(f"killed-{place}-{number}")
            number += 1
            if verdict:
                allowed.append(verdict.decision)

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    try:
        eventually(lambda: len(allowed) > 200, lambda: f"{len(allowed)} allows\n{node.log()}")
        node.kill()
    finally:
        stopped.set()
        for thread in threads:
            thread.join(30)
    there = {record.decision for record in records(cluster, "node-2") if record.verdict == "allow"}
    missing = [decision for decision in allowed if decision not in there]
    assert not missing, f"{len(missing)} of {len(allowed)} allows are in no record"
    cluster.start("node-2")
    again = {record.decision for record in records(cluster, "node-2")}
    assert again >= set(allowed)
    allow = eventually(lambda: node.check("after the kill") or None, node.log)
    assert recorded(cluster, "node-2", allow.decision)


def test_a_log_that_cannot_be_written_denies_in_strict_mode_and_halts_nothing(cluster: Cluster) -> None:
    node, path = cluster.nodes["node-2"], log_of(cluster, "node-2")
    node.stop()
    aside = path.with_name("aside")
    path.rename(aside)
    path.mkdir()
    try:
        node.start()
        eventually(lambda: node.may_allow() or None, node.log)
        deny = node.check("unrecorded")
        assert not deny
        assert (deny.reason, "could not be recorded" in deny.message) == ("internal_error", True)
        assert node.status()["decisions"]["failure"]
        assert node.status()["standing"] == "allow"
        path.rmdir()
        aside.rename(path)
        allow = eventually(lambda: node.check("recorded again") or None, node.log)
        assert recorded(cluster, "node-2", allow.decision, deny.decision)
    finally:
        if path.is_dir():
            path.rmdir()
            aside.rename(path)
