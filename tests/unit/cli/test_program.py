"""Without what the extra `node` brings, both programs say what to install."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(("entry", "name"), [("govraft", "govraft"), ("govraft_node", "govraft-node")])
def test_a_missing_extra_is_named(entry, name):
    code = f"import sys; sys.modules['click'] = None; from govraft.cli.program import {entry}; {entry}()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"{name}: `click` is not installed: pip install 'govraft[node]'\n"


def test_a_defect_of_our_own_is_no_missing_extra():
    code = "import sys; sys.modules['govraft.cli.settings'] = None; from govraft.cli.program import govraft; govraft()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "is not installed" not in done.stderr


@pytest.mark.parametrize("encoding", ["latin-1", "koi8-r", "utf-8"])
def test_a_terminal_that_lacks_a_character_gets_it_written_out(encoding):
    code = "import sys; sys.argv = ['govraft', 'attestation', 'show', '--help']; from govraft.cli.program import govraft; govraft()"
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    shown = done.stdout.decode(encoding)
    assert (
        "govraft attestation show 3f2a…" if encoding == "utf-8" else "govraft attestation show 3f2a\\u2026"
    ) in shown
