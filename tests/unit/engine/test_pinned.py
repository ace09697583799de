"""The pinned copy of the engine."""

from __future__ import annotations

import sys
from pathlib import Path

import pysyncobj
import pysyncobj.syncobj
import pytest

from govraft.adapters.engine import pinned
from govraft.errors import CorruptionError, InvariantViolation


def test_other_source_is_refused() -> None:
    source = Path(pysyncobj.syncobj.__file__).read_bytes()
    pinned.verify_source(source, "syncobj.py")
    with pytest.raises(CorruptionError, match=r"install pysyncobj 0\.3\.17 unchanged"):
        pinned.verify_source(source + b"\n", "syncobj.py")


def test_a_changed_installation_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "pysyncobj"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "syncobj.py").write_text("class SyncObj: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.split(".")[0] == "pysyncobj"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(CorruptionError, match=r"has sha256"):
        pinned.load_engine()


def test_a_missing_installation_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pinned.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(CorruptionError, match="not installed"):
        pinned.load_engine()


def test_what_is_contained_refuses_and_the_stock_module_is_untouched() -> None:
    module = pinned.load_engine()
    for name in ("pickle", "random"):
        with pytest.raises(InvariantViolation):
            getattr(module, name).loads(b"")
    with pytest.raises(InvariantViolation):
        module.Serializer("file", 1, True, None, None, None).serialize()
    with pytest.raises(LookupError):
        module.monotonicTime()
    assert module is not pysyncobj.syncobj
    assert pysyncobj.syncobj.pickle is not module.pickle
    assert module.__name__ not in sys.modules
    with pinned.engine_time(3.5):
        assert module.monotonicTime() == 3.5
