"""The scenarios of `scripts/scenarios`, small: what they check holds, and they would notice if it did not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from scenario.audit import audit_many
from scenario.figures import Findings, print_findings
from scenario.grow_shrink import grow_and_shrink
from scenario.join import join_long

ROOT = Path(__file__).parents[2]
STALE = str(ROOT / "tests" / "chaos" / "stale_node.py")


def silent(share: float, text: str) -> None:
    assert 0 <= share <= 1 and text


def figure(found: Findings, name: str) -> float:
    return next(item.value for item in found.figures if item.name == name)


@pytest.mark.cluster
def test_a_cluster_grows_and_shrinks_under_load(tmp_path: Path) -> None:
    found = grow_and_shrink(tmp_path, silent, most=4, calm_s=0.5)
    assert found.problems == []
    assert figure(found, "epoch at the end") == 4
    assert figure(found, "commands effective") > 10
    assert figure(found, "allows of removed nodes") == 0
    (grid,) = found.grids
    assert [str(row[0]).split(",")[0] for row in grid.rows] == ["add node-4", "promote node-4", "remove node-1"]
    assert grid.columns == ("step", "took", "node-1", "node-2", "node-3", "node-4", "commands")


@pytest.mark.cluster
def test_a_removed_node_that_goes_on_allowing_is_found(tmp_path: Path) -> None:
    found = grow_and_shrink(tmp_path, silent, most=4, calm_s=0.5, programs={"node-1": [STALE]})
    assert figure(found, "allows of removed nodes") > 0
    assert any(text.startswith("removed nodes allowed") for text in found.problems)
    assert any(text.startswith("stale_allow: node-1") for text in found.problems)


@pytest.mark.cluster
def test_a_node_joins_a_lineage_that_proves_itself(tmp_path: Path) -> None:
    found = join_long(tmp_path, silent, entries=320, snapshot_entries=100)
    assert found.problems == []
    assert figure(found, "entries") >= 320
    assert figure(found, "snapshot of a node") > 0
    for how in ("with the snapshot", "without it"):
        assert 0 < figure(found, f"restart {how}: answers") < figure(found, f"restart {how}: may allow")


@pytest.mark.cluster
def test_exactly_the_decisions_that_were_tampered_with_are_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = audit_many(tmp_path, silent, decisions=500)
    assert found.problems == []
    assert figure(found, "records evaluated again") >= 500
    assert figure(found, "mismatches") == 0
    assert figure(found, "tampered records found") == 3
    print_findings(found, "table")
    assert "nothing is wrong" in capsys.readouterr().out


def scenarios(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "scripts")}
    command = [sys.executable, "-P", "-m", "scenario", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)


def test_the_scenarios_are_listed() -> None:
    done = scenarios("--help")
    assert done.returncode == 0
    for name in ("audit", "grow-shrink", "join"):
        assert f"  {name} " in done.stdout


@pytest.mark.parametrize("arguments", [("grow-shrink", "--most", "3"), ("join", "--entries", "0"), ("shrink",)])
def test_mistakes_end_with_2(arguments: tuple[str, ...]) -> None:
    done = scenarios(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
