"""Power failures need strace: in CI its absence is a failure, elsewhere a reason to skip, loudly."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def strace() -> None:
    program = shutil.which("strace")
    works = (
        program is not None and not subprocess.run([program, "-f", "true"], capture_output=True, check=False).returncode
    )
    if not works:
        what = "strace is missing or may not trace: apt-get install strace"
        if os.environ.get("CI") == "true":
            pytest.fail(f"power failures cannot be tested: {what}")
        pytest.skip(f"POWER FAILURES ARE NOT TESTED: {what}")


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A directory in memory where there is one: thousands of stores are opened, and each of them syncs."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as directory:
        for name in ("run", "image"):
            (Path(directory) / name).mkdir()
        yield Path(directory)
