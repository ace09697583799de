"""Quorum certificates against C2SP: a verifier written from the specifications alone, and signatures of others.

The verifier uses the standard library and an Ed25519 verifier; nothing of govraft. It reads what a simulated cluster
certified, and a checkpoint that public witnesses cosigned; govraft's own reader must agree with it on both.

Source: https://c2sp.org/signed-note, https://c2sp.org/tlog-checkpoint, https://c2sp.org/tlog-cosignature. The checkpoint
is of a public Certificate Transparency log (arche2025h1, staging), with the published verifier keys of its witnesses.
"""

from __future__ import annotations

import base64
import hashlib
import re
import struct
from dataclasses import dataclass

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sim_cluster import SimCluster

from govraft.core.codec.note import cosignature_key_id, cosigned_message, parse_note
from govraft.core.convergence.certificate import verify_certificate
from govraft.core.crypto.keys import verify
from govraft.core.model.electorate import Electorate, Member, QuorumRule
from govraft.errors import CertificateError

WITNESSED = """\
arche2025h1.staging.ct.transparency.dev
1432088532
U7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=

— arche2025h1.staging.ct.transparency.dev zTM8sQAAAZ5W0WdjBAMARjBEAiBjW5IQf9pvsYLfQFX6hoGREPMHbdQ3urbllzalApkptQIgIpwtEroeW2BXaHAI4kJXFbon5Ch9MNL5zRNZ55lvGt0=
— arche2025h1.staging.ct.transparency.dev ui8GwCF1+kWqZrxGdhj4aX3gcw7XUlXQQabg/27lefwhUkzbC3NygNI75MdhL1bfTW9g8Ei59RA23oHP7Ry1k3ZFWwQ=
— transparency.dev/DEV:witness-little-garden 2AQqhwAAAABqEiEgzgFIqqhbUoDwjMWE6UP8nd8/KYTzwZ2rhIgcqoXHAwVkjZr4AscylP3v7sEodkRAErumC2q44vdgJY096st5BQ==
— witness1.smartit.nu/witness1 pIyCDwAAAABqEiEghIp82KWebrw7/oHQwlTAm3g2RKS4+eebl8eO0WH+/iEcxZ75W3u5hNI7TOQtmJbqmNWVuE0tgh0XwzdZsDsUAQ==
— remora.n621.de 2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/KSiXCg9DEZI+aVCIobWX9sXTynk5XeU/zZ0WBxtqB0DrAWfBw==
— witness.stagemole.eu Z/euoAAAAABqEiEgw0i+7g2ENfDAWHmtRzCfKTHSDwYDJA2NmKeGi9Y8FtEyOUvVr+AJmIY/2TUFucgKi7lI7cUiOvKFYe/TmN9DAg==
"""
WITNESSES = [
    "transparency.dev/DEV:witness-little-garden+d8042a87+BCtusOxINQNUTN5Oj8HObRkh2yHf/MwYaGX4CPdiVEPM",
    "witness1.smartit.nu/witness1+a48c820f+BPSFWg9G6KPiO7QPryYO5Xq4oYJJ+kAvLKLSimDhoxMO",
    "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2",
    "witness.stagemole.eu+67f7aea0+BEqSG3yu9YrmcM3BHvQYTxwFj3uSWakQepafafpUqklv",
]


# A second reader, from the specifications.


class Unproven(Exception):
    """The note does not prove what it should."""


@dataclass
class Line:
    name: str
    key_id: bytes
    signature: bytes


def open_note(note: bytes) -> tuple[bytes, list[Line]]:
    """signed-note: text ending in a newline, an empty line, signature lines; no control characters."""
    text = note.decode("utf-8")
    if re.search(r"[\x00-\x09\x0b-\x1f]", text):
        raise Unproven("control character")
    head, blank, tail = text.rpartition("\n\n")
    if not blank or not tail.endswith("\n"):
        raise Unproven("shape")
    lines = []
    for row in tail[:-1].split("\n"):
        found = re.fullmatch("— ([^\\s+]+) ([A-Za-z0-9+/]+={0,2})", row)
        if found is None:
            raise Unproven("signature line")
        blob = base64.b64decode(found[2], validate=True)
        lines.append(Line(found[1], blob[:4], blob[4:]))
    return (head + "\n").encode(), lines


def read_checkpoint(body: bytes) -> tuple[str, int, bytes]:
    """tlog-checkpoint: origin, decimal size without leading zeroes, base64 root."""
    origin, size, root, *rest = body.decode().split("\n")
    if not origin or not re.fullmatch("0|[1-9][0-9]*", size) or rest != [""]:
        raise Unproven("checkpoint")
    return origin, int(size), base64.b64decode(root, validate=True)


def derived_key_id(name: str, public_key: bytes) -> bytes:
    """tlog-cosignature: SHA-256(name ‖ newline ‖ 0x04 ‖ key)[:4]."""
    return hashlib.sha256(name.encode() + b"\x0a\x04" + public_key).digest()[:4]


def cosigners(note: bytes, known: dict[str, bytes]) -> set[str]:
    """The known names whose cosignature/v1 holds. A known key with a signature that does not hold proves nothing."""
    body, lines = open_note(note)
    proven = set()
    for line in lines:
        key = known.get(line.name)
        if key is None or derived_key_id(line.name, key) != line.key_id:
            continue
        (timestamp,) = struct.unpack(">Q", line.signature[:8])
        message = b"cosignature/v1\ntime " + str(timestamp).encode() + b"\n" + body
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(line.signature[8:], message)
        except InvalidSignature:
            raise Unproven(line.name) from None
        proven.add(line.name)
    return proven


