"""Properties of what users hand to the commands: refused as input that cannot be used, never with a traceback."""

from __future__ import annotations

import json
from pathlib import Path

from fuzzing.file_targets import scratch
from fuzzing.target import Target, expect
from fuzzing.world import world
from govraft.cli.expectations import read_expectations
from govraft.cli.processes import find_process
from govraft.cli.submit import _split
from govraft.core.codec.envelope import decode_envelope
from govraft.errors import AvailabilityError, ConfigError, DecodeError, InputError

__all__ = ["TARGETS"]


def _written(name: str, data: bytes) -> Path:
    path = scratch() / name
    path.write_bytes(data)
    return path


def _trace(data: bytes) -> bool:
    """Request traces of `govraft check --batch`."""
    path = _written("trace.jsonl", data)
    try:
        lines = read_expectations(path)
    except InputError:
        return False
    for line in lines:
        uids = (line.request.principal, line.request.action, line.request.resource)
        expect(all(isinstance(uid, str) for uid in uids), "a request about something that is no text")
        expect(isinstance(line.request.context, dict), "a context that is no object")
    return bool(lines)


def _envelopes(data: bytes) -> bool:
    """Files of `govraft submit`: each envelope is handed in as the bytes that were signed."""
    try:
        envelopes = _split(data.decode("utf-8"))
    except (InputError, UnicodeDecodeError):
        return False
    for envelope in envelopes:
        try:
            decode_envelope(envelope)
        except DecodeError:
            return False
        except InputError:
            return False
    return True


def _process(data: bytes) -> bool:
    """The record of a process that runs, or ran."""
    try:
        process = find_process(_written("n1.pid", data))
    except (ConfigError, AvailabilityError):
        return False
    expect(process is None, "a process that nobody started here")
    return True


def _trace_seeds() -> list[bytes]:
    asked = {
        "principal": 'Agent::"b"',
        "action": 'Action::"deploy"',
        "resource": 'Service::"p"',
        "context": {"env": "prod"},
    }
    lines = [asked | {"expect": "allow"}, asked | {"expect": "deny", "reason": "policy_denied"}, asked]
    return [b"\n".join(json.dumps(line).encode() for line in lines), json.dumps(lines).encode()]


TARGETS = (
    Target("trace", "request traces of check --batch", _trace, _trace_seeds, "lines", ("govraft.cli.expectations",)),
    Target(
        "submit-file",
        "files of submit",
        _envelopes,
        lambda: [world().envelopes[4], b"\n".join(world().envelopes[4:6])],
        "lines",
        ("govraft.cli.submit",),
    ),
    Target(
        "process-record",
        "records of running nodes",
        _process,
        lambda: [b'{"pid":4194000,"started":1,"boot":"00000000-0000-0000-0000-000000000000"}'],
        "json",
        ("govraft.cli.processes",),
    ),
)
