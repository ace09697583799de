"""Standard streams that the caller has closed, and streams that take no more."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from govraft.cli.exit_codes import MISUSED, PIPE_CLOSED, UNAVAILABLE

CLOSINGS = ["<&-", ">&-", "2>&-", "<&- >&-", ">&- 2>&-", "<&- >&- 2>&-", ""]
NOWHERE = "unix:///does/not/exist"


def shell(line: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a line in which "$@" is a program that came with govraft."""
    return subprocess.run(
        ["bash", "-c", line, "bash", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "GOVRAFT_ENDPOINT": NOWHERE},
    )


def module(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", name, *arguments]


@pytest.mark.parametrize("closing", CLOSINGS)
def test_closed_descriptors_become_dev_null(closing: str, tmp_path: Path) -> None:
    program = (
        "import os, sys\n"
        "from govraft.cli.standard_streams import open_closed_descriptors\n"
        "open_closed_descriptors()\n"
        "first = os.open('/', os.O_RDONLY)\n"
        "found = [os.readlink(f'/proc/self/fd/{n}') for n in range(3)]\n"
        "open(sys.argv[1], 'w').write(repr((first, found, sys.stdin.isatty())))\n"
    )
    done = shell(f'"$@" {closing}', sys.executable, "-P", "-c", program, str(tmp_path / "found"))
    assert done.returncode == 0, done.stderr
    first, found, _ = eval((tmp_path / "found").read_text())  # noqa: S307 - our own words
    assert first > 2
    for number, sign in enumerate(("<&-", ">&-", "2>&-")):
        # ">&-" is the end of "2>&-" too.
        if sign in closing.split():
            assert found[number] == "/dev/null"


@pytest.mark.parametrize("closing", CLOSINGS)
@pytest.mark.parametrize("name", ["govraft.cli.main", "govraft.cli.node"])
def test_programs_begin_with_them(name: str, closing: str) -> None:
    assert shell(f'"$@" {closing}', *module(name, "version")).returncode == 0
    assert shell(f'"$@" {closing}', *module(name, "no-such-command")).returncode == MISUSED


ASKED = [
    (("lineage", "list"), UNAVAILABLE),
    (("lineage", "list", "-o", "json"), UNAVAILABLE),
    (("no-such-command",), MISUSED),
    (("verify", "/does/not/exist", "--genesis", "/does/not/exist"), MISUSED),
]


@pytest.mark.parametrize("stream", ["2>/dev/full", "2>&-", "2> >(true)"])
@pytest.mark.parametrize(("arguments", "code"), ASKED)
def test_an_error_that_cannot_be_said_keeps_its_exit_code(arguments: tuple[str, ...], code: int, stream: str) -> None:
    """Exit code 1 would read as a denial."""
    assert shell(f'"$@" {stream}', *module("govraft.cli.main", *arguments)).returncode == code


@pytest.mark.parametrize("arguments", [("version",), ("--help",), ("completion", "bash")])
def test_a_result_that_cannot_be_written_is_no_success(arguments: tuple[str, ...]) -> None:
    full = shell('"$@" >/dev/full', *module("govraft.cli.main", *arguments))
    assert full.returncode == UNAVAILABLE
    assert "No space left" in full.stderr
    assert "defect" not in full.stderr
    gone = shell('"$@" | true; exit ${PIPESTATUS[0]}', *module("govraft.cli.main", *arguments))
    assert gone.returncode in {PIPE_CLOSED, 0}  # 0 if all was written before the reader ended.
    assert "Traceback" not in full.stderr + gone.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("version",), 0), (("check-config", "/none"), 2), (("run", "--config", "/none"), 2), (("none",), 2)],
)
@pytest.mark.parametrize("streams", [">/dev/full 2>/dev/full", "> >(true) 2>&1", ">&- 2>&-"])
def test_the_node_program_keeps_its_exit_codes(arguments: tuple[str, ...], code: int, streams: str) -> None:
    done = shell(f'"$@" {streams}', *module("govraft.cli.node", *arguments))
    if arguments == ("none",) and streams != ">&- 2>&-":
        assert done.returncode in {1, 2, 3}  # click's own words: never 0.
    else:
        assert done.returncode == code
