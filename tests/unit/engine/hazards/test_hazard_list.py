"""The list of hazards is complete: each id has a scripted test that runs the stock engine.

That such a test really ran it is asserted by the fixture `stock` itself; that it saw the bad outcome there, by the test.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

LISTED = [*map(str, range(1, 14)), "13b", *map(str, (*range(14, 18), 19, 20, *range(23, 29)))]
"""The ids of the list: it has no rows 18, 21 and 22."""

NAME = re.compile(r"test((?:_h\d+b?)+)_")


def shown_on_stock(folder: Path) -> dict[str, list[str]]:
    """Tests that ask for the stock engine and use it, by the hazards in their names."""
    shown: dict[str, list[str]] = {}
    for path in sorted(folder.glob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            match = NAME.match(node.name) if isinstance(node, ast.FunctionDef) else None
            if match is None or not isinstance(node, ast.FunctionDef):
                continue
            asks = "stock" in {argument.arg for argument in node.args.args}
            calls = any(
                isinstance(part, ast.Call) and isinstance(part.func, ast.Name) and part.func.id == "stock"
                for part in ast.walk(node)
            )
            if asks and calls:
                for number in re.findall(r"\d+b?", match[1]):
                    shown.setdefault(number, []).append(f"{path.name}::{node.name}")
    return shown


def test_each_hazard_was_seen_on_the_stock_engine() -> None:
    shown = shown_on_stock(Path(__file__).parent)
    assert set(shown) == set(LISTED)


def test_a_missing_hazard_is_noticed(tmp_path: Path) -> None:
    text = (Path(__file__).parent / "test_hazards.py").read_text(encoding="utf-8")
    (tmp_path / "test_some.py").write_text(text.replace("contained: Any, stock: Any", "contained: Any"), "utf-8")
    assert shown_on_stock(tmp_path) == {}
    (tmp_path / "test_some.py").write_text("def test_h3_named_only(stock): pass\ndef test_h4_h5_x(stock): stock()\n")
    assert sorted(shown_on_stock(tmp_path)) == ["4", "5"]


def test_each_named_hazard_is_one_of_the_list() -> None:
    package = Path(__file__).parents[4] / "govraft" / "adapters" / "engine"
    named = {
        number
        for path in package.glob("*.py")
        for number in re.findall(r"\bH(\d+b?)\b", path.read_text(encoding="utf-8"))
    }
    assert named <= set(LISTED)
