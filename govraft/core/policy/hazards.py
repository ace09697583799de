"""Refuses policies, schemas and values on which the native Cedar engine could die, before it ever sees them.

Cedar's parser, type checker and evaluator recurse, and on a deep input they end the process with SIGSEGV. In a
replicated log that would kill every node, and again at each replay. So each text is measured here first, in
linear time, in pure Python and without recursion. The rules:

1. The scan uses Cedar's own lexical rules (strings with escapes, `//` comments that end at a line feed or a carriage
   return), so a bracket inside a string or a comment does not count, and nothing can hide behind one.
2. A policy is measured twice: by how deep its brackets and `if`s nest, which drives the parser, and by the length
   of the longest path through its expression tree, which drives the evaluator. Operators that stand side by side
   between two commas lie on one path, because `a && b && c` is a tree as deep as it is long.
3. A schema is measured with its common types written out in place: `type B = {x: A, y: A};` repeated thirty times
   is a short text and a type of 2³⁰ nodes. Its `in` clauses are counted,
   because closing a chain of them costs the cube of its length.
4. One text holds one policy and no template slot, so that a content digest names exactly one policy.

A text that passes may still be wrong; only Cedar can tell. A text that fails is never given to Cedar.
"""

from __future__ import annotations

import re

from govraft.core.model import limits
from govraft.core.policy.schema_expansion import measure_schema
from govraft.errors import InputError

__all__ = ["HazardError", "scan_policy", "scan_schema", "scan_value"]

_INT64_MIN = -(2**63)
_INT64_MAX = 2**63 - 1

# Possessive quantifiers keep every match linear: no part of a lexeme is ever tried twice. What a word is must not
# depend on the Unicode tables of the Python that runs: Cedar's are ASCII.
_TOKEN = re.compile(
    r"""
      (?P<skip>   \s++ | //[^\n\r]*+ )
    | (?P<string> "(?:[^"\\]|\\.)*+" )
    | (?P<word>   [A-Za-z_][A-Za-z0-9_]*+ )
    | (?P<number> [0-9]++ )
    | (?P<open>   [(\[{] )
    | (?P<close>  [)\]}] )
    | (?P<symbol> && | \|\| | == | != | <= | >= | :: | . )
    """,
    re.VERBOSE | re.DOTALL,
)
_PAIRS = {")": "(", "]": "[", "}": "{"}
_OPERATOR_WORDS = frozenset({"has", "if", "in", "is", "like", "unless", "when"})
_OPERATOR_SYMBOLS = frozenset({"!", "!=", "%", "&&", "*", "+", "-", ".", "/", "<", "<=", "=", "==", ">", ">=", "||"})


class HazardError(InputError):
    """A text or value that must not reach the native policy engine. `code` says which bound it breaks."""

    default_code = "hazardous"


class _Level:
    """One bracket level: what has been seen since its last comma, and the longest path so far."""

    __slots__ = ("bracket", "ifs", "inner", "longest", "operators")

    def __init__(self, bracket: str) -> None:
        self.bracket = bracket
        self.operators = 0
        self.ifs = 0
        self.inner = 0
        self.longest = 0

    def end_segment(self) -> None:
        """Close the run of operators that a comma, or the bracket's end, separates from its neighbours."""
        self.longest = max(self.longest, self.operators + self.inner)
        self.operators = self.ifs = self.inner = 0


def scan_policy(text: str) -> None:
    """Refuse a policy text that could kill or stall the engine.

    Args:
        text: One Cedar policy, annotations included.

    Raises:
        HazardError: `policy_too_large`, `policy_too_deep`, `policy_chain_too_long`, `policy_template`, or
            `policy_malformed` for what Cedar could not read as one policy.
    """
    _check_size(text, limits.POLICY_BYTES, "policy")
    # SAFETY: test_policy_hazards.py::test_chain_boundary fails without this bound.
    if _longest_path(text) > limits.POLICY_OPERATOR_CHAIN:
        raise HazardError(
            f"policy chains more than {limits.POLICY_OPERATOR_CHAIN} operators: use a set or several policies",
            code="policy_chain_too_long",
        )


def _longest_path(text: str) -> int:
    """Operators and brackets on the longest path through the policy's expression tree."""
    levels = [_Level("")]
    depth = 0  # Open brackets plus the ifs open in them.
    ended = False
    for match in _TOKEN.finditer(text):
        kind, lexeme = match.lastgroup, match.group()
        if kind == "skip":
            continue
        if ended:
            raise HazardError("a policy text must end with its first `;`: split it there", code="policy_malformed")
        ended = lexeme == ";"
        if kind == "open":
            levels.append(_Level(lexeme))
            depth += 1
        elif kind == "close":
            depth -= 1 + levels[-1].ifs
            _close(levels, lexeme)
        elif lexeme == ",":
            depth -= levels[-1].ifs
            levels[-1].end_segment()
        elif kind in {"word", "symbol"}:
            depth += _count_operator(levels[-1], lexeme)
        # SAFETY: test_policy_hazards.py::test_depth_boundary fails without this bound.
        if depth > limits.POLICY_BRACKET_DEPTH:
            message = f"policy nests deeper than {limits.POLICY_BRACKET_DEPTH} levels: split it"
            raise HazardError(message, code="policy_too_deep")
    return _end_policy(levels, ended=ended)


