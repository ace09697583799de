"""The golden history, checked twice: by the machine, and by a second implementation written from the documents alone.

The second implementation uses the standard library and an Ed25519 verifier; nothing of govraft's codecs, trees or tries.
"""

from __future__ import annotations

import base64
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from govraft.core.lineage.proofs import verify_consistency, verify_inclusion
from govraft.core.machine.machine import Machine
from govraft.core.model.genesis import Genesis

FILE = Path(__file__).with_name("machine.json")
V: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
LEAVES = [bytes.fromhex(V["genesis_leaf"]), *(bytes.fromhex(step["leaf"]) for step in V["steps"])]


def domain(name: str, data: bytes) -> bytes:
    return sha256(b"govraft/" + name.encode() + b"/v1\x00" + data).digest()


def encode(value: Any) -> bytes:
    """MessagePack, from its specification: shortest forms, keys sorted by UTF-8 bytes."""
    if value is None:
        return b"\xc0"
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        if -32 <= value < 128:
            return value.to_bytes(1, "big", signed=value < 0)
        for code, size in zip(b"\xcc\xcd\xce\xcf" if value > 0 else b"\xd0\xd1\xd2\xd3", (1, 2, 4, 8), strict=True):
            bits = 8 * size - (value < 0)
            if -(2**bits) <= value < 2**bits:
                return bytes([code]) + value.to_bytes(size, "big", signed=value < 0)
    if isinstance(value, bytes):
        return head(len(value), None, 0, (0xC4, 0xC5, 0xC6)) + value
    if isinstance(value, str):
        data = value.encode()
        return head(len(data), 0xA0, 31, (0xD9, 0xDA, 0xDB)) + data
    if isinstance(value, list):
        return head(len(value), 0x90, 15, (None, 0xDC, 0xDD)) + b"".join(map(encode, value))
    assert isinstance(value, dict)
    rows = sorted(value.items(), key=lambda row: row[0].encode())
    return head(len(rows), 0x80, 15, (None, 0xDE, 0xDF)) + b"".join(encode(k) + encode(v) for k, v in rows)


def head(size: int, fix: int | None, fix_max: int, codes: tuple[int | None, int, int]) -> bytes:
    if fix is not None and size <= fix_max:
        return bytes([fix | size])
    for code, width in zip(codes, (1, 2, 4), strict=True):
        if code is not None and size < 256**width:
            return bytes([code]) + size.to_bytes(width, "big")
    raise AssertionError(size)


def merkle(leaves: list[bytes]) -> bytes:
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return sha256(b"\x01" + merkle(leaves[:k]) + merkle(leaves[k:])).digest()


def section_digest(records: dict[str, str]) -> bytes:
    rows = [(sha256(k.encode()).digest(), sha256(bytes.fromhex(v)).digest()) for k, v in records.items()]

    def node(rows: list[tuple[bytes, bytes]], bit: int) -> bytes:
        if len(rows) < 2:
            return sha256(b"\x00" + rows[0][0] + rows[0][1]).digest() if rows else bytes(32)
        sides: tuple[list[tuple[bytes, bytes]], list[tuple[bytes, bytes]]] = ([], [])
        for row in rows:
            sides[int.from_bytes(row[0], "big") >> (255 - bit) & 1].append(row)
        return sha256(b"\x01" + node(sides[0], bit + 1) + node(sides[1], bit + 1)).digest()

    return node(rows, 0)


def entry_parts(entry: bytes) -> tuple[int, bytes] | None:
    """Time and envelope of an entry, by building the entry again from guesses at where they lie."""
    at = entry.find(b"\xa4time\xcf")
    if at < 0:
        return None
    time = int.from_bytes(entry[at + 6 : at + 14], "big")
    for start in (12, 13, 15):
        envelope = entry[start:at]
        if entry == encode({"v": 1, "time": time, "envelope": envelope}):
            return time, envelope
    return None


def signers(envelope: bytes, role: str) -> int:
    """How many distinct keys that hold the role signed; every signature of a known key must verify."""
    fields = json.loads(envelope)
    kind, payload = fields["payloadType"].encode(), base64.b64decode(fields["payload"])
    message = b"DSSEv1 " + str(len(kind)).encode() + b" " + kind + b" " + str(len(payload)).encode() + b" " + payload
    keys = {}
    for authority in json.loads(V["genesis"])["authorities"]:
        raw = base64.b64decode(authority["public_key"])
        keys[sha256(raw).hexdigest()] = (raw, authority["roles"])
    counted = set()
    for part in fields["signatures"]:
        raw, roles = keys[part["keyid"]]
        Ed25519PublicKey.from_public_bytes(raw).verify(base64.b64decode(part["sig"]), message)
        counted |= {raw} if role in roles else set()
    return len(counted)


