"""Envelopes that must not work: refused by the node that receives them, and rejected by every machine if a faulty
leader puts them into the log all the same."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from integration.cluster_harness import Cluster, eventually

from govraft.core.codec.canonical import pack_json
from govraft.core.codec.envelope import pae, seal
from govraft.core.crypto.keys import key_id
from govraft.core.model.commands import PolicyActivate, Quarantine, TargetKind, encode_command, payload_type
from govraft.errors import RejectedError

pytestmark = pytest.mark.cluster

FAULTY = "node-1"
DAY_MS = 24 * 3600 * 1000


def command(cluster: Cluster, /, **fields: object) -> Quarantine:
    return Quarantine(kind=TargetKind.SUBJECT, id='Agent::"hostile"', reason="hostile", **cluster.header(**fields))


def activation(cluster: Cluster) -> PolicyActivate:
    return PolicyActivate(version=7, digest="00" * 32, **cluster.header())


def sealed(cluster: Cluster, item: Quarantine, signer: Ed25519PrivateKey | None = None, claimed: str = "") -> bytes:
    """An envelope signed by a stranger, who may claim to be somebody else."""
    key = signer or Ed25519PrivateKey.generate()
    kind, payload = payload_type(item), encode_command(item)
    envelope = json.loads(seal(kind, payload, [(key.public_key().public_bytes_raw(), key.sign(pae(kind, payload)))]))
    if claimed:
        envelope["signatures"][0]["keyid"] = key_id(cluster.keys[claimed].public_key().public_bytes_raw())
    return pack_json(envelope)


def altered(cluster: Cluster) -> bytes:
    """Another payload under a signature that was valid."""
    envelope = json.loads(cluster.quarantine("hostile"))
    payload = base64.b64decode(envelope["payload"]).replace(b"hostile", b"h0stile")
    return pack_json(envelope | {"payload": base64.b64encode(payload).decode()})


def with_payload(cluster: Cluster, payload: bytes, kind: str = "application/vnd.govraft.quarantine.v1+json") -> bytes:
    key = cluster.keys["operator-1"]
    return seal(kind, payload, [(key.public_key().public_bytes_raw(), key.sign(pae(kind, payload)))])


def twice(cluster: Cluster) -> bytes:
    return cluster.seal(activation(cluster), "policy-1", "policy-1")


def respelled(cluster: Cluster) -> bytes:
    """The same payload with a blank in it, signed as it is."""
    return with_payload(cluster, encode_command(command(cluster)).replace(b":", b": ", 1))


def now_ms() -> int:
    return int(time.time() * 1000)


HOSTILE: dict[str, tuple[Callable[[Cluster], bytes], str]] = {
    "not JSON": (lambda c: b"\x80\x04garbage", "envelope_malformed"),
    "unsigned": (lambda c: c.seal(command(c)), "envelope_unsigned"),
    "forged": (lambda c: sealed(c, command(c), claimed="operator-1"), "signature_invalid"),
    "altered": (altered, "signature_invalid"),
    "signed by a stranger": (lambda c: sealed(c, command(c)), "threshold_unmet"),
    "signed in another role": (lambda c: c.seal(command(c), "policy-1", "root-1"), "threshold_unmet"),
    "signed by too few": (lambda c: c.seal(activation(c), "policy-2"), "threshold_unmet"),
    "signed twice by one": (twice, "key_duplicate"),
    "expired": (lambda c: c.seal(command(c, not_after=now_ms() - 1), "operator-1"), "expired"),
    "valid for too long": (
        lambda c: c.seal(command(c, not_after=now_ms() + 2 * DAY_MS), "operator-1"),
        "validity_too_long",
    ),
    "for another cluster": (lambda c: c.seal(command(c, cluster="ab" * 32), "operator-1"), "wrong_cluster"),
    "of an unknown type": (
        lambda c: with_payload(c, b"{}", "application/vnd.govraft.nonsense.v1+json"),
        "payload_type_unknown",
    ),
    "with unknown fields": (lambda c: with_payload(c, b'{"cluster":"x"}'), "payload_malformed"),
    "not canonical": (respelled, "payload_not_canonical"),
    "unknown policy version": (lambda c: c.seal(activation(c), "policy-1", "policy-2"), "policy_unknown"),
}


def roots(cluster: Cluster) -> dict[str, str]:
    cluster.settled()
    return {node.id: node.status()["root"] for node in cluster.nodes.values()}


@pytest.mark.clause("6 signed governance synchronization envelopes")
@pytest.mark.parametrize("name", HOSTILE)
def test_the_node_that_receives_it_refuses(cluster: Cluster, name: str) -> None:
    build, code = HOSTILE[name]
    before = cluster.settled()
    for node in cluster.nodes.values():
        with pytest.raises(RejectedError) as refused:
            node.client.submit(build(cluster))
        assert (refused.value.code, refused.value.definite) == (code, True)
    assert cluster.settled()["seq"] == before["seq"], "it reached the log"


def test_a_command_works_once_wherever_it_is_handed_in(cluster: Cluster) -> None:
    header = cluster.header()
    envelope = cluster.quarantine("once", **header)
    first = cluster.nodes["node-1"].client.submit(envelope)
    seq = cluster.settled()["seq"]
    for node in cluster.nodes.values():
        # The very same command, replayed.
        with pytest.raises(RejectedError) as replayed:
            node.client.submit(envelope)
        assert (replayed.value.code, replayed.value.definite) == ("duplicate_command", True)
        # A copy without its signatures is not a replay, it is unsigned.
        with pytest.raises(RejectedError) as unsigned:
            node.client.submit(json.dumps(json.loads(envelope) | {"signatures": []}).encode())
        assert unsigned.value.code == "envelope_unsigned"
        # Whoever lost the answer may ask again: what became of it then is the answer, and it does nothing more.
        assert node.client.submit(envelope, retry=True).seq == first.seq
        # Another command under its id.
        with pytest.raises(RejectedError) as refused:
            node.client.submit(cluster.revoke("once", **header))
        assert refused.value.code == "duplicate_command"
    assert cluster.settled()["seq"] == seq


@pytest.fixture(scope="module")
def misled() -> Iterator[Cluster]:
    """Two stock nodes that follow a leader which proposes anything."""
    program = [str(Path(__file__).with_name("faulty_node.py")), "propose-anything"]
    patient = "election_min_ms = 4000\nelection_max_ms = 6000"
    timing = {FAULTY: "election_min_ms = 310\nelection_max_ms = 400", "node-2": patient, "node-3": patient}
    with Cluster(timing=timing, programs={FAULTY: program}) as cluster:
        cluster.start()
        assert cluster.leader().id == FAULTY
        cluster.activate_policy(cluster.nodes[FAULTY])
        yield cluster


@pytest.mark.clause("1 authoritative runtime coordination")
@pytest.mark.clause("6 signed governance synchronization envelopes")
def test_put_into_the_log_all_nodes_reject_it_alike(misled: Cluster) -> None:
    leader = misled.nodes[FAULTY].client
    header = misled.header()
    good = misled.quarantine("replayed", **header)
    applied = leader.submit(good)
    hostile = {name: (build(misled), code) for name, (build, code) in HOSTILE.items()}
    hostile["another command under a used id"] = (misled.revoke("replayed", **header), "duplicate_command")
    for name, (envelope, code) in hostile.items():
        with pytest.raises(RejectedError) as rejected:
            leader.submit(envelope)
        assert rejected.value.code == code, name
    # Unexamined by its own node, the replay reaches the log.
    assert leader.submit(good, retry=True).seq == applied.seq
    hostile["replayed"] = (good, "duplicate_command")
    lineage = misled.verified_lineage()
    outcomes = {item.seq: item.outcome for item in lineage}
    newest = [(item.envelope, item.outcome) for item in lineage if item.seq > applied.seq]
    assert newest == list(hostile.values()), "not in the log as it was handed in"
    assert outcomes[applied.seq] == "applied"
    assert len(set(roots(misled).values())) == 1
    for node in misled.nodes.values():
        assert node.check("hostile"), "a rejected command had an effect"
        assert node.check("replayed").reason == "quarantined"


@pytest.mark.parametrize(
    "entry",
    [b"\xc1", b"\x80", b"\x00" * 64, b"\xff" * 60_000, b'{"v":1}', b"\x81" * 5_000, b"\x80\x04\x95."],
    ids=["reserved byte", "empty map", "zeros", "long", "JSON", "deep", "pickle"],
)
def test_what_is_no_entry_at_all_is_rejected_alike(misled: Cluster, entry: bytes) -> None:
    before = misled.settled()["seq"]
    misled.nodes[FAULTY].client.submit(b"raw:" + entry, wait="none")
    eventually(lambda: misled.settled()["seq"] > before, misled.describe)
    newest = misled.verified_lineage()[-1]
    assert (newest.entry, newest.outcome) == (entry, "entry_malformed")
    assert all(node.check("anybody") for node in misled.nodes.values())
