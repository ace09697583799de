"""`LocalCluster`: what it offers to users, its mistakes, and that it leaves nothing behind."""

from __future__ import annotations

import importlib.metadata
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from govraft.core.model.commands import Quarantine, TargetKind
from govraft.errors import GovraftError, InputError
from govraft.testing.local_cluster import ClusterError, ClusterTimeoutError, LocalCluster, NodeExitedError
from govraft.testing.local_cluster_network import Condition, ProxyNetwork
from govraft.testing.local_cluster_process import ChildProcess, wait_for

AGENT = 'Agent::"a"'
USE = ('Action::"use"', 'Tool::"hammer"')
DOCUMENT = Path(__file__).parents[3] / "docs" / "testing.md"


@pytest.fixture(scope="module")
def serving():
    with LocalCluster() as cluster:
        cluster.start()
        cluster.permit_all()
        yield cluster


@pytest.fixture
def cluster(serving):
    serving.heal()
    serving.start()
    serving.wait_until_serving()
    return serving


def allowed(cluster, agent=AGENT):
    return {node.id for node in cluster.nodes.values() if node.client.check(agent, *USE)}


@pytest.mark.cluster
def test_a_partition_denies_the_smaller_side_and_heals(cluster):
    assert allowed(cluster) == set(cluster.nodes)
    cluster.partition("node-2")
    cluster.wait_until_denying("node-2")
    assert allowed(cluster) <= {"node-1", "node-3"}
    cluster.heal()
    cluster.wait_until_serving()
    assert allowed(cluster) == set(cluster.nodes)


@pytest.mark.cluster
def test_one_node_is_a_cluster():
    with LocalCluster(1) as cluster:
        cluster.start()
        cluster.permit_all()
        assert allowed(cluster) == {"node-1"}


@pytest.mark.cluster
@pytest.mark.parametrize("how", ["pause", "kill", "stop"])
def test_a_node_that_does_not_run_denies_and_comes_back(cluster, how):
    node = cluster.others(cluster.leader())[0]
    getattr(node, how)()
    assert node.client.check(AGENT, *USE, timeout=0.3).reason == "node_unreachable"
    node.resume() if how == "pause" else node.start()
    cluster.wait_until_serving()
    assert node.client.check(AGENT, *USE)


@pytest.mark.cluster
def test_commands_bind_every_node_when_the_receipt_is_here(cluster):
    bot = 'Agent::"bot"'
    for name, expected in (("quarantine", "quarantined"), ("release", ""), ("revoke", "revoked")):
        receipt = getattr(cluster, name)(bot)
        assert receipt.outcome == "applied"
        verdicts = [node.client.check(bot, *USE, at_least=receipt.seq) for node in cluster.nodes.values()]
        assert {"" if verdict else str(verdict.reason) for verdict in verdicts} == {expected}


@pytest.mark.cluster
def test_policies_of_ones_own_replace_those_before(cluster):
    schema = "entity Agent; entity Tool; action use appliesTo { principal: [Agent], resource: [Tool] };"
    cluster.publish(schema, ['permit (principal == Agent::"only", action, resource);'])
    try:
        assert allowed(cluster) == set()
        assert allowed(cluster, 'Agent::"only"') == set(cluster.nodes)
    finally:
        cluster.permit_all()
    assert allowed(cluster) == set(cluster.nodes)


@pytest.mark.cluster
def test_links_can_be_delayed_and_lossy_without_losing_anything(cluster):
    cluster.delay(delay_ms=60)
    began = time.monotonic()
    cluster.quarantine('Agent::"slow"')
    assert time.monotonic() - began > 0.12, "two one-way delays at least"
    cluster.drop("node-1", share=0.1)
    cluster.release('Agent::"slow"')
    cluster.half_open("node-3")
    cluster.wait_until_denying("node-3")
    cluster.heal()
    cluster.wait_until_serving()


@pytest.mark.cluster
def test_one_direction_of_a_link_can_be_cut(cluster):
    cluster.cut("node-1", "node-2", one_way=True)
    modes = {name: state.mode.value for name, state in cluster.network.control.states().items()}
    assert modes.pop("node-1>node-2") == "cut"
    assert set(modes.values()) == {"open"}


@pytest.mark.cluster
def test_a_cluster_goes_on_without_the_member_that_was_asked_first():
    with LocalCluster(2, links=False) as cluster:
        cluster.start()
        cluster.permit_all()
        cluster.remove_node("node-1")
        # Both ask a node how things are, and must not ask the one that knows no more.
        cluster.add_node("node-3")
        cluster.permit_all(action="see")
        assert cluster.nodes["node-3"].client.check(AGENT, 'Action::"see"', 'Tool::"hammer"')
        assert not cluster.nodes["node-1"].client.check(AGENT, 'Action::"see"', 'Tool::"hammer"')


def test_links_of_nodes_that_came_later_stay_open():
    network, changed = ProxyNetwork(), []
    network._carried = {("a", "b"), ("b", "a")}
    network._control = SimpleNamespace(change=lambda links, *_, **__: changed.extend(links))
    network.change([("a", "b"), ("a", "c"), ("c", "b")], Condition())
    assert changed == [("a", "b")]


