"""The model checker must be there where it counts: in CI its absence is a failure, elsewhere a reason to skip."""

from __future__ import annotations

import os

import pytest

from model import tlc


@pytest.fixture(scope="session", autouse=True)
def checker():
    try:
        tlc.tools()
    except tlc.ToolMissingError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"the model cannot be checked: {error}")
        pytest.skip(f"THE MODEL IS NOT CHECKED: {error}")
