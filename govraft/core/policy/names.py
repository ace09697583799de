"""Which entities a policy names: every uid that is written out in its text, wherever it stands.

Read with Cedar's lexical rules: between the parts of a uid there may be white space and comments, and what looks like
one inside a string or a comment is none.
"""

from __future__ import annotations

import re

from govraft.core.model.ids import canonical_uid
from govraft.errors import DecodeError

__all__ = ["named_entities"]

_TOKEN = re.compile(
    r'(?P<skip>\s++|//[^\n\r]*+)|(?P<string>"(?:[^"\\]|\\.)*+")|(?P<word>[A-Za-z_][A-Za-z0-9_]*+)|(?P<joint>::)|.',
    re.DOTALL,
)


def named_entities(text: str) -> frozenset[str]:
    """Canonical uids of the entities that a policy names, actions included.

    Args:
        text: A policy that `scan_policy` let through.
    """
    found: set[str] = set()
    path: list[str] = []
    joined = False  # Whether the last token that counted was `::`.
    for match in _TOKEN.finditer(text):
        kind, lexeme = match.lastgroup, match.group()
        if kind == "skip":
            continue
        if kind == "word":
            path = [*path, lexeme] if joined else [lexeme]
        elif kind == "string" and joined and path:
            found.update(_uid("::".join(path), lexeme))
            path = []
        elif kind != "joint":
            path = []
        joined = kind == "joint" and bool(path)
    return frozenset(found)


def _uid(name: str, literal: str) -> tuple[str, ...]:
    try:
        return (canonical_uid(f"{name}::{literal}"),)
    except DecodeError:
        # Cedar takes it no more than we do, or it is longer than any entity's.
        return ()
