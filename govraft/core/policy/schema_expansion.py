"""How large and how deep a Cedar schema becomes once its common types are written out.

Cedar resolves common types by copying them, so the cost of a schema is not its length. This module reads only as
much of the schema as it needs for a bound: brackets, words and the `type NAME = …;` statements. Every word that may
name a type is charged with the measure of the common type of that name, whatever namespace it stands in; that can
only overestimate.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["SchemaMeasure", "measure_schema"]

_TOKEN = re.compile(
    r"""
      (?P<skip>   \s++ | //[^\n\r]*+ )
    | (?P<string> "(?:[^"\\]|\\.)*+" )
    | (?P<word>   [A-Za-z_][A-Za-z0-9_]*+ )
    | (?P<open>   [(\[{<] )
    | (?P<close>  [)\]}>] )
    | (?P<symbol> :: | . )
    """,
    re.VERBOSE | re.DOTALL,
)
_PAIRS = {")": "(", "]": "[", "}": "{", ">": "<"}
_NODES_CAP = 10**12  # Over every limit, yet cheap to add and multiply.
_AFTER_NAMES = frozenset({":", "?", "::"})  # What follows an attribute name or a namespace, never a type.

_Token = tuple[str, str]


class SchemaMeasure(NamedTuple):
    """Nesting levels; words and brackets in total, common types written out; `in` clauses."""

    depth: int
    nodes: int
    memberships: int = 0


class _Statement:
    """What one `type` statement, or all the rest, holds: its own size, and the words in it that may be types."""

    __slots__ = ("depth", "nodes", "words")

    def __init__(self) -> None:
        self.depth = 0
        self.nodes = 0
        self.words: dict[str, tuple[int, int]] = {}  # word -> (times used, deepest use)

    def add_word(self, word: str, depth: int) -> None:
        times, deepest = self.words.get(word, (0, 0))
        self.words[word] = (times + 1, max(deepest, depth))


def measure_schema(text: str) -> SchemaMeasure:
    """Bound the depth and the size of a schema in Cedar syntax. Linear in the text.

    Raises:
        ValueError: Brackets or strings do not match, or common types refer to each other in a circle.
    """
    rest, types = _read_statements(_tokenize(text))
    sizes: dict[str, SchemaMeasure] = {}
    for name in _in_dependency_order(types):
        sizes[name] = _expand(types[name], sizes)
    whole = [_expand(rest, sizes), *sizes.values()]
    memberships = sum(body.words.get("in", (0, 0))[0] for body in (rest, *types.values()))
    return SchemaMeasure(max(part.depth for part in whole), sum(part.nodes for part in whole), memberships)


def _tokenize(text: str) -> list[_Token]:
    lexemes: list[_Token] = []
    for match in _TOKEN.finditer(text):
        kind, lexeme = match.lastgroup or "", match.group()
        # SAFETY: at once, or its end would be looked for again from each quote in it
        # (test_review_issue_governance.py::test_no_text_costs_the_square_of_its_length).
        if lexeme == '"':
            raise ValueError("a string has no end")
        if kind != "skip":
            lexemes.append((kind, lexeme))
    return [*lexemes, ("end", ""), ("end", "")]


def _read_statements(lexemes: list[_Token]) -> tuple[_Statement, dict[str, _Statement]]:
    rest = _Statement()
    types: dict[str, _Statement] = {}
    current, base = rest, 0
    brackets: list[str] = []
    previous = name = ""
    for (kind, lexeme), (_, following), (_, second) in zip(lexemes, lexemes[1:], lexemes[2:], strict=False):
        if kind == "open":
            brackets.append(lexeme)
            current.depth = max(current.depth, len(brackets) - base)
        elif kind == "close":
            if not brackets or brackets.pop() != _PAIRS[lexeme]:
                raise ValueError(f"unmatched `{lexeme}`")
        elif lexeme == ";":
            current, base = rest, 0
        elif lexeme == "type" and second == "=" and previous != "@":
            # Two types of one name in two namespaces are measured as one: together they cost at least as much.
            name = following
            current, base = types.setdefault(name, _Statement()), len(brackets)
        elif kind == "word" and not (previous == "type" and lexeme == name) and following not in _AFTER_NAMES:
            current.add_word(lexeme, len(brackets) - base)
        current.nodes += kind != "symbol"
        previous = lexeme
    if brackets:
        raise ValueError(f"unmatched `{brackets[-1]}`")
    return rest, types


def _in_dependency_order(types: dict[str, _Statement]) -> list[str]:
    """Names ordered so that each comes after the types that it uses (Kahn's algorithm: no recursion)."""
    waiting = {name: {word for word in body.words if word in types} for name, body in types.items()}
    users: dict[str, list[str]] = {name: [] for name in types}
    for name, used in waiting.items():
        for word in used:
            users[word].append(name)
    ready = [name for name, used in waiting.items() if not used]
    order: list[str] = []
    while ready:
        name = ready.pop()
        order.append(name)
        for user in users[name]:
            waiting[user].discard(name)
            if not waiting[user]:
                ready.append(user)
    if len(order) != len(types):
        stuck = min(name for name, used in waiting.items() if used)
        raise ValueError(f"common type `{stuck}` contains itself, or a type of the same name: rename one")
    return order


def _expand(statement: _Statement, sizes: dict[str, SchemaMeasure]) -> SchemaMeasure:
    depth, nodes = statement.depth, statement.nodes
    for word, (times, deepest) in statement.words.items():
        used = sizes.get(word)
        if used is not None:
            depth = max(depth, deepest + used.depth)
            nodes = min(nodes + times * used.nodes, _NODES_CAP)
    return SchemaMeasure(depth, nodes)
