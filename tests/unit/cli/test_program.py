"""Without what the extra `node` brings, both programs say what to install."""

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
