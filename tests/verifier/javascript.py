"""The verifier in JavaScript, and the one in Python beside it, behind one call each."""

from __future__ import annotations

import base64
import functools
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from govraft.core.evidence.evidence import Use, prove_evidence
from govraft.core.evidence.trust import Trust
from govraft.core.model.genesis import Genesis
from govraft.core.model.request import Request
from govraft.errors import DecodeError, InputError, VerificationError
from govraft.testing.evidence_vectors import NOW, file_of

ROOT = Path(__file__).resolve().parent.parent.parent
VERIFIER = ROOT / "verifier"
OPTIONS = ("at", "request", "audience", "at_least", "trust", "is_past", "advance")
NOT_REPLAYED = ("policy_version", "entities")
"""What only a replay of the state tells about a lineage."""


class Case(NamedTuple):
    """A file to verify, and for what."""

    file: bytes
    genesis: bytes
    use: dict[str, Any]
    name: str = ""


class Outcome(NamedTuple):
    """`ok` and what is proven, or the code and message of the error."""

    code: str
    proven: dict[str, Any] | None
    message: str


def node_program() -> str:
    program = shutil.which("node")
    if program is None:
        pytest.skip("node is not installed: the verifier in JavaScript was not looked at")
    return program


def run_node(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [node_program(), *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, encoding="utf-8", timeout=100)


def ask(questions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The answers of one process, one for each question."""
    stdin = "".join(json.dumps(item) + "\n" for item in questions)
    done = run_node(str(ROOT / "tests" / "verifier" / "run_cases.mjs"), stdin=stdin)
    assert (done.returncode, done.stderr) == (0, "")
    answers = [json.loads(line) for line in done.stdout.split("\n")[:-1]]
    assert len(answers) == len(questions)
    return answers


def in_javascript(cases: list[Case]) -> list[Outcome]:
    questions = [{"at": NOW, **case.use, "file": text(case.file), "genesis": text(case.genesis)} for case in cases]
    return [Outcome(item["outcome"], item["proven"], item["message"]) for item in ask(questions)]


def in_python(case: Case) -> Outcome:
    """The same, as JSON would carry it; of a lineage what can be known without a replay."""
    use = case.use
    request = msgspec.convert(use["request"], Request) if "request" in use else None
    try:
        genesis = _genesis(case.genesis)
    except DecodeError as error:
        return Outcome("genesis", None, str(error))
    try:
        trust = Trust.decode(use["trust"].encode(), genesis) if "trust" in use else None
    except InputError as error:
        return Outcome("genesis", None, str(error))
    past = use.get("is_past", False)
    wanted = Use(use.get("at", NOW), request, use.get("audience"), use.get("at_least", 0), trust, past)
    try:
        if trust is not None and "advance" in use:
            return Outcome("ok", {"kind": "trust", "file": trust.advance(case.file, genesis).encode().decode()}, "")
        proven = prove_evidence(case.file, genesis, wanted)
    except VerificationError as error:
        return Outcome(error.code, None, str(error))
    return Outcome("ok", without_replay(json.loads(json.dumps(proven))), "")


@functools.lru_cache(maxsize=64)
def _genesis(data: bytes) -> Genesis:
    return Genesis.decode(data)


def without_replay(proven: dict[str, Any]) -> dict[str, Any]:
    if proven["kind"] != "lineage":
        return proven
    return {name: value for name, value in proven.items() if name not in NOT_REPLAYED} | {"replayed": False}


def vectors() -> list[tuple[Case, dict[str, Any]]]:
    """Every case that is written down, and what must come of it."""
    found = []
    for path in sorted((ROOT / "tests" / "vectors").glob("*.json")):
        for item in json.loads(path.read_text(encoding="utf-8"))["cases"]:
            use = {name: item[name] for name in OPTIONS if name in item}
            name = f"{path.stem}: {item['name']}"
            found.append((Case(file_of(item), item["genesis"].encode(), use, name), item))
    return found


def text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
