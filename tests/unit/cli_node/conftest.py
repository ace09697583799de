"""Clusters made in tests lie in directories with short names: socket paths are short."""

from __future__ import annotations

from pathlib import Path

import pytest

from govraft import startup


@pytest.fixture
def tmp_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("c")


@pytest.fixture(autouse=True)
def on_a_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where these tests lie is not what they are about; see `test_forgetful_storage.py`."""
    monkeypatch.setattr(startup, "forgets_store", lambda *_: "")
