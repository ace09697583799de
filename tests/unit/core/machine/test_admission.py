"""Who may command: one row for every way to be refused, and the order in which they are found."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from govraft.core.codec.canonical import pack_json
from govraft.core.codec.envelope import pae, seal
from govraft.core.machine.entry import encode_entry
from govraft.core.machine.machine import Machine
from govraft.core.model import limits
from govraft.core.model.commands import PolicyActivate, Revoke, TargetKind, encode_command, payload_type
from govraft.core.model.outcome import Rejection
from govraft.testing.sample import CREATED, SampleCluster, seeded_key

KIND = "application/vnd.govraft.revoke.v1+json"


def revoke(bench: Any, **fields: object) -> Revoke:
    defaults: dict[str, Any] = {"kind": TargetKind.SUBJECT, "id": 'Agent::"a"', "reason": "test"}
    command: Revoke = bench.command(Revoke, **{**defaults, **fields})
    return command


def edit(envelope: bytes, **changes: object) -> bytes:
    return json.dumps({**json.loads(envelope), **changes}).encode()


def spoil(envelope: bytes, place: int = 0) -> bytes:
    """Turn one bit of one signature."""
    fields = json.loads(envelope)
    signature = bytearray(base64.b64decode(fields["signatures"][place]["sig"]))
    signature[0] ^= 1
    fields["signatures"][place]["sig"] = base64.b64encode(signature).decode()
    return json.dumps(fields).encode()


ROWS: dict[str, tuple[Any, Rejection | None]] = {
    "good": (lambda b: b.cluster.sign(revoke(b), "olga"), None),
    "good, both operators": (lambda b: b.cluster.sign(revoke(b), "olga", "oscar"), None),
    "good, with others": (lambda b: b.cluster.sign(revoke(b), "pat", "olga"), None),
    "good, spaced json": (lambda b: json.dumps(json.loads(b.cluster.sign(revoke(b), "olga")), indent=1).encode(), None),
    "empty": (lambda _: b"", Rejection.ENVELOPE_MALFORMED),
    "too large": (lambda _: b" " * (limits.ENVELOPE_BYTES + 1), Rejection.ENVELOPE_TOO_LARGE),
    "deep": (lambda _: b"[" * 60_000, Rejection.ENVELOPE_MALFORMED),
    "too many signatures": (
        lambda b: edit(b.cluster.sign(revoke(b), "olga"), signatures=[{"keyid": str(n), "sig": ""} for n in range(65)]),
        Rejection.LIMIT_EXCEEDED,
    ),
    "unknown type": (lambda b: b.cluster.sign_payload("text/plain", b"x", ["olga"]), Rejection.PAYLOAD_TYPE_UNKNOWN),
    "unsigned": (lambda b: b.cluster.sign(revoke(b)), Rejection.ENVELOPE_UNSIGNED),
    "type swapped after signing": (
        lambda b: edit(b.cluster.sign(revoke(b), "olga"), payloadType=KIND.replace("revoke", "release")),
        Rejection.SIGNATURE_INVALID,
    ),
    "payload swapped after signing": (
        lambda b: edit(b.cluster.sign(revoke(b), "olga"), payload=base64.b64encode(encode_command(revoke(b))).decode()),
        Rejection.SIGNATURE_INVALID,
    ),
    "forged": (lambda b: spoil(b.cluster.sign(revoke(b), "olga")), Rejection.SIGNATURE_INVALID),
    "one good, one forged": (
        lambda b: spoil(b.cluster.sign(revoke(b), "olga", "oscar"), 1),
        Rejection.SIGNATURE_INVALID,
    ),
    "forged without the role": (
        lambda b: spoil(b.cluster.sign(revoke(b), "olga", "pat"), 1),
        Rejection.SIGNATURE_INVALID,
    ),
    "one key twice": (lambda b: b.cluster.sign(revoke(b), "olga", "olga"), Rejection.KEY_DUPLICATE),
    "one key twice, once forged": (
        lambda b: spoil(b.cluster.sign(revoke(b), "olga", "olga"), 1),
        Rejection.KEY_DUPLICATE,
    ),
    "unknown key": (
        lambda b: seal(
            KIND,
            encode_command(command := revoke(b)),
            [
                (
                    seeded_key("mallory").public_key().public_bytes_raw(),
                    seeded_key("mallory").sign(pae(KIND, encode_command(command))),
                )
            ],
        ),
        Rejection.THRESHOLD_UNMET,
    ),
    "node key": (
        lambda b: seal(
            KIND,
            encode_command(command := revoke(b)),
            [
                (
                    b.cluster.node_keys["n1"].public_key().public_bytes_raw(),
                    b.cluster.node_keys["n1"].sign(pae(KIND, encode_command(command))),
                )
            ],
        ),
        Rejection.THRESHOLD_UNMET,
    ),
    "role missing": (lambda b: b.cluster.sign(revoke(b), "pat", "rita"), Rejection.THRESHOLD_UNMET),
    "payload not canonical": (
        lambda b: b.cluster.sign_payload(KIND, encode_command(revoke(b)) + b" ", ["olga"]),
        Rejection.PAYLOAD_NOT_CANONICAL,
    ),
    "payload not json": (lambda b: b.cluster.sign_payload(KIND, b"\xff", ["olga"]), Rejection.PAYLOAD_MALFORMED),
    "payload of another command": (
        lambda b: b.cluster.sign_payload(
            KIND, encode_command(b.command(PolicyActivate, version=1, digest="0" * 64)), ["olga"]
        ),
        Rejection.PAYLOAD_MALFORMED,
    ),
    "wrong cluster": (lambda b: b.cluster.sign(revoke(b, cluster="0" * 64), "olga"), Rejection.WRONG_CLUSTER),
    "expired": (lambda b: b.cluster.sign(revoke(b, not_after=b.time), "olga"), Rejection.EXPIRED),
    "last moment": (lambda b: b.cluster.sign(revoke(b, not_after=b.time + 1), "olga"), None),
    "longest validity": (
        lambda b: b.cluster.sign(revoke(b, not_after=b.time + limits.COMMAND_VALIDITY_MS), "olga"),
        None,
    ),
    "validity too long": (
        lambda b: b.cluster.sign(revoke(b, not_after=b.time + limits.COMMAND_VALIDITY_MS + 1), "olga"),
        Rejection.VALIDITY_TOO_LONG,
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_table(bench: Any, name: str) -> None:
    make, rejection = ROWS[name]
    applied = bench.apply_envelope(make(bench))
    assert applied.outcome.code == ("applied" if rejection is None else rejection.value)
    if rejection is not None:
        assert not bench.machine.has_marks
        assert applied.touched == frozenset()
        assert applied.command_id is None
        assert bench.machine.known_command("c1") is None


@pytest.mark.clause("8 deterministic authority resolution")
def test_threshold_counts_role_holders(make_bench: Any) -> None:
    bench = make_bench(operators_needed=2)
    cases = [("olga",), ("olga", "pat"), ("olga", "pat", "paula", "rita", "ruth")]
    for authors in cases:
        assert bench.do(revoke(bench), *authors) == "threshold_unmet"
    assert bench.do(revoke(bench, command_id="c1"), "oscar", "pat", "olga") == "applied"
    assert bench.machine.marks("subject", 'Agent::"a"')["revoked"].authors == ("olga", "oscar")


def test_policy_commands_take_policy_authorities(bench: Any) -> None:
    command = bench.command(PolicyActivate, version=1, digest="0" * 64)
    assert bench.do(command, "olga", "rita") == "threshold_unmet"
    assert bench.do(command, "paula") == "policy_unknown"


@pytest.mark.parametrize(("rules", "most"), [(1, limits.ENVELOPE_BYTES_RULES_1), (2, limits.ENVELOPE_BYTES)])
def test_how_long_an_envelope_may_be_is_a_matter_of_the_rules(rules: int, most: int) -> None:
    cluster = SampleCluster(rules=rules)
    envelope = cluster.sign(Revoke(**cluster.header(), kind=TargetKind.SUBJECT, id='Agent::"a"', reason="r"), "olga")
    for size, code in ((most, "applied"), (most + 1, "envelope_too_large")):
        padded = envelope[:-1] + b" " * (size - len(envelope)) + envelope[-1:]
        machine = Machine(cluster.genesis)
        assert machine.apply(encode_entry(CREATED + 1, padded)).outcome.code == code


def test_the_first_failure_is_the_answer(bench: Any) -> None:
    """Each envelope fails two neighbouring steps; the earlier one is reported."""
    other = revoke(bench, cluster="0" * 64, not_after=1)
    kind = payload_type(other)
    assert bench.apply_envelope(b"x" * (limits.ENVELOPE_BYTES + 1)).outcome.code == "envelope_too_large"
    assert bench.apply_envelope(bench.cluster.sign_payload("x", b"", [])).outcome.code == "payload_type_unknown"
    assert bench.apply_envelope(bench.cluster.sign_payload(kind, b"", [])).outcome.code == "envelope_unsigned"
    twice = bench.cluster.sign_payload(kind, b"", ["olga", "olga"])
    assert bench.apply_envelope(spoil(twice)).outcome.code == "key_duplicate"
    assert (
        bench.apply_envelope(spoil(bench.cluster.sign_payload(kind, b"", ["olga"]))).outcome.code == "signature_invalid"
    )
    assert bench.apply_envelope(bench.cluster.sign_payload(kind, b"", ["pat"])).outcome.code == "payload_malformed"
    assert bench.do(other, "pat") == "wrong_cluster"
    assert bench.do(revoke(bench, not_after=1), "pat") == "expired"
    assert bench.do(revoke(bench), "pat") == "threshold_unmet"


def test_nobody_burns_the_id_of_another(bench: Any) -> None:
    assert bench.do(revoke(bench, command_id="mine"), "pat") == "threshold_unmet"
    assert bench.do(revoke(bench, command_id="mine", cluster="0" * 64), "olga") == "wrong_cluster"
    assert bench.do(revoke(bench, command_id="mine", not_after=1), "olga") == "expired"
    assert bench.do(revoke(bench, command_id="mine"), "olga") == "applied"
    assert bench.do(revoke(bench, command_id="mine"), "olga") == "duplicate_command"


def test_extra_fields_in_a_payload_are_refused(bench: Any) -> None:
    fields = json.loads(encode_command(revoke(bench)))
    envelope = bench.cluster.sign_payload(KIND, pack_json({**fields, "force": True}), ["olga"])
    assert bench.apply_envelope(envelope).outcome.code == "payload_malformed"
