"""Commands: closed, typed, canonical."""

from __future__ import annotations

import json
from typing import Any

import pytest

from govraft.core.codec.canonical import NOT_CANONICAL, pack_json
from govraft.core.model.authority import Role
from govraft.core.model.commands import (
    COMMANDS,
    Command,
    EntityDelete,
    EntityFields,
    EntityPatch,
    EntityPut,
    PolicyActivate,
    PolicyPublish,
    Quarantine,
    Release,
    Revoke,
    TargetKind,
    command_name,
    decode_command,
    encode_command,
    payload_type,
    required_role,
)
from govraft.core.model.limits import COMMAND_ID_CHARS
from govraft.errors import DecodeError

HEADER: dict[str, Any] = {"cluster": "c", "command_id": "id", "not_after": 1}
TARGET: dict[str, Any] = {"kind": TargetKind.SUBJECT, "id": 'A::"1"', "reason": "why"}

SAMPLES: list[Command] = [
    PolicyPublish(**HEADER, version=1, expected="", schema="s", policies=("p",), removed=("0" * 64,)),
    PolicyActivate(**HEADER, version=1, digest="a" * 64),
    EntityPut(**HEADER, entities=(EntityFields('A::"1"', {"x": [1, True, {"y": "z"}]}, ('A::"2"',)),)),
    EntityPatch(**HEADER, uid='A::"1"', set={"a": 1}, unset=("b",), add_parents=(), remove_parents=()),
    EntityDelete(**HEADER, uids=('A::"1"',)),
    Quarantine(**HEADER, **TARGET),
    Release(**HEADER, **TARGET),
    Revoke(**HEADER, **TARGET),
]


@pytest.mark.parametrize("command", SAMPLES, ids=lambda command: type(command).__name__)
def test_round_trip(command: Command) -> None:
    kind = payload_type(command)
    name = command_name(kind)
    assert name is not None
    assert kind == f"application/vnd.govraft.{name}.v1+json"
    assert decode_command(name, encode_command(command)) == command
    assert required_role(command) is (Role.POLICY if name.startswith("policy.") else Role.OPERATOR)


def test_the_samples_cover_every_command() -> None:
    assert {type(command) for command in SAMPLES} == {kind for kind, _ in COMMANDS.values()}


@pytest.mark.parametrize("command", SAMPLES, ids=lambda command: type(command).__name__)
def test_missing_unknown_and_wrongly_typed_fields_are_refused(command: Command) -> None:
    name = command_name(payload_type(command))
    assert name is not None
    fields = json.loads(encode_command(command))
    decode_command(name, pack_json(fields))
    mutants = [{**fields, "unknown": 1}]
    for field, value in fields.items():
        mutants.append({key: fields[key] for key in fields if key != field})
        wrong: list[object] = [7, "seven", None, [7], {"seven": 7}, True]
        mutants += [{**fields, field: other} for other in wrong if type(other) is not type(value)]
    for mutant in mutants:
        if mutant.get("schema", 0) is None:
            continue  # The one field that may be null.
        with pytest.raises(DecodeError) as caught:
            decode_command(name, pack_json(mutant))
        assert caught.value.code != NOT_CANONICAL


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("revoke", {"command_id": ""}),
        ("revoke", {"command_id": "a b"}),
        ("revoke", {"command_id": "é"}),
        ("revoke", {"command_id": "a\n"}),
        ("revoke", {"command_id": "x" * (COMMAND_ID_CHARS + 1)}),
        ("revoke", {"not_after": 0}),
        ("revoke", {"not_after": 2**60}),
        ("revoke", {"reason": ""}),
        ("revoke", {"kind": "planet"}),
        ("policy.activate", {"version": 0}),
        ("policy.activate", {"digest": "A" * 64}),
        ("policy.activate", {"digest": ""}),
        ("policy.publish", {"expected": "0"}),
        ("policy.publish", {"expected": "0" * 64 + "\n"}),
        ("policy.publish", {"removed": ["x"]}),
        ("entity.put", {"entities": []}),
        ("entity.delete", {"uids": []}),
    ],
)
def test_unusable_values_are_refused(name: str, changes: dict[str, object]) -> None:
    sample = next(command for command in SAMPLES if command_name(payload_type(command)) == name)
    fields = json.loads(encode_command(sample))
    with pytest.raises(DecodeError):
        decode_command(name, pack_json({**fields, **changes}))


def test_unknown_payload_types_name_nothing() -> None:
    for text in ("", "application/json", "application/vnd.govraft.revoke.v2+json", "application/vnd.govraft.x.v1+json"):
        assert command_name(text) is None


def test_only_the_canonical_spelling_is_read() -> None:
    spaced = json.dumps(json.loads(encode_command(SAMPLES[-1]))).encode()
    with pytest.raises(DecodeError) as caught:
        decode_command("revoke", spaced)
    assert caught.value.code == NOT_CANONICAL