@pytest.mark.cluster
def test_mistakes_are_named(cluster):
    with pytest.raises(ClusterError, match=r"there is no `node-9`; choose from node-1"):
        cluster.partition("node-9")
    with pytest.raises(NodeExitedError, match="runs already"):
        cluster.nodes["node-1"].start()
    with pytest.raises(ClusterError, match="there is no authority `nobody`"):
        cluster.seal(Quarantine(kind=TargetKind.SUBJECT, id=AGENT, reason="r", **cluster.commands.header()), "nobody")
    with pytest.raises(ClusterTimeoutError, match="node-1: standing='allow'"):
        cluster.wait_until_denying("node-1", timeout_s=0.1)
    assert issubclass(ClusterTimeoutError, GovraftError)


@pytest.mark.parametrize(
    ("options", "said"), [({"nodes": 0}, "1 to 9"), ({"quorum": "most"}, "unknown"), ({"profile": "moon"}, "unknown")]
)
def test_a_cluster_that_cannot_be_is_refused(options, said):
    with pytest.raises(InputError, match=said):
        LocalCluster(**options)


def test_a_cluster_without_links_says_so_and_keeps_its_directory(tmp_path):
    with LocalCluster(1, links=False, directory=tmp_path / "c") as cluster:
        with pytest.raises(ClusterError, match="links=True"):
            cluster.partition("node-1")
        with pytest.raises(NodeExitedError, match="does not run: node-1"):
            cluster.wait_until_serving()
        with pytest.raises(NodeExitedError, match="not started yet"):
            cluster.nodes["node-1"].pause()
        with pytest.raises(NodeExitedError, match="no node runs"):
            cluster.permit_all()
    assert (tmp_path / "c" / "genesis.json").exists()


def test_waiting_passes_over_errors_that_may_heal_and_not_over_others():
    answers = iter([GovraftError("later"), OSError("later"), 0, 7])

    def attempt():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert wait_for(attempt, "it") == 7

    def broken():
        raise NodeExitedError("gone")

    with pytest.raises(NodeExitedError):
        wait_for(broken, "it")
    with pytest.raises(ClusterTimeoutError, match=r"not within 0.05 s: the thing"):
        wait_for(lambda: None, lambda: "the thing", 0.05)


def test_a_child_can_be_frozen_and_ends_when_told(tmp_path):
    child = ChildProcess(
        [sys.executable, "-c", "import time; print('hello', flush=True); time.sleep(60)"], tmp_path / "log"
    )
    try:
        wait_for(lambda: "hello" in child.log(), "its word")
        child.pause()
        assert Path(f"/proc/{child.pid}/stat").read_text().split()[2] == "T"
        child.resume()
        with pytest.raises(ClusterTimeoutError, match="did not end"):
            child.wait(0.05)
    finally:
        child.kill()
    assert (child.is_running, child.exit_code) == (False, -signal.SIGKILL)


_KILLED = """
import os, signal
from govraft.testing.local_cluster import LocalCluster
cluster = LocalCluster().__enter__()
cluster.start()
print(cluster.home, *(node.process.pid for node in cluster.nodes.values()), cluster.network._process.pid, flush=True)
signal.pause()
"""


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except FileNotFoundError:
        return False


@pytest.mark.cluster
def test_nothing_stays_behind_when_the_test_run_is_killed():
    with subprocess.Popen([sys.executable, "-c", _KILLED], stdout=subprocess.PIPE, text=True) as run:
        try:
            home, *pids = run.stdout.readline().split()
            assert len(pids) == 4
            assert all(is_alive(int(pid)) for pid in pids)
            assert Path(home).exists()
        finally:
            os.kill(run.pid, signal.SIGKILL)
            run.wait(10)
    wait_for(lambda: not any(is_alive(int(pid)) for pid in pids), "the nodes' end")
    wait_for(lambda: not Path(home).parent.exists(), "an empty place")


def named_plugin():
    """An installed govraft announces its plugin itself; naming it once more would be an error."""
    announced = {entry.value for entry in importlib.metadata.entry_points(group="pytest11")}
    return [] if "govraft.testing.pytest_plugin" in announced else ["-p", "govraft.testing.pytest_plugin"]


def documented():
    return re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), flags=re.DOTALL)


@pytest.mark.cluster
@pytest.mark.timeout(300)
def test_the_documented_example_runs(tmp_path):
    blocks = documented()
    tests = [block for block in blocks if "LocalCluster(" not in block]
    alone = [block for block in blocks if "LocalCluster(" in block]
    assert len(tests) == 2
    assert len(alone) == 1
    (tmp_path / "test_documented.py").write_text("\n\n".join(tests))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly"]
    command += [*named_plugin(), "-W", "error", str(tmp_path)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "2 passed" in ran.stdout
    (tmp_path / "alone.py").write_text(alone[0])
    ran = subprocess.run(
        [sys.executable, tmp_path / "alone.py"], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert re.match(r"node-\d node-1: standing='allow'", ran.stdout)


def test_the_plugin_loads_nothing_of_govraft_that_is_heavy():
    script = (
        "import sys, pytest; before = set(sys.modules); import govraft.testing.pytest_plugin;"
        "print(*sorted(name for name in set(sys.modules) - before))"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert set(loaded.stdout.split()) <= {
        "govraft", "govraft.testing", "govraft.testing.pytest_plugin", "govraft.version", "__future__"
    }  # fmt: skip
