"""Every input that the fuzzer has found, and a bounded, repeatable share of new ones for each decoder.

The same properties as in `scripts/fuzz`, without its guidance: what needs hours is found there, what breaks again is
found here.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from fuzzing import planted  # noqa: E402
from fuzzing.catalogue import TARGETS  # noqa: E402
from fuzzing.mutation import mutate  # noqa: E402
from fuzzing.target import Finding, Target, execute  # noqa: E402

CORPUS = ROOT / "tests" / "fuzz_corpus"
INPUTS = 1_500
INPUTS_LEAST = 20
SECONDS = 0.3


def search(target: Target, *, inputs: int, seconds: float) -> dict[bytes, bool]:
    """The inputs tried, mutations of the seeds and of each other, and whether each was accepted.

    Deterministic but for the end of the time, which is not over before `INPUTS_LEAST`: a busy host is slow.
    """
    rng = random.Random(target.name)
    pool = target.seeds()
    tried: dict[bytes, bool] = {}
    count = 0
    started = time.process_time()
    while count < inputs and (len(tried) < INPUTS_LEAST or time.process_time() - started < seconds):
        data = mutate(rng.choice(pool), target.shape, rng, prefix=target.prefix, length_max=target.length_max)
        count += 1
        tried[data] = execute(target, data)
        if tried[data] and len(pool) < 200:
            pool.append(data)
    return tried


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_are_accepted_and_neighbours_keep_the_property(name):
    target = TARGETS[name]
    assert execute(target, target.seeds()[0]), (
        "the first seed must be accepted, or nothing behind the parser is reached"
    )
    tried = search(target, inputs=INPUTS, seconds=SECONDS)
    assert len(tried) >= INPUTS_LEAST
    assert not all(tried.values()), "a property of a decoder that refuses nothing says nothing"


def corpus() -> list[Path]:
    return sorted(path for path in CORPUS.glob("*/*") if path.is_file())


@pytest.mark.parametrize("path", corpus(), ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_was_found_once(path):
    execute(TARGETS[path.parent.name], path.read_bytes())


def test_the_corpus_is_small_and_belongs_to_targets():
    assert {path.parent.name for path in corpus()} <= TARGETS.keys()
    assert sum(path.stat().st_size for path in corpus()) < 300 * 1024


def test_a_planted_fault_is_found():
    """The search must find a decoder's fault, or it would find nothing at all."""
    with pytest.raises(IndexError, match="planted"):
        search(planted.TARGET, inputs=200_000, seconds=20)


def test_the_same_inputs_every_time():
    first, second = (search(TARGETS["envelope"], inputs=200, seconds=60) for _ in range(2))
    assert list(first.items()) == list(second.items())
    assert len(set(first)) > 100


def test_an_input_that_takes_too_long_is_a_finding(monkeypatch):
    clock = iter((0.0, 100.0))
    monkeypatch.setattr("fuzzing.target.time.process_time", lambda: next(clock))
    with pytest.raises(Finding, match="took 100.0 s"):
        execute(TARGETS["entry"], b"")


def test_the_fuzzer_keeps_what_it_finds(tmp_path):
    """The planted fault, under atheris: exit 1, the input on disk, and the printed command replays it."""
    pytest.importorskip("atheris", reason="the guided fuzzer needs `pip install govraft[fuzz]`")
    work = ["--target", "planted", "--work", str(tmp_path)]
    found = run("--seconds", "60", "--seed", "7", *work)
    assert found.returncode == 1, found.stdout + found.stderr
    assert "IndexError: the planted fault" in found.stdout
    (kept,) = (tmp_path / "findings").iterdir()
    assert f"scripts/fuzz --target planted --replay {kept}" in found.stdout
    with pytest.raises(IndexError, match="planted"):
        execute(planted.TARGET, kept.read_bytes())
    assert run("--replay", str(kept), *work).returncode == 1


def test_every_target_is_listed():
    listed = run("--list")
    assert listed.returncode == 0
    assert [line.split()[0] for line in listed.stdout.splitlines()] == list(TARGETS)
    assert run("--target", "none").returncode == 2


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fuzzing", *arguments]
    environment = {"PYTHONPATH": f"{ROOT / 'scripts'}:{ROOT}", "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100, check=False)
