"""What is wrong with a value that a decoder refused, in words for people: no types and patterns of the decoder."""

from __future__ import annotations

import re
from collections.abc import Callable

__all__ = ["in_words"]

_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "bytes": "bytes",
    "object": "an object",
    "array": "a list",
    "null": "null",
}
_AT = re.compile(r" - at `(key in )?\$\.?(.*)`\Z", re.DOTALL)
_RULES: tuple[tuple[str, Callable[[re.Match[str], str], str]], ...] = (
    (r"Object missing required field `(.+)`", lambda found, at: f"`{_join(at, found[1])}` is missing"),
    (r"Object contains unknown field `(.+)`", lambda found, at: f"`{_join(at, found[1])}` is not known here"),
    (r"Expected `(.+)`, got `(.+)`", lambda found, at: f"{_it(at)} must be {_kinds(found[1])}, not {_kinds(found[2])}"),
    (
        r"Expected `str` matching regex .+",
        lambda _, at: f"{_it(at)} has a character that it must not have, or is too short or too long",
    ),
    (r"Expected `\w+` of length >= (\d+)", lambda found, at: f"{_it(at)} must have a length of {found[1]} or more"),
    (r"Expected `\w+` of length <= (\d+)", lambda found, at: f"{_it(at)} must have a length of {found[1]} or less"),
    (r"Expected `\w+` >= (.+)", lambda found, at: f"{_it(at)} must be {found[1]} or more"),
    (r"Expected `\w+` <= (.+)", lambda found, at: f"{_it(at)} must be {found[1]} or less"),
    (r"Invalid (?:enum )?value (.+)", lambda found, at: f"{_it(at)} cannot be {found[1]}"),
    (r"Invalid base64 encoded string", lambda _, at: f"{_it(at)} is not base64"),
    (r"Input data was truncated", lambda *_: "it ends too early"),
)


def in_words(error: Exception) -> str:
    """One clause, such as "`members[2].id` is missing"; what the decoder said if that is not known here."""
    said = str(error)
    place = _AT.search(said)
    at = place[2] if place else ""
    said = said[: place.start()] if place else said
    for pattern, tell in _RULES:
        found = re.fullmatch(pattern, said, re.DOTALL)
        if found:
            return tell(found, at)
    return f"{said} in `{at}`" if at else said


def _it(at: str) -> str:
    return f"`{at}`" if at else "it"


def _join(at: str, field: str) -> str:
    return f"{at}.{field}" if at else field


def _kinds(names: str) -> str:
    return " or ".join(_TYPES.get(name, name) for name in names.split(" | "))
