"""In-toto statements: what a supply chain says about artefacts, as the payload of a DSSE envelope.

Stricter than the Statement v1, because what is recorded has to mean the same to everybody who reads the bytes: no
unknown field, no key twice, a SHA-256 for each subject, and a predicate inside the canonical data model (so no
floating-point numbers: write them as text). White space and the order of keys are free, as other tools write them.

Source: https://github.com/in-toto/attestation, spec/v1/statement.md and resource_descriptor.md.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from govraft.core.codec.canonical import pack_json
from govraft.core.model.ids import HEX_DIGEST_PATTERN
from govraft.core.model.limits import ATTESTATION_SUBJECTS, CANONICAL_DEPTH, NAME_CHARS
from govraft.errors import DecodeError, InputError, LimitExceededError

__all__ = [
    "STATEMENT_TYPE",
    "STATEMENT_URI",
    "Statement",
    "check_predicate_type",
    "decode_statement",
    "encode_statement",
]

STATEMENT_TYPE = "application/vnd.in-toto+json"
"""DSSE payload type."""
STATEMENT_URI = "https://in-toto.io/Statement/v1"

_FIELDS = frozenset({"_type", "subject", "predicateType", "predicate"})
_SUBJECT_FIELDS = frozenset({"name", "uri", "digest", "content", "downloadLocation", "mediaType", "annotations"})
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+")
# A text without an end reaches to the end: looked for from each of its quotes again, it would cost its length squared.
_TEXT = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_BRACKET = re.compile(rb"[\[{\]}]")
_SHA256 = re.compile(HEX_DIGEST_PATTERN)


class Statement(msgspec.Struct, frozen=True):
    """What a statement comes to.

    Attributes:
        predicate_type: URI.
        subjects: SHA-256 digests of the subjects, in hexadecimal: sorted, distinct, at least one.
        predicate: SHA-256 of the predicate in canonical JSON, in hexadecimal.
    """

    predicate_type: str
    subjects: tuple[str, ...]
    predicate: str


def encode_statement(predicate_type: str, subjects: Mapping[str, str], predicate: Mapping[str, Any]) -> bytes:
    """The payload of a statement, in canonical JSON.

    Args:
        predicate_type: URI.
        subjects: SHA-256 digest in hexadecimal by the subject's name.
        predicate: Free, within the canonical data model.

    Raises:
        InputError: `decode_statement` would refuse it.
    """
    subject = [{"name": name, "digest": {"sha256": subjects[name]}} for name in sorted(subjects)]
    fields = {"_type": STATEMENT_URI, "subject": subject, "predicateType": predicate_type, "predicate": dict(predicate)}
    payload = pack_json(fields)
    decode_statement(payload)
    return payload


def decode_statement(payload: bytes) -> Statement:
    """Read a statement.

    Raises:
        LimitExceededError: Over `ATTESTATION_SUBJECTS`.
        DecodeError: Not a statement, or not one that means the same to everybody.
    """
    _check_depth(payload)
    try:
        fields = _DECODER.decode(payload.decode("utf-8"))
        # What has a canonical form holds no number or text that readers of JSON differ on: no 0.5, no NaN, no 2^64.
        pack_json(fields)
    except (ValueError, InputError) as error:
        raise DecodeError(f"statement is not json that everybody reads alike: {error}") from error
    if not isinstance(fields, dict) or fields.keys() != _FIELDS:
        raise DecodeError("statement must be a json object of exactly `_type`, `subject`, `predicateType`, `predicate`")
    if fields["_type"] != STATEMENT_URI:
        raise DecodeError(f"statement: `_type` must be `{STATEMENT_URI}`")
    if not isinstance(fields["predicate"], dict):
        raise DecodeError("statement: `predicate` must be a json object")
    return Statement(
        check_predicate_type(fields["predicateType"]),
        _subjects(fields["subject"]),
        hashlib.sha256(pack_json(fields["predicate"])).hexdigest(),
    )


def check_predicate_type(value: object) -> str:
    """The value, if it is a URI that can name a type of predicate. Raises `DecodeError`."""
    if not isinstance(value, str) or len(value) > NAME_CHARS or _URI.fullmatch(value) is None:
        raise DecodeError(f"a predicate type must be a uri of at most {NAME_CHARS} printable ascii characters")
    return value


def _check_depth(payload: bytes) -> None:
    depth = 0
    for bracket in _BRACKET.findall(_TEXT.sub(b"", payload)):
        depth += 1 if bracket in b"[{" else -1
        # SAFETY: measured before it is read, so that running out of stack is never taken for a bad statement
        # (test_in_toto.py::test_nesting_is_measured_before_it_is_read).
        if depth > CANONICAL_DEPTH:
            raise DecodeError(f"statement is nested deeper than {CANONICAL_DEPTH} levels")


def _subjects(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise DecodeError("statement: `subject` must be a list of at least one")
    if len(value) > ATTESTATION_SUBJECTS:
        raise LimitExceededError(f"statement has {len(value)} subjects, the limit is {ATTESTATION_SUBJECTS}")
    return tuple(sorted({_sha256(item) for item in value}))


def _sha256(item: object) -> str:
    if not isinstance(item, dict) or not _SUBJECT_FIELDS.issuperset(item):
        raise DecodeError(f"statement: a subject is a json object with fields of {', '.join(sorted(_SUBJECT_FIELDS))}")
    if not isinstance(item.get("name", ""), str):
        raise DecodeError("statement: the `name` of a subject must be text")
    digests = item.get("digest")
    found = digests.get("sha256") if isinstance(digests, dict) else None
    if not isinstance(found, str) or _SHA256.fullmatch(found) is None:
        raise DecodeError("statement: each subject needs a `digest` with `sha256`, 64 lower-case hexadecimal digits")
    return found


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("one key appears twice")
    return fields


_DECODER = json.JSONDecoder(object_pairs_hook=_distinct)
