"""In-toto statements: one vector byte for byte, and what is measured before it is read. The table of refusals is in
test_attestations.py, where each has its outcome."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from govraft.core.codec.envelope import pae
from govraft.core.codec.in_toto import (
    STATEMENT_TYPE,
    Statement,
    check_predicate_type,
    decode_statement,
    encode_statement,
)
from govraft.errors import DecodeError, InputError
from govraft.testing.sample import SampleCluster

ARTEFACT = "a" * 64
PAYLOAD = (
    b'{"_type":"https://in-toto.io/Statement/v1","predicate":{"clean":true},'
    b'"predicateType":"https://example.com/scan/v1",'
    b'"subject":[{"digest":{"sha256":"' + b"a" * 64 + b'"},"name":"app"},'
    b'{"digest":{"sha256":"' + b"b" * 64 + b'"},"name":"lib"}]}'
)
SIGNATURE = (
    "230587676a19fcec98774922813bec1f19424ea63ba3ae2c5ed7faa956d620f9"
    "dca6886fae57a50ccb816c740680b8a568e2a9441a893718b94398226a941301"
)


def make(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "predicate_type": "https://example.com/scan/v1",
        "subjects": {"lib": "b" * 64, "app": ARTEFACT},
        "predicate": {"clean": True},
    }
    return encode_statement(**{**fields, **changes})


@pytest.mark.clause("5 attestation systems")
def test_the_vector() -> None:
    assert make() == PAYLOAD
    assert decode_statement(PAYLOAD) == Statement(
        "https://example.com/scan/v1",
        ("a" * 64, "b" * 64),
        "8a61e123365c6eef89e583af56d2c91f8a6e7b16a82f4935fd29730783274b45",
    )
    # What is signed is DSSE's encoding of type and payload.
    assert pae(STATEMENT_TYPE, PAYLOAD).startswith(b"DSSEv1 28 application/vnd.in-toto+json 332 {")
    key = SampleCluster().authority_keys["olga"]
    assert key.sign(pae(STATEMENT_TYPE, PAYLOAD)).hex() == SIGNATURE


def test_other_spellings_mean_the_same() -> None:
    spread = PAYLOAD.replace(b",", b" ,\n").replace(b'"clean"', b'"\\u0063lean"')
    assert decode_statement(spread) == decode_statement(PAYLOAD)


@pytest.mark.parametrize(
    "changes",
    [
        {"subjects": {}},
        {"subjects": {"app": "A" * 64}},
        {"subjects": {str(number): ARTEFACT for number in range(65)}},
        {"predicate_type": "scan"},
        {"predicate": {"score": 0.5}},
    ],
)
def test_what_would_be_refused_is_not_made(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        make(**changes)


def test_nesting_is_measured_before_it_is_read() -> None:
    """A bad statement is that on each node, however much stack the node has left."""

    def nested(levels: int) -> bytes:
        return PAYLOAD.replace(b'"clean":true', b'"deep":' + b"[" * levels + b"]" * levels)

    assert decode_statement(nested(62))
    with pytest.raises(DecodeError, match="deeper than 64 levels"):
        decode_statement(nested(63))
    # Brackets in text nest nothing.
    assert decode_statement(PAYLOAD.replace(b'"clean"', b'"\\"' + b"[" * 100 + b'"'))

    def with_little_stack(frames: int) -> None:
        if frames:
            with_little_stack(frames - 1)
        else:
            decode_statement(b"[" * 10_000)

    with pytest.raises(DecodeError, match="deeper than 64 levels"):
        with_little_stack(sys.getrecursionlimit() - 400)


@pytest.mark.parametrize("value", ["x:y", "https://spdx.dev/Document/v2.3", "urn:a+b"])
def test_predicate_types(value: str) -> None:
    assert check_predicate_type(value) == value


@pytest.mark.parametrize("value", ["", "x", ":y", "1:y", "x:", "x:a b", "x:é", None, 7])
def test_what_is_no_predicate_type(value: object) -> None:
    with pytest.raises(DecodeError, match="must be a uri"):
        check_predicate_type(value)
