"""Cedar files: read, split into single policies, named for people."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NoReturn

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
    """The policies in files, and in all `.cedar` files below directories. Notes say what was taken from a directory.

    One file counts once, by however many names and links it is found. Two equal texts are one policy, with a note.

    Returns:
        Text by policy id.

    Raises:
        InputError: A file cannot be read or holds none, or a policy is malformed or too large.
    """
    found: dict[str, str] = {}
    origin: dict[str, Path] = {}
    seen: set[str] = set()
    for path in paths:
        files = sorted(_files_below(path)) if path.is_dir() else [path]
        if not files:
            raise InputError(f"`{path}` holds no `{POLICY_SUFFIX}` files; names that begin with a dot are skipped")
        taken = []
        for file in files:
            real = os.path.realpath(file)
            if real in seen:
                continue
            seen.add(real)
            taken.append(file)
            for name, text in _policies_in(file):
                if name in found:
                    note(f"one policy is in `{origin[name]}` and in `{file}`: it counts once")
                    continue
                found[name], origin[name] = text, file
        if path.is_dir():
            note(f"from `{path}`: {', '.join(str(file.relative_to(path)) for file in taken) or 'nothing new'}")
    return found


def _policies_in(file: Path) -> Iterator[tuple[str, str]]:
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
        yield policy_id(text), text


def _files_below(directory: Path) -> Iterator[Path]:
    """The `.cedar` files below a directory, through links too: what is left out unseen could be a forbid.

    A name that begins with a dot is not for us: `..data` of a mounted ConfigMap repeats what stands beside it, and
    `.git` holds what somebody removed.
    """
    entered: set[str] = set()
    for folder, folders, names in os.walk(directory, onerror=_refuse, followlinks=True):
        real = os.path.realpath(folder)
        if real in entered:  # A link that leads back up would never end.
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            if name.endswith(POLICY_SUFFIX) and not name.startswith("."):
                yield Path(folder, name)


def _refuse(error: OSError) -> NoReturn:
    raise InputError(f"`{error.filename}` cannot be read: {error.strerror}", code="file_unreadable") from error


def parse_policies(schema: str, policies: Mapping[str, str]) -> None:
    """Parse and type-check policies in a process of their own. Raises `InputError` for what nodes would not take."""
    from govraft.adapters.cedar_parser import parse_isolated

    asyncio.run(parse_isolated(schema, policies, None, timeout_s=_PARSE_TIMEOUT_S))
