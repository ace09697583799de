"""Reading what users hand in: files, `-` for stdin, and JSON on the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NoReturn

from govraft.errors import InputError

__all__ = ["json_value", "read_bytes", "read_json_objects", "read_text"]

_FILE_BYTES_MAX = 256 * 1024 * 1024


def read_bytes(path: Path) -> bytes:
    """The bytes of a file; of stdin for `-`.

    Raises:
        InputError: It cannot be read, or is beyond all reason.
    """
    try:
        if str(path) == "-":
            data = sys.stdin.buffer.read(_FILE_BYTES_MAX + 1)
        else:
            with path.open("rb") as file:
                data = file.read(_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise InputError(f"`{path}` cannot be read: {error.strerror}", code="file_unreadable") from error
    if len(data) > _FILE_BYTES_MAX:
        raise InputError(f"`{path}` is over {_FILE_BYTES_MAX} bytes", code="file_too_large")
    return data


def read_text(path: Path) -> str:
    """The text of a file, without a byte order mark. Raises `InputError`, also if it is not UTF-8."""
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"`{path}` is not UTF-8", code="malformed") from error


def json_value(text: str, where: str) -> Any:
    """Parse JSON, strictly: no duplicate keys, no NaN. `where` names it in errors. Raises `InputError`."""
    try:
        return json.loads(text, object_pairs_hook=_distinct, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not json: {error}", code="malformed") from error


def read_json_objects(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """The objects of a JSON array or of JSON Lines, each with its line, or its place in the array, from 1.

    Raises:
        InputError: It holds anything else.
    """
    text = read_text(path)
    if text.lstrip()[:1] == "[":
        numbered = list(enumerate(json_value(text, f"`{path}`"), 1))
    else:
        lines = enumerate(text.split("\n"), 1)
        numbered = [(number, json_value(line, f"`{path}`, line {number},")) for number, line in lines if line.strip()]
    for number, value in numbered:
        if not isinstance(value, dict):
            raise InputError(f"`{path}`, {number}: an object is wanted", code="malformed")
    return numbered


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("one key appears twice")
    return fields


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"`{text}` is no json value")
