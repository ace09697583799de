"""One planted fault."""

from __future__ import annotations

import ast
from pathlib import Path

import msgspec

__all__ = ["Mutant", "MutantError", "mutated"]


class MutantError(Exception):
    """The table does not fit the product any more: a mutant cannot be planted, or its killers do not exist."""


class Mutant(msgspec.Struct, frozen=True):
    """A fault, and the tests that must notice it.

    Attributes:
        name: Unique, kebab-case.
        breaks: The guarantee that is lost, in words of the protocol.
        file: Of the product, from the root of the project.
        old: Text that stands in the file exactly once.
        new: What takes its place.
        killers: pytest files, folders or node ids, cheapest first: the first failure ends the run.
        seeds: Profile, and first and last seed, of simulated clusters that must notice it too, without any test that
            knows of it; None for faults that no cluster of honest nodes can meet.
    """

    name: str
    breaks: str
    file: str
    old: str
    new: str
    killers: tuple[str, ...]
    seeds: tuple[str, int, int] | None = None


def mutated(mutant: Mutant, root: Path) -> str:
    """The text of the mutant's file with the fault in it.

    Raises:
        MutantError: The text to replace is not there exactly once, nothing would change, or a killer does not exist.
    """
    path = root / mutant.file
    if not path.is_file():
        raise MutantError(f"`{mutant.name}`: there is no file `{mutant.file}`")
    text = path.read_text()
    count = text.count(mutant.old)
    if count != 1:
        raise MutantError(f"`{mutant.name}`: its text stands {count} times in `{mutant.file}`, not once")
    planted = text.replace(mutant.old, mutant.new)
    try:
        # A fault that does not even load would be noticed by any test, which would prove nothing about it.
        before, after = ast.dump(ast.parse(text)), ast.dump(ast.parse(planted))
    except SyntaxError as error:
        raise MutantError(f"`{mutant.name}`: the fault is not Python: {error}") from error
    if before == after:
        raise MutantError(f"`{mutant.name}`: changes nothing")
    for killer in mutant.killers:
        _find(mutant.name, killer, root)
    if not mutant.killers:
        raise MutantError(f"`{mutant.name}`: has no killers")
    return planted


def _find(name: str, killer: str, root: Path) -> None:
    file, *inside = killer.split("::")
    if not (root / file).exists():
        raise MutantError(f"`{name}`: there is no killer `{file}`")
    if inside:
        function = inside[-1].split("[")[0]
        if f"def {function}(" not in (root / file).read_text():
            raise MutantError(f"`{name}`: there is no killer `{killer}`")
