"""RFC-EG-028 clause 10: each of the nine attacks, tried against real nodes; none of them gets an allow."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from conformance.conftest import HONEST, LIAR, reason
from conformance.watching import revoke, watched
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from integration.cluster_harness import Node, eventually

from govraft.adapters.store_rows import journal_checksum
from govraft.core.codec.canonical import pack_json
from govraft.core.codec.envelope import pae, seal
from govraft.core.model.commands import PolicyActivate, encode_command, payload_type
from govraft.errors import AvailabilityError, GovraftError, RejectedError
from govraft.testing.link_proxy import Mode

pytestmark = pytest.mark.cluster


@pytest.mark.clause("10 governance desynchronization attacks")
def test_holding_back_what_a_node_hears_does_not_keep_it_on_the_old_state(whole):
    """The attacker delays all that a node hears and says by more than a lease, to keep it at a state it likes."""
    victim = whole.others(whole.leader())[0]
    others = whole.others(victim)
    eventually(lambda: victim.check("delayed"), whole.describe)
    with watched("delayed", [victim]) as watch:
        whole.links.delay(victim.id, 1500)
        seq, effective_at = revoke(whole, "delayed", *others)
        eventually(lambda: watch.asked > 50 and not victim.check("delayed"), whole.describe)
        stop_at = time.monotonic() + 2 * whole.lease_s
        eventually(lambda: time.monotonic() > stop_at, "time to pass")
    assert not watch.stale(effective_at), "a stale allow"
    whole.links.heal()
    whole.wait_allow()
    eventually(lambda: victim.check("delayed", at_least=seq).reason == "revoked", whole.describe)


@pytest.mark.clause("10 authorization split-brain conditions")
def test_of_two_halves_only_the_one_with_a_quorum_allows(whole):
    old = whole.leader()
    rest = whole.others(old)
    eventually(lambda: all(node.check("torn") for node in whole.nodes.values()), whole.describe)
    with watched("torn", [old, *rest]) as watch:
        whole.links.cut(old.id)
        seq, effective_at = revoke(whole, "torn", *rest)
        eventually(lambda: not old.check("bystander"), whole.describe)
        whole.wait_allow(*(node.id for node in rest))
        assert all(node.check("bystander") for node in rest)
        # The old leader may believe that it leads; it cannot make anything effective.
        with pytest.raises(AvailabilityError) as unknown:
            old.client.submit(whole.quarantine("anybody"), timeout=1.0)
        assert not unknown.value.definite or unknown.value.code in {"no_leader", "queue_full", "unavailable"}
        assert reason(old)
    assert not watch.stale(effective_at), "a stale allow"
    whole.links.heal()
    whole.wait_allow()
    assert all(node.check("torn", at_least=seq).reason == "revoked" for node in whole.nodes.values())


@pytest.mark.clause("10 policy inheritance corruption")
def test_a_policy_that_was_changed_on_disk_is_not_inherited(whole):
    """Who is permitted what comes down from what the authorities signed, not from what a file says."""
    victim = whole.others(whole.leader())[0]
    assert victim.stop() == 0
    data, pristine = victim.database.parent, victim.database.parent.with_name("pristine")
    shutil.copytree(data, pristine)
    with closing(sqlite3.connect(victim.database)) as connection, connection:
        rows = connection.execute("SELECT idx, term, payload FROM journal ORDER BY idx").fetchall()
        index, term, payload = next(row for row in rows if b"policy.publish" in row[2] or b"policy-publish" in row[2])
        changed = (
            payload.replace(b"permit", b"forbid", 1) if b"permit" in payload else payload[:-9] + b"x" + payload[-8:]
        )
        assert changed != payload
        checksum = journal_checksum(index, term, changed)
        connection.execute("UPDATE journal SET payload = ?, checksum = ? WHERE idx = ?", (changed, checksum, index))
    code, said = victim.run_to_end()
    assert code == 3, said
    assert "lineage" in said
    for node in whole.others(victim):
        assert node.check("anybody")
    shutil.rmtree(data)
    pristine.rename(data)
    whole.start(victim.id)
    assert victim.check("anybody")


@pytest.mark.clause("10 distributed replay divergence")
def test_a_command_replayed_everywhere_works_once_and_alike(whole):
    envelope = whole.quarantine("replayed")
    receipt = whole.nodes["node-1"].client.submit(envelope)
    errors: list[str] = []

    def replay(node: Node) -> None:
        try:
            node.client.submit(envelope)
        except GovraftError as error:
            errors.append(error.code)

    threads = [threading.Thread(target=replay, args=(node,)) for node in whole.nodes.values() for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert errors == ["duplicate_command"] * len(threads)
    applied = [item for item in whole.verified_lineage() if item.envelope == envelope and item.outcome == "applied"]
    assert [item.seq for item in applied] == [receipt.seq]


@pytest.mark.clause("10 execution quorum spoofing")
def test_acks_forged_in_the_name_of_others_make_no_quorum(stage):
    scene = stage("spoof", leads=True)
    agent = "spoofed"
    with watched(agent, scene.honest) as watch:
        scene.tell()
        for node in scene.honest:
            eventually(lambda node=node: reason(node) == "quorum_unverifiable", scene.cluster.describe)
        # The liar has it to itself: what it calls effective is not, until a quorum that exists has signed it.
        with pytest.raises(GovraftError):
            scene.liar.client.submit(scene.cluster.revoke("bystander"), timeout=0.5)
        scene.cluster.wait_allow(*HONEST)
        seq, effective_at = revoke(scene.cluster, agent, *scene.honest)
    assert not watch.stale(effective_at)
    assert all(node.check(agent, at_least=seq).reason == "revoked" for node in scene.honest)


@pytest.mark.clause("10 runtime authority fragmentation")
def test_fragments_of_authority_do_not_add_up(whole):
    """Signatures of one key twice, of another role, of another cluster's keys, of strangers: never a threshold."""
    before = whole.settled()
    digest = whole.nodes["node-1"].client.read("policies")["versions"][0]["digest"]
    command = PolicyActivate(version=1, digest=digest, **whole.header())
    kind, payload = payload_type(command), encode_command(command)
    message = pae(kind, payload)
    own, root = whole.keys["policy-1"], whole.keys["root-1"]
    strangers = [Ed25519PrivateKey.generate() for _ in range(3)]

    def sealed(*keys: Ed25519PrivateKey) -> bytes:
        return seal(kind, payload, [(key.public_key().public_bytes_raw(), key.sign(message)) for key in keys])

    borrowed = json.loads(sealed(own, whole.keys["policy-2"]))
    borrowed["signatures"][1]["sig"] = borrowed["signatures"][0]["sig"]
    fragments = {
        "one of two": (sealed(own), "threshold_unmet"),
        "one twice": (sealed(own, own), "key_duplicate"),
        "another role": (sealed(own, root), "threshold_unmet"),
        "strangers": (sealed(own, *strangers), "threshold_unmet"),
        "a signature lent": (pack_json(borrowed), "signature_invalid"),
    }
    for name, (envelope, code) in fragments.items():
        for node in whole.nodes.values():
            with pytest.raises(RejectedError) as rejected:
                node.client.submit(envelope)
            assert rejected.value.code == code, name
    assert whole.settled()["seq"] == before["seq"]


