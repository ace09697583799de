"""Runs one target under atheris, in a process of its own, and tells what came of it.

The process may die in native code, hang, or run out of memory: then its parent still knows the input, which libFuzzer
writes to a file before it lets go.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fuzzing.mutation import mutate
from fuzzing.target import Target, execute

__all__ = ["Outcome", "fuzz_here", "run", "seed_files"]

TIMEOUT_S = 20
MEMORY_MB = 1500
_STATUS = re.compile(r"#(\d+)\s+\S+\s+cov: (\d+) ft: (\d+) corp: (\d+)/\S+.*exec/s: (\d+)")
_ARTIFACT = re.compile(r"Test unit written to (\S+)")
_STRUCTURED = 0.7


@dataclass
class Outcome:
    """What came of fuzzing one target.

    Attributes:
        executions: Inputs tried.
        edges: Counters reached in the instrumented code.
        corpus: Inputs kept because they reached something new.
        finding: The input that broke the property, None when nothing did.
        trace: The last lines that the process said.
    """

    target: str
    executions: int = 0
    edges: int = 0
    features: int = 0
    corpus: int = 0
    finding: Path | None = None
    trace: list[str] = field(default_factory=list)
    failed: bool = False


def seed_files(target: Target, directory: Path, committed: Path) -> Path:
    """Put the seeds of a target, and its committed inputs, where libFuzzer looks for them."""
    corpus = directory / "corpus" / target.name
    corpus.mkdir(parents=True, exist_ok=True)
    known = committed / target.name
    extra = [path.read_bytes() for path in sorted(known.iterdir())] if known.is_dir() else []
    for data in [*target.seeds(), *extra]:
        (corpus / hashlib.sha256(data).hexdigest()[:40]).write_bytes(data)
    return corpus


def run(
    target: Target, *, seconds: int, directory: Path, committed: Path, seed: int, progress: Callable[[Outcome], None]
) -> Outcome:
    """Fuzz a target for so many seconds in a child process.

    Args:
        target: What to fuzz.
        seconds: After that it ends by itself.
        directory: Where corpus and findings are kept.
        committed: Inputs that are known to matter.
        seed: Of the fuzzer's choices.
        progress: Told now and then.
    """
    corpus = seed_files(target, directory, committed)
    findings = directory / "findings"
    findings.mkdir(exist_ok=True)
    words = directory / f"{target.name}.dict"
    words.write_text("".join(f'"{_quoted(word)}"\n' for word in target.words or (b"\xff\xff",)))
    command = [
        *(sys.executable, "-m", "fuzzing", "--child", target.name, "--"),
        *(str(corpus), f"-artifact_prefix={findings}/{target.name}-", f"-max_total_time={seconds}", f"-seed={seed}"),
        *(f"-timeout={TIMEOUT_S}", f"-rss_limit_mb={MEMORY_MB}", f"-max_len={target.length_max}", f"-dict={words}"),
        *("-print_final_stats=1", "-len_control=0"),
    ]
    outcome = Outcome(target.name)
    # A child that cannot even be ended by its own limit is ended here.
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as child:
        try:
            for line in child.stdout or ():
                _take(outcome, line.rstrip(), progress)
            outcome.failed = child.wait(timeout=TIMEOUT_S) != 0
        finally:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
    return outcome


def _take(outcome: Outcome, line: str, progress: Callable[[Outcome], None]) -> None:
    status = _STATUS.match(line)
    if status is not None:
        outcome.executions, outcome.edges, outcome.features, outcome.corpus = map(int, status.groups()[:4])
        progress(outcome)
        return
    if artifact := _ARTIFACT.search(line):
        outcome.finding = Path(artifact[1])
    if line.startswith("stat::number_of_executed_units:"):
        outcome.executions = int(line.rsplit(maxsplit=1)[-1])
    elif line and not line.startswith(
        ("stat::", "INFO:", "0x", "\\x", "Base64:", "MS:", "artifact_prefix", "WARNING: Failed", "Dictionary:", "#")
    ):
        outcome.trace = [*outcome.trace[-24:], line]


def _quoted(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def fuzz_here(name: str, arguments: list[str]) -> None:
    """Fuzz in this process, never to return. The code under test is imported here, so that it is instrumented."""
    import atheris  # type: ignore[import-not-found]

    with atheris.instrument_imports(include=["govraft"], enable_loader_override=False):
        from fuzzing.catalogue import find

    target = find(name)
    if target is None:
        sys.exit(f"no target `{name}`")

    def mutate_one(data: bytes, size_max: int, seed: int) -> bytes:
        rng = random.Random(seed)  # noqa: S311 - nothing is secret here
        if rng.random() < _STRUCTURED:
            return mutate(data, target.shape, rng, prefix=target.prefix, length_max=size_max)
        return bytes(atheris.Mutate(data, size_max))

    def try_one(data: bytes) -> None:
        execute(target, data)

    os.environ.setdefault("PYTHONHASHSEED", "0")
    atheris.Setup([sys.argv[0], *arguments], try_one, custom_mutator=mutate_one)
    atheris.Fuzz()
