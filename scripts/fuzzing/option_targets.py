"""Properties of what users hand to the commands of the families: a clear refusal, or what apply can take."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec

from fuzzing.file_targets import scratch
from fuzzing.proof_targets import signed
from fuzzing.target import Target, expect
from govraft.cli import attest, boundary
from govraft.cli.input_files import json_value, read_text
from govraft.cli.member_creation import read_member
from govraft.cli.times import parse_time
from govraft.core.codec.canonical import pack_json, unpack_json
from govraft.core.codec.envelope import decode_envelope
from govraft.core.codec.in_toto import decode_statement
from govraft.core.machine.proposals import proposed_command
from govraft.core.model.commands import COMMANDS, MemberFields, ProposalOpen, Rate, Window, decode_command
from govraft.core.model.genesis import TIME_MAX_MS
from govraft.core.model.outcome import Rejected
from govraft.errors import ConfigError, InputError
from govraft.testing.sample import CREATED

__all__ = ["TARGETS"]

_PROPOSED = tuple(COMMANDS)
_TYPE = "https://slsa.dev/provenance/v1"
_SUBJECTS = ("image=" + "ab" * 32, "é=sha256:" + "cd" * 32)


def _written(name: str, data: bytes) -> Path:
    path = scratch() / name
    path.write_bytes(data)
    return path


def _member(data: bytes) -> bool:
    try:
        fields = read_member(_written("member.json", data))
    except ConfigError:
        return False
    again = _written("member.json", msgspec.json.encode(fields))
    expect(isinstance(fields, MemberFields) and read_member(again) == fields, "another member when read again")
    return True


def _options(data: bytes) -> bool:
    """Windows, rates and times; the first byte chooses."""
    text = data[1:].decode("utf-8", "replace")
    choice = data[0] % len(_READERS) if data else 0
    try:
        _READERS[choice](text)
    except InputError as error:
        expect("\n" not in str(error) or "\n" in text, "an error of several lines")
        return False
    return True


def _window(text: str) -> None:
    window = boundary._parse_window(text)  # noqa: SLF001 - behind a command line
    again = msgspec.convert(msgspec.to_builtins(window), Window)
    expect(again == window and window.start < window.end, "a window that apply does not take")
    expect(list(window.days) == sorted(set(window.days)) and window.days, "days out of order")


def _rate(text: str) -> None:
    rate = boundary._parse_rate(text)  # noqa: SLF001
    try:
        msgspec.convert(msgspec.to_builtins(rate), Rate)
    except msgspec.ValidationError as error:
        # What is out of range is told when the command is built.
        raise InputError(str(error)) from error


def _time(text: str) -> None:
    expect(1 <= parse_time(text, "--until") <= TIME_MAX_MS, "a time out of range")


def _expiry(text: str) -> None:
    expect(attest._expiry(text) > 0, "an expiry that has passed")  # noqa: SLF001


def _subject(text: str) -> None:
    predicate = _written("predicate.json", b"{}")
    payload = attest._statement(predicate, _TYPE, (text,))  # noqa: SLF001
    expect(len(decode_statement(payload).subjects) == 1, "a statement about nothing")


_READERS: tuple[Callable[[str], None], ...] = (_window, _rate, _time, _expiry, _subject)


def _predicate(data: bytes) -> bool:
    path = _written("predicate.json", data)
    try:
        payload = attest._statement(path, _TYPE, _SUBJECTS)  # noqa: SLF001
    except InputError:
        return False
    statement = decode_statement(payload)
    expect(len(statement.subjects) == 2 and statement.predicate_type == _TYPE, "a statement about something else")
    return True


def _body(data: bytes) -> bool:
    """The body of a proposal; the first byte chooses the command that it is for."""
    path = _written("body.json", data[1:])
    try:
        fields = json_value(read_text(path), "body")
        if not isinstance(fields, dict):
            return False
        name = _PROPOSED[data[0] % len(_PROPOSED)] if data else _PROPOSED[0]
        header = {"cluster": signed().genesis.cluster_id, "command_id": "c", "not_after": CREATED}
        rest = {"author": "rita", "body": fields, "command": name, "epoch": 1, "expires": CREATED, "sequence": 1}
        command = decode_command("proposal.open", pack_json(header | rest))
    except InputError:
        return False
    expect(isinstance(command, ProposalOpen), "another command")
    found = proposed_command(command) if isinstance(command, ProposalOpen) else None
    return found is not None and not isinstance(found, Rejected)


def _body_seeds() -> list[bytes]:
    threshold = {"count": 2, "domain": "root", "role": "operator"}
    mark = {"id": 'Agent::"a"', "kind": "subject", "reason": "why"}
    window = {"days": [0, 1], "end": 1020, "start": 540}
    bound = {
        "action": None,
        "domain": "root",
        "id": "hours",
        "level_max": None,
        "rate": {"count": 10, "seconds": 60},
        "regions": ["eu"],
        "subject": None,
        "windows": [window],
    }
    named = (("threshold.set", threshold), ("revoke", mark), ("boundary.set", bound))
    return [bytes([_PROPOSED.index(name)]) + json.dumps(fields, indent=1).encode() for name, fields in named]


def _member_seeds() -> list[bytes]:
    added = decode_envelope(signed().sample.envelopes[-3]).payload
    return [json.dumps(unpack_json(added, max_bytes=2**16)["member"], indent=2).encode()]


TARGETS = (
    Target("member-file", "member.json", _member, _member_seeds, "json", ("govraft.cli.member_creation",)),
    Target(
        "options",
        "windows, rates, times and subjects on command lines",
        _options,
        lambda: [
            b"\0mon-fri 09:00-17:00",
            b"\0sat,sun 00:00-24:00",
            b"\x01100/60",
            b"\x022h",
            b"\x022027-01-31T12:00:00+01:00",
            b"\x0390d",
            b"\x04image=sha256:" + b"ab" * 32,
        ],
        "text",
        ("govraft.cli.boundary", "govraft.cli.times", "govraft.cli.attest"),
        prefix=1,
        length_max=512,
    ),
    Target(
        "predicate-file",
        "predicates of attest",
        _predicate,
        lambda: [b'{"builder":{"id":"x"},"steps":[1,"\\u00e9",null]}', b"{}"],
        "json",
        ("govraft.cli.attest", "govraft.core.codec.in_toto"),
    ),
    Target(
        "proposal-body",
        "bodies of proposals",
        _body,
        _body_seeds,
        "json",
        ("govraft.core.machine.proposals",),
        prefix=1,
    ),
)