@pytest.mark.clause("10 attestation disagreement injection")
def test_attestations_put_into_one_node_stop_that_node_only(stage):
    scene = stage("diverge:attestations")
    scene.tell()
    receipt = scene.honest[0].client.submit(scene.cluster.quarantine("somebody", reason="diverge"))
    eventually(lambda: reason(scene.liar) == "attestation_disagreement", scene.cluster.describe)
    eventually(lambda: scene.liar.status()["isolation"], scene.cluster.describe)
    for node in scene.honest:
        assert node.check("anybody", at_least=receipt.certified_seq)
    # Handed in from outside, what no authority signed goes nowhere.
    with pytest.raises(RejectedError) as rejected:
        scene.honest[0].client.submit(seal("application/vnd.govraft.attest.v1+json", b"{}", []))
    assert rejected.value.code in {"payload_type_unknown", "envelope_unsigned"}
    assert reason(scene.liar) == "attestation_disagreement"


@pytest.mark.clause("10 topology partition manipulation")
def test_links_cut_and_mended_at_will_never_give_a_stale_allow(whole):
    """The attacker owns the network: one-way cuts, bridges and islands, changed every few hundred milliseconds."""
    nodes = list(whole.nodes.values())
    shapes = [
        [(nodes[0].id, nodes[1].id)],
        [(nodes[1].id, nodes[0].id), (nodes[2].id, nodes[0].id)],
        [(nodes[0].id, nodes[2].id), (nodes[2].id, nodes[0].id)],
        [(nodes[2].id, nodes[0].id), (nodes[2].id, nodes[1].id)],
        [(nodes[1].id, nodes[2].id), (nodes[2].id, nodes[1].id), (nodes[1].id, nodes[0].id)],
    ]
    effective: list[tuple[str, int, float]] = []
    for number, shape in enumerate(shapes):
        agent = f"flapping-{number}"
        with watched(agent, nodes) as watch:
            for pair in shape:
                whole.links.cut_link(*pair, Mode.CUT)
            seq, at = revoke(whole, agent, *nodes)
            effective.append((agent, seq, at))
            until = time.monotonic() + 0.3
            eventually(lambda until=until: time.monotonic() > until, "time to pass")
        assert not watch.stale(at), (agent, watch.stale(at)[0])
        whole.links.heal()
    whole.wait_allow()
    for agent, seq, _ in effective:
        assert all(node.check(agent, at_least=seq).reason == "revoked" for node in nodes)
    whole.verified_lineage()


@pytest.mark.clause("10 trust convergence bypass attempts")
def test_a_leader_that_does_not_wait_for_outstanding_holders_convinces_nobody(stage):
    """A holder is cut off with a lease in its hand; the lying leader calls the next state effective at once."""
    scene = stage("impatient", leads=True, proxied=True)
    cut, other = scene.honest
    scene.tell()
    with watched("bypassed", [cut]) as watch:
        eventually(lambda: watch.allows, scene.cluster.describe)
        scene.cluster.links.cut(cut.id)
        seq, effective_at = revoke(scene.cluster, "bypassed", other)
        eventually(lambda: not cut.check("bypassed"), scene.cluster.describe)
    # `other` answers to its client only when it has verified, by itself, that nobody can allow any more.
    assert not watch.stale(effective_at), "a stale allow"
    assert other.status()["certified_seq"] >= seq
    scene.hush()
    scene.cluster.links.heal()
    scene.cluster.wait_allow(*HONEST)
    assert cut.check("bypassed", at_least=seq).reason == "revoked"


def test_the_stage_is_set(stage):
    """Unless it is told to lie, the node of these tests is as good as any."""
    scene = stage("impatient", leads=True)
    seq, _ = revoke(scene.cluster, "somebody", scene.liar)
    for node in scene.cluster.nodes.values():
        eventually(lambda node=node: node.check("somebody", at_least=seq).reason == "revoked", scene.cluster.describe)
    assert Path(__file__).with_name("lying_node.py").exists()
    assert scene.liar.id == LIAR
