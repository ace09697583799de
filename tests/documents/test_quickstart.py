"""The quickstart begins anew where a run of it was broken off, and touches nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import quickstart
from click.testing import CliRunner


def run(directory: Path) -> tuple[int, str]:
    done = CliRunner().invoke(quickstart.main, ["--dir", str(directory)])
    return done.exit_code, done.output


def test_a_run_after_one_that_failed_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(tour: quickstart.Tour) -> None:
        tour.create()
        raise quickstart.StepError("the host is on fire")

    place = tmp_path / "demo"
    monkeypatch.setattr(quickstart, "_tour", fail)
    code, said = run(place)
    assert code == 1 and "FAILED: the host is on fire" in said
    monkeypatch.setattr(quickstart, "_tour", lambda tour: tour.create())
    code, said = run(place)
    assert code == 0, said
    assert "removing what a run that did not finish left" in said
    before = sorted(place.rglob("*"))
    code, said = run(place)
    assert code == 2 and "exists already" in said
    assert sorted(place.rglob("*")) == before


def test_a_directory_of_somebody_else_stays(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    code, said = run(tmp_path)
    assert code == 2 and "exists already" in said
    assert (tmp_path / "mine").exists()
