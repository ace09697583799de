"""Cedar files: read, split into single policies, named for people."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from govraft.cli.input_files import read_text
from govraft.cli.output import note
from govraft.core.model.limits import POLICY_BYTES
from govraft.core.policy.hazards import HazardError, scan_policy
from govraft.errors import InputError

__all__ = ["parse_policies", "policy_id", "policy_name", "read_policies", "split_policies"]

POLICY_SUFFIX = ".cedar"

_PARSE_TIMEOUT_S = 30.0

# Strings and comments are skipped whole, so that a `;` inside one ends nothing.
_TOKEN = re.compile(r'(?P<comment>//[^\n\r]*+)|(?P<string>"(?:[^"\\]|\\.)*+")|(?P<end>;)|(?P<space>\s++)|.', re.DOTALL)
_NAME = re.compile(r'@id\s*\(\s*"((?:[^"\\]|\\.)*)"\s*\)')


def policy_id(text: str) -> str:
    """The id of a policy: SHA-256 of its text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def policy_name(text: str) -> str:
    """What its `@id` annotation calls a policy; empty without one. For people only: ids are digests."""
    match = _NAME.search(text)
    return "" if match is None else match[1]


def split_policies(text: str) -> list[str]:
    """The single policies in a text, each with the comments above it.

    What follows the last `;` belongs to no policy; if it is more than comments, it is an unfinished one and comes last.
    So is what is too large to be a policy: it is not read to its end.
    """
    policies: list[str] = []
    start, is_empty = 0, True
    for match in _TOKEN.finditer(text):
        if match["space"] and match.start() == start:
            start = match.end()
        elif not is_empty and match.end() - start > 2 * POLICY_BYTES:
            return [*policies, text[start : match.end()].strip()]
        elif match["end"]:
            policies.append(text[start : match.end()].strip())
            start, is_empty = match.end(), True
        elif not match["comment"] and not match["space"]:
            is_empty = False
    if not is_empty:
        policies.append(text[start:].strip())
    return policies


def read_policies(paths: Iterable[Path]) -> dict[str, str]:
    """The policies in files, and in all `.cedar` files below directories; says which these are.

    A name that begins with a dot is left out below a directory, and a file that is there under several names is read
    once: so is `..data` in a mounted ConfigMap. A text that stands twice is one policy.

    Returns:
        Text by policy id.

    Raises:
        InputError: A file cannot be read or holds none, or a policy is malformed or too large.
    """
    found: dict[str, str] = {}
    origin: dict[str, Path] = {}
    for file in _policy_files(paths):
        texts = split_policies(read_text(file))
        if not texts:
            raise InputError(f"`{file}` holds no policy")
        for text in texts:
            if len(text) >= 2 * POLICY_BYTES:
                message = f"`{file}`: a policy has {2 * POLICY_BYTES} bytes and more, over {POLICY_BYTES}: split it"
                raise InputError(message, code="policy_too_large")
            try:
                scan_policy(text)
            except HazardError as error:
                raise InputError(f"`{file}`: {error}", code=error.code) from error
            name = policy_id(text)
            if name in found:
                note(f"one policy is in `{origin[name]}` and in `{file}`: it counts once")
            else:
                found[name], origin[name] = text, file
    return found


def _policy_files(paths: Iterable[Path]) -> list[Path]:
    """The files to read, each once. Raises `InputError` for a directory without any."""
    files: dict[Path, Path] = {}
    for path in paths:
        taken = [path]
        if path.is_dir():
            taken = [file for file in sorted(path.rglob(f"*{POLICY_SUFFIX}")) if _is_seen(file, path)]
            if not taken:
                raise InputError(f"`{path}` holds no `{POLICY_SUFFIX}` files")
            note(f"read below `{path}`: {', '.join(str(file.relative_to(path)) for file in taken)}")
        for file in taken:
            files.setdefault(file.resolve(), file)
    return list(files.values())


def _is_seen(file: Path, directory: Path) -> bool:
    return not file.is_dir() and not any(part.startswith(".") for part in file.relative_to(directory).parts)


def parse_policies(schema: str, policies: Mapping[str, str]) -> None:
    """Parse and type-check policies in a process of their own. Raises `InputError` for what nodes would not take."""
    from govraft.adapters.cedar_parser import parse_isolated

    asyncio.run(parse_isolated(schema, policies, None, timeout_s=_PARSE_TIMEOUT_S))
