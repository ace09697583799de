"""Detached processes: recorded, found again, and never mistaken for somebody else's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from govraft.cli.processes import Process, find_process, python_command, start_process
from govraft.errors import ConfigError

STUBBORN = "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[Process]]:
    processes: list[Process] = []
    yield processes
    for process in processes:
        with process:
            process.send(signal.SIGKILL)
            assert process.wait(10)


def start(tmp_path: Path, started: list[Process], program: str = "import time; time.sleep(60)") -> Process:
    process = start_process(
        [sys.executable, "-c", program], log=tmp_path / "p.log", record=tmp_path / "p.pid", environment=os.environ
    )
    started.append(process)
    return process


def wait_for_text(path: Path, text: str) -> None:
    deadline = time.monotonic() + 10
    while text not in path.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_started_process_is_found_by_its_record(tmp_path: Path, started: list[Process]) -> None:
    process = start(tmp_path, started)
    with find_process(tmp_path / "p.pid") as found:  # type: ignore[union-attr]
        assert found.pid == process.pid
    assert os.getsid(process.pid) == process.pid
    assert not process.wait(0)


def test_a_stopped_process_is_not_found_and_its_record_is_gone(tmp_path: Path, started: list[Process]) -> None:
    process = start(tmp_path, started)
    assert process.stop(10)
    assert find_process(tmp_path / "p.pid") is None
    assert not (tmp_path / "p.pid").exists()


def test_a_process_that_died_is_not_found(tmp_path: Path, started: list[Process]) -> None:
    process = start(tmp_path, started)
    os.kill(process.pid, signal.SIGKILL)
    # Not reaped: a zombie does not run either.
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert (tmp_path / "p.pid").exists()
    assert find_process(tmp_path / "p.pid") is None


def test_one_that_does_not_stop_is_killed(tmp_path: Path, started: list[Process]) -> None:
    process = start(tmp_path, started, STUBBORN)
    wait_for_text(tmp_path / "p.log", "ready")
    assert process.stop(0.1) is False
    assert find_process(tmp_path / "p.pid") is None


@pytest.mark.parametrize("field", ["started", "boot"])
def test_a_reused_pid_is_left_alone(tmp_path: Path, started: list[Process], field: str) -> None:
    process = start(tmp_path, started)
    record = json.loads((tmp_path / "p.pid").read_text())
    record[field] = record[field] - 1 if field == "started" else "another boot"
    (tmp_path / "p.pid").write_text(json.dumps(record))
    assert find_process(tmp_path / "p.pid") is None
    assert not process.wait(0)


def test_a_pid_that_nobody_has_is_not_found(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    (tmp_path / "p.pid").write_text(json.dumps({"pid": gone.pid, "started": 0, "boot": boot}))
    assert find_process(tmp_path / "p.pid") is None


@pytest.mark.parametrize("pid", [0, -1, 1 << 40])
def test_a_pid_that_cannot_be_is_never_signalled(tmp_path: Path, pid: int) -> None:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    (tmp_path / "p.pid").write_text(json.dumps({"pid": pid, "started": 0, "boot": boot}))
    with pytest.raises(ConfigError, match=r"p\.pid"):
        find_process(tmp_path / "p.pid")


@pytest.mark.parametrize("content", ["", "12", '{"pid": "1"}', "\x00"])
def test_a_damaged_record_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "p.pid").write_text(content)
    with pytest.raises(ConfigError, match=r"p\.pid"):
        find_process(tmp_path / "p.pid")


def test_no_record_means_no_process(tmp_path: Path) -> None:
    assert find_process(tmp_path / "absent.pid") is None


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="/absent/program"):
        start_process(["/absent/program"], log=tmp_path / "p.log", record=tmp_path / "p.pid", environment={})
    assert not (tmp_path / "p.pid").exists()


def test_output_and_environment_go_where_they_should(tmp_path: Path, started: list[Process]) -> None:
    program = "import os, sys; print(sorted(os.environ)); print('bad', file=sys.stderr); print(sys.stdin.read() == '')"
    process = start_process(
        [sys.executable, "-c", program],
        log=tmp_path / "p.log",
        record=tmp_path / "p.pid",
        environment={"ONLY": "1", "LC_ALL": "C.UTF-8"},
    )
    started.append(process)
    assert process.wait(10)
    printed = (tmp_path / "p.log").read_text()
    assert "ONLY" in printed
    assert "PATH" not in printed
    assert "bad" in printed
    assert "True" in printed


def test_a_module_in_the_current_directory_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "govraft.py").write_text("raise SystemExit('hijacked')")
    done = subprocess.run(python_command("govraft.cli.node", "version"), cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