def vkey(text: str) -> tuple[str, bytes, bytes]:
    """signed-note, verifier keys: name, key id, 0x04 ‖ Ed25519 key."""
    name, key_id, material = text.split("+", 2)
    blob = base64.b64decode(material)
    assert blob[0] == 4
    return name, bytes.fromhex(key_id), blob[1:]


PUBLIC = {name: key for name, _, key in map(vkey, WITNESSES)}


# What others signed.


@pytest.mark.parametrize("text", WITNESSES, ids=lambda text: text.split("+")[0])
def test_key_ids_are_those_that_witnesses_publish(text):
    name, key_id, key = vkey(text)
    assert cosignature_key_id(name, key) == derived_key_id(name, key) == key_id


def test_cosignatures_of_public_witnesses_hold():
    assert cosigners(WITNESSED.encode(), PUBLIC) == set(PUBLIC)
    note = parse_note(WITNESSED.encode())
    held = {
        item.name
        for item in note.signatures
        if item.name in PUBLIC and verify(PUBLIC[item.name], item.signature, cosigned_message(note.body, item.time_s))
    }
    assert held == set(PUBLIC)
    assert {item.time_s for item in note.signatures} == {0x6A122120}
    assert [name for name, _ in note.others] == ["arche2025h1.staging.ct.transparency.dev"] * 2, (
        "the log's own signatures"
    )
    assert read_checkpoint(note.body)[:2] == ("arche2025h1.staging.ct.transparency.dev", 1432088532)


def test_a_quorum_of_public_witnesses_is_a_quorum_here():
    """As if the witnesses were the nodes of a cluster whose origin is a prefix of their names."""
    name, _, key = vkey(WITNESSES[1])
    origin, node = name.split("/")
    electorate = Electorate(1, QuorumRule.MAJORITY, (Member(node, key, b"", True, ""),))
    with pytest.raises(CertificateError, match=f"certificate is of .*not of `{origin}`"):
        verify_certificate(WITNESSED.encode(), electorate, origin, is_valid=verify)
    renamed = WITNESSED.replace("arche2025h1.staging.ct.transparency.dev\n", f"{origin}\n", 1).encode()
    with pytest.raises(CertificateError, match="invalid cosignature of `witness1`"):
        verify_certificate(renamed, electorate, origin, is_valid=verify)


# What a cluster signed.


@pytest.fixture(
    scope="module", params=[(3, QuorumRule.MAJORITY, 2), (4, QuorumRule.BYZANTINE, 3)], ids=["majority", "byzantine"]
)
def certified(request):
    nodes, rule, quorum = request.param
    sim = SimCluster(nodes, quorum=rule)
    sim.run_until(sim.all_serving)
    answers = sim.submit("node-1", sim.quarantine("c"))
    sim.run_until(lambda: answers)
    return sim, answers[0], quorum


def members(sim: SimCluster) -> dict[str, bytes]:
    """All that a verifier needs: the genesis."""
    origin = f"govraft.dev/{sim.genesis.cluster_id}"
    return {f"{origin}/{member.id}": member.public_key for member in sim.genesis.members}


def test_a_stock_verifier_reads_a_quorum_certificate(certified):
    sim, receipt, quorum = certified
    known = members(sim)
    assert len(cosigners(receipt["certificate"], known)) >= quorum
    origin, size, root = read_checkpoint(open_note(receipt["certificate"])[0])
    assert origin == f"govraft.dev/{sim.genesis.cluster_id}"
    assert size == receipt["certified_seq"]
    assert root == rfc6962_root([sim.nodes["node-1"].core.machine.leaf_bytes(seq) for seq in range(1, size + 1)])


def rfc6962_root(leaves: list[bytes]) -> bytes:
    """RFC 6962, 2.1, word for word."""
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + rfc6962_root(leaves[:split]) + rfc6962_root(leaves[split:])).digest()


def test_lines_of_strangers_disturb_neither_reader(certified):
    sim, receipt, _ = certified
    more = receipt["certificate"] + "".join(line + "\n" for line in WITNESSED.splitlines()[4:]).encode()
    assert cosigners(more, members(sim)) == cosigners(receipt["certificate"], members(sim))
    checkpoint = verify_certificate(more, sim.genesis.electorate(), sim.genesis.origin, is_valid=verify)
    assert checkpoint.seq == receipt["certified_seq"]


def test_both_readers_refuse_what_was_changed(certified):
    sim, receipt, quorum = certified
    note, known = receipt["certificate"], members(sim)
    rows = note.decode().split("\n")
    other_root = base64.b64encode(bytes(32)).decode()
    changed = [
        note.replace(rows[2].encode(), other_root.encode()),
        note.replace(b"\n%s\n" % rows[1].encode(), b"\n99\n"),
        note.replace(rows[0].encode(), b"govraft.dev/other", 1),
    ]
    for place in range(4, 4 + quorum):
        name, blob = rows[place].removeprefix("— ").split(" ")
        raw = bytearray(base64.b64decode(blob))
        raw[11] ^= 1
        changed.append(note.replace(rows[place].encode(), f"— {name} {base64.b64encode(raw).decode()}".encode()))
    for text in changed:
        assert text != note
        with pytest.raises(Unproven):
            cosigners(text, known)
        with pytest.raises(CertificateError):
            verify_certificate(text, sim.genesis.electorate(), sim.genesis.origin, is_valid=verify)


def test_every_node_holds_the_same_certified_state(certified):
    sim, receipt, quorum = certified
    sim.step(300)
    for node in sim.nodes.values():
        convergence = node.core.convergence
        assert convergence.certified_seq == receipt["certified_seq"]
        assert len(cosigners(convergence.certified_note, members(sim))) >= quorum
