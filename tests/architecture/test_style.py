"""The habits that keep the code readable, held by a test."""

import ast
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import govraft

ROOT = Path(govraft.__file__).resolve().parent
MODULES = sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_short(path):
    text = path.read_text()
    # Up to 400 is usual; more only where one state machine is read better whole.
    assert text.count("\n") <= 550
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < 70, node.name


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_is_a_drawer_for_everything(path):
    assert path.stem not in {"utils", "util", "common", "helpers", "manager", "misc"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_bare_assert_or_bare_except_in_the_product(path):
    for node in ast.walk(ast.parse(path.read_text())):
        assert not isinstance(node, ast.Assert), f"line {node.lineno}: use govraft.errors.require"
        assert not (isinstance(node, ast.ExceptHandler) and node.type is None), f"line {node.lineno}"


def test_every_module_imports_and_its_exports_exist_and_are_sorted():
    for info in pkgutil.walk_packages([str(ROOT)], "govraft."):
        if info.name.endswith("__main__"):
            continue
        module = importlib.import_module(info.name)
        exported = getattr(module, "__all__", [])
        for name in exported:
            assert hasattr(module, name), f"{info.name}.{name}"


def test_every_safety_comment_names_a_test_that_exists():
    """A guarantee without a test that fails when the line is removed is only a claim."""
    tests = {path.name: path.read_text() for path in Path(__file__).parents[1].rglob("test_*.py")}
    everything = "\n".join(tests.values())
    missing = []
    for path in MODULES:
        lines = path.read_text().split("\n")
        for number, line in enumerate(lines):
            if "# SAFETY:" not in line:
                continue
            comment = [line.split("#", 1)[1]]
            for following in lines[number + 1 :]:
                if not following.strip().startswith("#"):
                    break
                comment.append(following.strip().lstrip("#"))
            names = re.findall(r"\b(test_\w+)(?:\.py)?(?:(?:::|\.)(test_\w+))?", " ".join(comment))
            if not names:
                missing.append(f"{path.name}:{number + 1} names no test")
            for module, function in names:
                found = f"{module}.py" in tests or f"def {module}(" in everything
                if not found or (function and f"def {function}(" not in everything):
                    missing.append(f"{path.name}:{number + 1} names {module}::{function}")
    assert not missing, "\n".join(missing)
