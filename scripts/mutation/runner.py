"""Runs tests in copies of the project, and tells a failed test from anything else that can go wrong.

Only this counts as killed: pytest ran and a test failed, and, for a mutant with seeds, a simulated cluster broke a rule
as well. A run that was cut off, that did not collect, or that died proves nothing about the fault: an error.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
from mutant import Mutant, MutantError, mutated

__all__ = ["Outcome", "copied", "run_clean", "run_mutant"]

TIMEOUT_S = 300
SIMULATED_S = 20
_PARTS = ("cluster-configs", "docs", "govraft", "scripts", "tests", "pyproject.toml", "README.md", "CHANGELOG.md")
_IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc", ".hypothesis", "*.egg-info")
_LINE_CHARS = 160
_FINDING = re.compile(r"^ +[0-9.]+ s +(\S.*)$", re.MULTILINE)


class Outcome(msgspec.Struct, frozen=True):
    """What became of one run.

    Attributes:
        mutant: Its name; `unmutated` for the clean run.
        verdict: `killed`, `survived` or `error`.
        test: The first test that failed.
        message: The first line of its failure, or what went wrong.
        seconds: How long it took.
        simulated: The seed that noticed it and the rule that it broke; empty for a mutant without seeds.
    """

    mutant: str
    breaks: str
    verdict: str
    test: str
    message: str
    seconds: float
    simulated: str = ""


@contextmanager
def copied(root: Path, parent: Path | None = None) -> Iterator[Path]:
    """A temporary copy of what the tests need. The original is only read."""
    with tempfile.TemporaryDirectory(prefix="govraft-mutant-", dir=parent) as folder:
        for part in _PARTS:
            source = root / part
            if source.is_dir():
                shutil.copytree(source, Path(folder) / part, ignore=_IGNORED, symlinks=True)
            elif source.exists():
                shutil.copy2(source, Path(folder) / part)
        yield Path(folder)


def run_mutant(mutant: Mutant, pristine: Path) -> Outcome:
    """Plant the fault in a copy of its own, and run its killers there."""
    with copied(pristine) as root:
        (root / mutant.file).write_text(mutated(mutant, root))
        outcome = _run(mutant.name, mutant.breaks, mutant.killers, root)
        if outcome.verdict != "killed" or mutant.seeds is None:
            return outcome
        began = time.monotonic()
        verdict, message = _simulate(*mutant.seeds, root)
        taken = outcome.seconds + time.monotonic() - began
        if verdict == "killed":
            return msgspec.structs.replace(outcome, seconds=taken, simulated=message)
        return msgspec.structs.replace(outcome, verdict=verdict, message=message, seconds=taken)


def run_clean(killers: Sequence[str], seeds: Collection[tuple[str, int, int]], pristine: Path) -> Outcome:
    """Run killers without any fault: they must all pass."""
    with copied(pristine) as root:
        outcome = _run("unmutated", "", killers, root)
        for chosen in seeds:
            if outcome.verdict != "survived":
                break
            verdict, message = _simulate(*chosen, root)
            outcome = msgspec.structs.replace(outcome, verdict=verdict, message=message)
        return outcome


def _simulate(profile: str, first: int, last: int, root: Path) -> tuple[str, str]:
    """Run seeds one by one until one breaks a rule: verdict, and the seed and rule."""
    command = [sys.executable, "-m", "govraft.testing.simulation", "--profile", profile, "--no-minimise"]
    for seed in range(first, last + 1):
        try:
            code = _ended([*command, "--seconds", str(SIMULATED_S), "--seed", str(seed)], root, _environment(root))
        except subprocess.TimeoutExpired:
            return "error", f"seed {seed} ({profile}) was cut off after {TIMEOUT_S} s"
        if code == 0:
            continue
        output = (root / "output").read_text(errors="replace")
        finding = _FINDING.search(output)
        if code == 1 and finding is not None:
            return "killed", f"seed {seed} ({profile}): {' '.join(finding[1].split())[:_LINE_CHARS]}"
        return "error", f"seed {seed} ({profile}) ended with {code}: {''.join(output.splitlines()[-1:])[:_LINE_CHARS]}"
    return "survived", f"seeds {first} to {last} ({profile}) break no rule"


def _environment(root: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}


def _run(name: str, breaks: str, killers: Sequence[str], root: Path) -> Outcome:
    report = root / "report.xml"
    # The fixture for users is of no use here, and the copy may be too broken to import it.
    plugins = ["-p", "no:randomly", "-p", "no:govraft"]
    options = ["-x", "-q", "--no-header", *plugins, "--hypothesis-seed=0", f"--junitxml={report}"]
    environment = _environment(root)
    began = time.monotonic()
    _require_copy(root, environment)
    try:
        code = _ended([sys.executable, "-m", "pytest", *options, *killers], root, environment)
    except subprocess.TimeoutExpired:
        return Outcome(name, breaks, "error", "", f"cut off after {TIMEOUT_S} s", time.monotonic() - began)
    taken = time.monotonic() - began
    if code == 0:
        return Outcome(name, breaks, "survived", "", "", taken)
    failure = _first_failure(report) if code == 1 else None
    if failure is None:
        tail = (root / "output").read_text(errors="replace").strip().splitlines()[-1:]
        return Outcome(name, breaks, "error", "", f"pytest ended with {code}: {''.join(tail)[:_LINE_CHARS]}", taken)
    return Outcome(name, breaks, "killed", *failure, taken)


def _require_copy(root: Path, environment: dict[str, str]) -> None:
    """The tests must meet the copy, not the installed package."""
    question = [sys.executable, "-c", "import govraft; print(govraft.__file__)"]
    found = subprocess.run(question, cwd=root, env=environment, capture_output=True, text=True, timeout=60, check=True)
    if not Path(found.stdout.strip()).is_relative_to(root):
        raise MutantError(f"the tests would run against `{found.stdout.strip()}`, not against the copy")


def _ended(command: list[str], root: Path, environment: dict[str, str]) -> int:
    with (root / "output").open("wb") as output:
        process = subprocess.Popen(
            command, cwd=root, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            return process.wait(timeout=TIMEOUT_S)
        finally:
            # Its own group: whatever the tests have started ends with it.
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _first_failure(report: Path) -> tuple[str, str] | None:
    if not report.exists():
        return None
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 - written by pytest just now
        for found in (*case.findall("failure"), *case.findall("error")):
            if case.get("name") and case.get("classname") is not None and not _is_collection(found):
                place = (case.get("classname") or "").rsplit(".", 1)[-1]
                message = (found.get("message") or "").strip().splitlines() or ["(no message)"]
                return f"{place}::{case.get('name')}", message[0][:_LINE_CHARS]
    return None


def _is_collection(found: ET.Element) -> bool:
    return "collection failure" in (found.get("message") or "")
