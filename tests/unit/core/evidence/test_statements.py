"""What nodes sign about requests, and what cannot be said in it."""

from __future__ import annotations

import json

import msgspec
import pytest

from govraft.core.evidence.statements import DenialStatement, PermitStatement, context_digest, request_digest
from govraft.core.model.limits import PERMIT_LEAST_MS, PERMIT_MS
from govraft.core.model.request import Request
from govraft.errors import DecodeError, InputError
from govraft.testing.evidence_sample import EvidenceSample
from govraft.testing.sample import CREATED


@pytest.fixture(scope="module")
def world() -> EvidenceSample:
    return EvidenceSample()


def altered(statement: PermitStatement | DenialStatement, **changes) -> bytes:
    fields = json.loads(statement.encode()) | changes
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def test_statements_read_back(world) -> None:
    for statement in (world.permit_statement(), world.permit_statement(audience="é", single_use=True)):
        assert PermitStatement.decode(statement.encode()) == statement
    assert DenialStatement.decode(world.denial_statement().encode()) == world.denial_statement()


def test_an_id_belongs_to_its_fields(world) -> None:
    statement = world.permit_statement()
    changes = {"seq": 5, "issued": CREATED, "audience": "x", "single_use": True, "policies": [], "decision": "d"}
    for name, value in changes.items():
        with pytest.raises(DecodeError, match="id"):
            PermitStatement.decode(altered(statement, **{name: value}))
    ids = {world.permit_statement(decision=f"d{number}").permit for number in range(100)}
    assert len(ids) == 100


@pytest.mark.parametrize(
    "changes",
    [
        {"not_after": CREATED + 100_000 + PERMIT_LEAST_MS - 1},
        {"not_after": CREATED + 100_000 + PERMIT_MS + 1},
        {"not_after": CREATED},
        {"policies": ("b" * 64, "a" * 64)},
        {"policies": ("a" * 64, "a" * 64)},
        {"principal": 'Agent::"\\x61"'},
        {"principal": "nobody"},
        {"action": ""},
    ],
)
def test_what_a_permit_cannot_say(world, changes: dict) -> None:
    with pytest.raises(DecodeError):
        PermitStatement.decode(world.permit_statement(**changes).encode())


@pytest.mark.parametrize("field", PermitStatement.__struct_fields__)
def test_every_field_of_a_permit_is_needed_and_typed(world, field: str) -> None:
    statement = world.permit_statement()
    fields = json.loads(statement.encode())
    del fields[field]
    with pytest.raises(DecodeError):
        PermitStatement.decode(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode())
    for value in (1.5, -1, {}, "", 2**63):
        with pytest.raises(InputError):
            PermitStatement.decode(altered(statement, **{field: value}))


def test_more_fields_and_other_layouts_are_refused(world) -> None:
    statement = world.permit_statement()
    with pytest.raises(DecodeError):
        PermitStatement.decode(altered(statement, more=1))
    with pytest.raises(DecodeError):
        PermitStatement.decode(statement.encode().replace(b":", b": ", 1))


def test_one_request_has_one_digest() -> None:
    request = Request('A::"a"', 'Action::"b"', 'C::"c"', {"x": 1, "y": [True, None, "é"]})
    same = Request('A::"\\x61"', 'Action::"b"', 'C::"c"', {"y": [True, None, "é"], "x": 1})
    assert request_digest(request) == request_digest(same)
    others = [
        msgspec.structs.replace(request, principal='A::"b"'),
        msgspec.structs.replace(request, principal='C::"c"', resource='A::"a"'),
        msgspec.structs.replace(request, context={"x": 1}),
        msgspec.structs.replace(request, context={"x": True, "y": [True, None, "é"]}),
    ]
    assert len({request_digest(item) for item in (request, *others)}) == 5
    assert context_digest({}) != context_digest({"x": None})


@pytest.mark.parametrize("context", [{"x": 1.5}, {"x": b"y"}, {"x": 2**64}, {1: 2}])
def test_what_cannot_be_named_has_no_digest(context: dict) -> None:
    with pytest.raises(InputError):
        request_digest(Request('A::"a"', 'Action::"b"', 'C::"c"', context))
