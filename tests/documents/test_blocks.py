"""Every block of commands in the README and the documents is run, in order, as printed: each line does what it says."""

from __future__ import annotations

import ast
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import govraft
from govraft.cli.free_ports import find_free_ports

ROOT = Path(govraft.__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAMS = re.compile(r"(?:\$ )?(?:export |echo |govraft(?:-node)? |\./scripts/|scripts/|from govraft)")
GOES_ON = re.compile(r"govraft watch|govraft-node run")
ELSEWHERE = {
    "./scripts/quickstart": "what CI runs, and `tour` below",
    "scripts/chaos --list": "tests/chaos",
    "from govraft import Client, Denied\n\n\ndef deploy": "tests/unit/testing/test_local_cluster.py",
    "from govraft.testing.local_cluster": "tests/unit/testing/test_local_cluster.py",
}
"""Blocks that other tests run."""


def blocks(page: Path) -> list[str]:
    """The blocks of `page` that begin with a command, or with the import of govraft."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    printed = [block for language, block in found if language in {"", "python"}]
    return [block for block in printed if PROGRAMS.match(block) and not block.startswith(tuple(ELSEWHERE))]


class Tour:
    """A directory like the project's own, with the cluster that the quickstart leaves behind, and what was printed."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.exports: list[str] = []
        self.words: dict[str, str] = {}
        self.running: list[subprocess.Popen[bytes]] = []

    def run(self, block: str) -> None:
        """Run each line of a block, and hold what it prints against what the block shows."""
        if block.startswith("from "):
            assert self.shell(f"{sys.executable} - <<'END'\n{block}END")[0] == 0
            return
        for command, shown in read(block):
            if command.startswith("export "):
                self.exports.append(command)
            elif GOES_ON.match(command):
                self.begin(command)
            else:
                code, printed = self.shell(command)
                wanted = 1 if re.search(r"^verdict +deny", shown, re.MULTILINE) else 0
                assert code == wanted, f"{command}\nexit code {code}\n{printed}"
                assert is_alike(shown, printed), f"{command}\nis shown to print\n{shown}\nand prints\n{printed}"
                for digest in re.findall(r"^proposal +([0-9a-f]{64})", printed, re.MULTILINE):
                    self.words["DIGEST"] = digest

    def shell(self, command: str) -> tuple[int, str]:
        """Exit code and output of a line, typed by somebody who says yes."""
        person, terminal = os.openpty()
        os.write(person, b"y\n" * 4)
        try:
            done = subprocess.run(
                ["bash", "-c", self.lines(command)],
                cwd=self.home, stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=90, check=False,
            )  # fmt: skip
        finally:
            os.close(person)
            os.close(terminal)
        return done.returncode, done.stdout.decode()

    def begin(self, command: str) -> None:
        """Start what goes on, and wait for its first line."""
        child = subprocess.Popen(
            ["bash", "-c", self.lines(f"exec {command}")],
            cwd=self.home,
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
        )
        self.running.append(child)
        assert child.stdout is not None
        assert child.stdout.readline().strip()

    def lines(self, command: str) -> str:
        for word, meant in self.words.items():
            command = re.sub(rf"(?<![\w$/]){word}\b", meant, command)
        return "\n".join(["set -eo pipefail", *self.exports, command])

    def end(self) -> None:
        for child in self.running:
            child.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(10)
            child.kill()
            child.communicate()


def read(block: str) -> list[tuple[str, str]]:
    """The commands of a block, each with what it is shown to print."""
    if not block.startswith("$ "):
        return [(line, "") for line in block.splitlines() if line]
    parts = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    return [(command, shown) for command, _, shown in (part.partition("\n") for part in parts)]


def is_alike(shown: str, printed: str) -> bool:
    """Whether `printed` has the lines of `shown`, in order, but for numbers, digests and widths; `...` stands for more."""
    rest = iter(plain(printed))
    return all(line in rest for line in plain(shown) if line != "...")


def plain(text: str) -> list[str]:
    return [re.sub(r"\b[0-9a-f]{8,}\b|\d+", "0", " ".join(line.split())) for line in text.splitlines()]


@pytest.fixture
def tour(tmp_path: Path) -> Iterator[Tour]:
    home = tmp_path / "t"
    home.mkdir()
    for name in ("cluster-configs", "scripts"):
        (home / name).symlink_to(ROOT / name)
    binaries = home / ".venv" / "bin"
    binaries.parent.mkdir()
    binaries.symlink_to(Path(sys.executable).parent)
    tour = Tour(home)
    cluster = home / "demo-cluster"
    os.environ.pop("GOVRAFT_CLUSTER", None)
    made = subprocess.run(
        [sys.executable, ROOT / "scripts" / "quickstart.py", "--dir", cluster],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        assert made.returncode == 0, made.stdout + made.stderr
        shutil.copy(cluster / "genesis.json", home)
        tour.exports.append(f"export XDG_DATA_HOME='{home}/share' GOVRAFT_ENDPOINT=unix://{cluster}/run/node-1.sock")
        yield tour
    finally:
        tour.end()
        for made_cluster in (cluster, home / "fresh"):
            if made_cluster.exists():
                subprocess.run([binaries / "govraft", "cluster", "down", made_cluster], check=False)


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_each_block_does_what_it_shows(tour: Tour) -> None:
    readme, audit, operations = (
        blocks(page) for page in (ROOT / "README.md", ROOT / "docs/audit.md", ROOT / "docs/operations.md")
    )
    for block in readme:
        tour.run(block)
    tour.words["DIR"] = "demo-cluster"
    for block in audit:
        tour.run(block)
    make, *plain_lines, join, check, move = operations
    for number, line in enumerate(make.splitlines()):
        tour.words["DIR"] = f"made-{number}"
        tour.run(line)
    for block in plain_lines:
        tour.run(block)
    tour.words |= {"DIR": "node-5", "HOST": "127.0.0.1", "PORT": str(find_free_ports(1)[0]), "node-4": "node-5"}
    tour.run(join)
    assert tour.shell("govraft init --nodes 1 --out fresh && govraft cluster up fresh")[0] == 0
    tour.words = {"NEW": "fresh", "FILE": "fresh/nodes/node-1/node.toml"}
    tour.run(move)
    assert tour.shell("govraft cluster down fresh")[0] == 0
    tour.run(check)


def test_no_block_is_left_out() -> None:
    """A page with a block that nothing runs would have to be run by the test above."""
    assert {page.name for page in PAGES if blocks(page)} == {"README.md", "audit.md", "operations.md"}
    assert len(blocks(ROOT / "docs" / "operations.md")) == 6
    whole = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert all(f"```\n{begin}" in whole or f"```python\n{begin}" in whole for begin in ELSEWHERE)


def test_what_is_shown_is_compared() -> None:
    assert is_alike("verdict  allow\nseq 6\n...\n", "FIELD VALUE\nverdict allow\nseq         17\nmore\n")
    assert not is_alike("verdict  allow\n", "verdict deny\n")
    assert not is_alike("b\na\n", "a\nb\n")
    assert read("$ one\nout\n$ two\n") == [("one", "out\n"), ("two", "")]
    assert ast.parse(blocks(ROOT / "README.md")[-1])