def _count_operator(level: _Level, lexeme: str) -> int:
    """Account for one word or symbol outside strings; gives by how much it deepens the nesting."""
    if lexeme == '"':
        raise HazardError('policy has a string without end: close it with `"`', code="policy_malformed")
    if lexeme == "?":
        raise HazardError(
            "policy is a template: replace `?principal` and `?resource` by entities", code="policy_template"
        )
    if lexeme in _OPERATOR_WORDS or lexeme in _OPERATOR_SYMBOLS:
        level.operators += 1
    if lexeme != "if":
        return 0
    level.ifs += 1  # `if` reaches to the end of its segment, so a second one lies inside the first.
    return 1


def _close(levels: list[_Level], bracket: str) -> None:
    closed = levels[-1]
    if closed.bracket != _PAIRS[bracket]:
        raise HazardError(f"policy has an unmatched `{bracket}`: balance its brackets", code="policy_malformed")
    levels.pop()
    closed.end_segment()
    levels[-1].inner = max(levels[-1].inner, closed.longest + 1)


def _end_policy(levels: list[_Level], *, ended: bool) -> int:
    if len(levels) != 1:
        raise HazardError(
            f"policy has an unmatched `{levels[-1].bracket}`: balance its brackets", code="policy_malformed"
        )
    if not ended:
        raise HazardError("policy does not end with `;`: complete it", code="policy_malformed")
    levels[0].end_segment()
    return levels[0].longest


def scan_schema(text: str) -> None:
    """Refuse a schema text that could kill or stall the engine.

    Args:
        text: A schema in Cedar's own syntax (not its JSON form).

    Raises:
        HazardError: `schema_too_large`, `schema_too_deep`, `schema_too_wide` (its common types written out) or
            `schema_malformed`.
    """
    _check_size(text, limits.SCHEMA_BYTES, "schema")
    try:
        measured = measure_schema(text)
    except ValueError as error:
        raise HazardError(f"schema cannot be read: {error}", code="schema_malformed") from error
    # SAFETY: test_policy_hazards.py::test_schema_depth_boundary, test_schema_common_types_are_expanded and
    # test_schema_hierarchy_boundary fail without these bounds.
    if measured.depth > limits.SCHEMA_DEPTH:
        raise HazardError(f"schema nests deeper than {limits.SCHEMA_DEPTH} levels: flatten it", code="schema_too_deep")
    if measured.nodes > limits.SCHEMA_NODES:
        raise HazardError(
            f"schema grows beyond {limits.SCHEMA_NODES} words once its common types are written out: simplify it",
            code="schema_too_wide",
        )
    if measured.memberships > limits.SCHEMA_HIERARCHY:
        raise HazardError(
            f"schema uses `in` more than {limits.SCHEMA_HIERARCHY} times: simplify it", code="schema_too_wide"
        )


def scan_value(
    value: object, *, depth_max: int = limits.CONTEXT_DEPTH, values_max: int | None = None, is_sorted: bool = False
) -> None:
    """Refuse a JSON value that Cedar's value decoder could not take safely.

    Args:
        value: Context or attribute value in Cedar's JSON format.
        depth_max: Greatest nesting of lists and maps; a plain map has depth 1.
        values_max: Most members of lists and maps together; None for no bound beyond the bytes.
        is_sorted: Look at the members of maps by name: of several faults, the same one is found whatever their order.

    Raises:
        HazardError: `value_too_deep`, `value_too_wide`, or `value_malformed`: floats, null, bytes, integers beyond 64
            bits, text that is not Unicode, and the `__expr` escape, which would have Cedar parse an expression that
            nobody signed.
    """
    stack: list[tuple[object, int]] = [(value, 0)]
    values = 0
    while stack:
        item, depth = stack.pop()
        kind = type(item)
        if kind is str:
            _check_text(item)  # type: ignore[arg-type]
        elif kind is int:
            if not _INT64_MIN <= item <= _INT64_MAX:  # type: ignore[operator]
                raise HazardError("integer does not fit 64 bits: send it as a string", code="value_malformed")
        elif kind is dict or kind is list:
            # SAFETY: test_policy_hazards.py::test_value_depth_boundary fails without this bound.
            if depth >= depth_max:
                raise HazardError(f"value nests deeper than {depth_max} levels: flatten it", code="value_too_deep")
            children = _children(item, is_sorted=is_sorted)
            values += len(children)
            # SAFETY: a value costs far more time than its byte on the wire, and everybody else waits meanwhile;
            # test_abuse_requests.py::test_a_request_of_many_values_is_refused_in_no_time
            if values_max is not None and values > values_max:
                raise HazardError(f"more than {values_max} values: send less", code="value_too_wide")
            stack.extend((child, depth + 1) for child in children)
        elif kind is not bool:
            raise HazardError(
                f"`{kind.__name__}` is no Cedar value: use text, whole numbers, true, false, lists or maps",
                code="value_malformed",
            )


def _children(item: object, *, is_sorted: bool = False) -> list[object]:
    if isinstance(item, dict):
        if is_sorted:
            item = dict(sorted(item.items(), key=lambda member: str(member[0])))
        for key in item:
            if type(key) is not str or key == "__expr":
                raise HazardError(f"`{key}` is no attribute name: rename it", code="value_malformed")
            _check_text(key)
        return list(item.values())
    return item if isinstance(item, list) else []


def _check_text(text: str) -> None:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise HazardError("text holds a lone surrogate: send valid Unicode", code="value_malformed") from error


def _check_size(text: str, bytes_max: int, what: str) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise HazardError(f"{what} holds a lone surrogate: send valid Unicode", code=f"{what}_malformed") from error
    if size > bytes_max:
        raise HazardError(f"{what} has {size} bytes, more than {bytes_max}: split it", code=f"{what}_too_large")
