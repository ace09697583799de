"""Real runs, short ones: clean when the nodes are, dirty when one is not, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import pytest

from govraft.errors import InputError
from govraft.testing.chaos.namespaces import missing_for_namespaces
from govraft.testing.chaos.options import ChaosOptions
from govraft.testing.chaos.run import run_chaos
from govraft.testing.chaos.scenarios import SCENARIOS, Scenario
from govraft.testing.history import Check, CommandTried, FaultEnded, FaultStarted, Lineage, NodeState, read_history

COMMAND = [sys.executable, "-P", "-m", "govraft.testing.chaos"]
STALE = str(Path(__file__).with_name("stale_node.py"))


def run(*arguments, **options):
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=110, check=False, **options)


@pytest.mark.cluster
@pytest.mark.parametrize("network", ["proxy", "namespaces"])
def test_a_short_run_is_clean_and_reported(tmp_path, network):
    if network == "namespaces" and missing_for_namespaces():
        pytest.skip(f"NOT TESTED: {missing_for_namespaces()}")
    out = tmp_path / "out"
    done = run("--scenario", "partition", "--duration", "8s", "--seed", "5", "--network", network, "--out", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((out / "report.json").read_text())
    assert report["network"] == network
    assert report["faults"] >= 1
    assert report["checks"] > 1000
    assert report["allows"] > 100
    assert report["commands_by_outcome"]["effective"] > 5
    assert report["signed_seq_reads"] > 5
    assert "✓ Nothing was violated" in (out / "report.html").read_text()
    found = {type(event) for event in read_history(out / "history.jsonl")}
    assert found >= {Check, CommandTried, NodeState, FaultStarted, FaultEnded, Lineage}
    assert sorted(path.name for path in out.iterdir()) == ["history.jsonl", "log", "report.html", "report.json"]


@pytest.mark.cluster
@pytest.mark.parametrize("kind", ["lost-store", "flood", "term-lift"])
def test_a_fault_of_that_kind_breaks_nothing(tmp_path, monkeypatch, kind):
    monkeypatch.setitem(SCENARIOS, "one", Scenario("one kind", (kind,), limit=1))
    result = run_chaos(ChaosOptions(tmp_path / "out", scenario="one", seed=1, duration_s=8, network="proxy"))
    assert result.violations == []
    assert [fault.kind for fault in result.faults] == [kind]


@pytest.mark.cluster
def test_a_node_that_goes_on_allowing_is_found(tmp_path):
    """The planted fault: without it, the clean runs above would prove nothing."""
    options = ChaosOptions(
        tmp_path / "out",
        scenario="partition",
        seed=1,
        duration_s=10,
        network="proxy",
        checks_per_s=500,
        programs={"node-3": [STALE]},
    )
    result = run_chaos(options)
    # Which of the two sees it first depends on when the node is cut off.
    assert {"stale_allow", "linearizability"} & {violation.property for violation in result.violations}
    assert all("node-3" in item.message for item in result.violations if item.property == "stale_allow")


def test_a_report_is_never_overwritten(tmp_path):
    (tmp_path / "note").write_text("mine")
    done = run("--out", str(tmp_path), "--duration", "1s", "--network", "proxy")
    assert done.returncode == 2
    assert "is not overwritten" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["note"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--scenario", "apocalypse"], "choose one of calm, mixed"),
        (["--nodes", "4"], "is not one of"),
        (["--duration", "soon"], "is no duration"),
        (["--network", "carrier-pigeon"], "is not one of"),
        (["--seed", "-1"], "is not in the range"),
    ],
)
def test_mistakes_end_with_2_and_make_nothing(tmp_path, arguments, said):
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_runner_that_breaks_down_does_not_pass_for_a_violation(tmp_path):
    (tmp_path / "click.py").write_text("raise RuntimeError('broken')")
    done = run("--list", env={**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"})
    assert done.returncode == 3
    assert "broken" in done.stderr


def test_the_list_names_scenarios_and_kinds():
    done = run("--list")
    assert done.returncode == 0
    for wanted in ("mixed", "certificate", "isolate-leader", "fsync-error", "clock-rate"):
        assert f"  {wanted} " in done.stdout


def test_a_network_that_cannot_be_is_named(tmp_path):
    with pytest.raises(InputError, match="network `smoke` is unknown"):
        run_chaos(ChaosOptions(tmp_path / "out", network="smoke"))
    assert not (tmp_path / "out").exists()


def of_run(pid):
    """Living processes that descend from `pid` or did when it lived: they carry its environment's mark."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            marked = f"GOVRAFT_TEST_RUN={pid}".encode() in (path / "environ").read_bytes()
            alive = (path / "stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
        except OSError:
            continue
        if marked and alive:
            found.append(int(path.name))
    return found


@pytest.mark.cluster
@pytest.mark.timeout(240)
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_nothing_stays_behind_when_a_run_is_ended(tmp_path, how):
    # Not below `tmp_path`: the sockets of the nodes lie there, and their paths may not be long.
    with tempfile.TemporaryDirectory(prefix="gv-") as temporary:
        end_a_run(tmp_path / "out", Path(temporary), how)


def end_a_run(out, temporary, how):
    mark = str(os.getpid() * 100 + how)
    command = [*COMMAND, "--scenario", "mixed", "--duration", "60s", "--out", str(out)]
    environment = {**os.environ, "GOVRAFT_TEST_RUN": mark, "TMPDIR": str(temporary)}
    mounts = Path("/proc/self/mounts").read_text()
    # Started in the background of a shell, a test run ignores the signal, and so would its children.
    heed = partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, preexec_fn=heed) as runner:
        try:
            for line in runner.stderr:
                if "1 faults" in line:
                    break
            assert len(of_run(mark)) >= 6
        finally:
            runner.send_signal(how)
        # It may be in the middle of judging how a node refuses damaged files.
        code = runner.wait(90)
    assert code == (3 if how == signal.SIGINT else -signal.SIGKILL)
    deadline = time.monotonic() + 15
    while (of_run(mark) or list(temporary.iterdir())) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert of_run(mark) == []
    assert list(temporary.iterdir()) == []
    assert Path("/proc/self/mounts").read_text() == mounts
