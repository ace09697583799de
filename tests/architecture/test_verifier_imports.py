"""The offline verifier loads nothing that runs a node, opens a socket of one, or decides for one."""

from __future__ import annotations

import json
import subprocess
import sys

_FOREIGN = (
    "govraft.adapters",
    "govraft.daemon",
    "govraft.node",
    "govraft.ports",
    "govraft.testing",
    "asyncio",
    "cedarpy",
    "pysyncobj",
    "sqlite3",
    "ssl",
    "uvloop",
)


def loaded_by(statement: str) -> list[str]:
    text = f"import json, sys; {statement}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_the_verifier_imports_nothing_of_the_node() -> None:
    found = loaded_by("import govraft.core.evidence.evidence, govraft.core.evidence.trust")
    assert "govraft.core.evidence.permit_file" in found
    assert [name for name in found if name.startswith(_FOREIGN)] == []


def test_the_command_imports_nothing_of_the_node() -> None:
    found = loaded_by("import govraft.cli.verify, govraft.cli.trust")
    # The client library, which settings come with, brings asyncio.
    wanted = tuple(name for name in _FOREIGN if name not in {"asyncio", "ssl"})
    assert [name for name in found if name.startswith(wanted)] == []