@pytest.mark.clause("2 reproducible")
def test_the_machine_replays_the_history() -> None:
    machine = Machine(Genesis.decode(V["genesis"].encode()))
    assert machine.cluster_id == V["cluster_id"]
    assert (machine.genesis_leaf.hex(), machine.root.hex()) == (V["genesis_leaf"], V["genesis_root"])
    for step in V["steps"]:
        applied = machine.apply(bytes.fromhex(step["entry"]))
        assert (applied.outcome.code, applied.leaf.hex()) == (step["outcome"], step["leaf"]), step["name"]
        assert machine.root.hex() == step["root"], step["name"]
    for name, records in V["records"].items():
        assert {key: value.hex() for key, value in machine.records(name).items()} == records


@pytest.mark.clause("2 independently verifiable")
@pytest.mark.clause("6 independently reproducible")
def test_the_second_implementation_agrees_on_every_byte() -> None:
    genesis = V["genesis"].encode()
    assert (
        json.dumps(json.loads(genesis), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() == genesis
    )
    assert domain("genesis", genesis).hex() == V["cluster_id"]
    final = {name: section_digest(records) for name, records in V["records"].items()}
    time = json.loads(genesis)["created"]
    for number, step in enumerate([None, *V["steps"]]):
        leaf = LEAVES[number]
        entry_digest, outcome = domain("genesis", genesis), "applied"
        if step is not None:
            entry = bytes.fromhex(step["entry"])
            entry_digest, outcome = domain("entry", entry), step["outcome"]
            assert entry_digest.hex() == step["entry_digest"]
            parts = entry_parts(entry)
            assert (parts is None) == (step["name"] == "not an entry")
            time = time if parts is None else max(time, parts[0])
        sections = {name: take_digest(leaf, name) for name in final}
        state_root = domain("state", encode(sections))
        fields = {"seq": number + 1, "epoch": 1, "time": time, "entry_digest": entry_digest, "outcome": outcome}
        assert leaf == encode({**fields, "sections": sections, "state_root": state_root})
        root = V["genesis_root"] if step is None else step["root"]
        assert merkle(LEAVES[: number + 1]).hex() == root
    assert {name: take_digest(LEAVES[-1], name) for name in final} == final


def take_digest(leaf: bytes, section: str) -> bytes:
    at = leaf.index(encode(section) + b"\xc4\x20") + len(encode(section)) + 2
    return leaf[at : at + 32]


def test_the_second_implementation_agrees_on_who_signed() -> None:
    thresholds = json.loads(V["genesis"])["thresholds"]
    applied = [step for step in V["steps"] if step["outcome"] == "applied"]
    assert len(applied) == 11
    for step in applied:
        parts = entry_parts(bytes.fromhex(step["entry"]))
        assert parts is not None
        fields = json.loads(parts[1])
        role = "policy" if "govraft.policy." in fields["payloadType"] else "operator"
        assert signers(parts[1], role) >= thresholds[role]
        payload = json.loads(base64.b64decode(fields["payload"]))
        assert payload["cluster"] == V["cluster_id"]
        assert payload["not_after"] > parts[0]


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("not an envelope", "envelope_malformed"),
        ("unsigned", "envelope_unsigned"),
        ("forged", "signature_invalid"),
        ("one key twice", "key_duplicate"),
        ("under the threshold", "threshold_unmet"),
        ("another cluster", "wrong_cluster"),
        ("expired", "expired"),
        ("valid for too long", "validity_too_long"),
        ("unknown type", "payload_type_unknown"),
        ("not canonical", "payload_not_canonical"),
        ("not a command", "payload_malformed"),
        ("unknown target", "target_unknown"),
        ("not an entry", "entry_malformed"),
        ("replay", "duplicate_command"),
    ],
)
def test_negative_vectors(name: str, outcome: str) -> None:
    (step,) = (step for step in V["steps"] if step["name"] == name)
    assert step["outcome"] == outcome


def test_proofs() -> None:
    size, root = len(LEAVES), merkle(LEAVES)
    for index, proof in V["inclusion"].items():
        verify_inclusion(LEAVES[int(index)], int(index), size, [bytes.fromhex(node) for node in proof], root)
    for old, proof in V["consistency"].items():
        verify_consistency(int(old), merkle(LEAVES[: int(old)]), size, root, [bytes.fromhex(node) for node in proof])


def test_sections_without_records_are_zero() -> None:
    for name in ("attestations", "grants", "boundaries", "proposals", "domains"):
        assert take_digest(LEAVES[-1], name) == bytes(32)
