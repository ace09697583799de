"""RFC-EG-028 clause 4: each of the ten consensus failures, caused for real, stops execution and names itself.

Where one node is at fault, the others go on: they are a quorum, and what they agree on is not in question.
"""

from __future__ import annotations

import base64
import json
import sqlite3
from contextlib import closing

import pytest
from conformance.conftest import HONEST, LIAR, reason
from integration.cluster_harness import Node, eventually

from govraft.core.codec.canonical import unpack
from govraft.core.convergence.certificate import verify_lease
from govraft.core.convergence.messages import Kind, Signed
from govraft.core.convergence.timing import LeaseTiming
from govraft.core.crypto.keys import verify

pytestmark = pytest.mark.cluster


def evidence_on_disk(node: Node) -> dict[str, bytes] | None:
    with closing(sqlite3.connect(node.database)) as connection:
        row = connection.execute("SELECT value FROM records WHERE name = 'isolation'").fetchone()
    return None if row is None else unpack(base64.b64decode(json.loads(row[0])["evidence"]), max_bytes=1 << 20)


DIVERGENCES = [
    pytest.param("diverge:policies", "policy_divergence", marks=pytest.mark.clause("4 policy divergence")),
    pytest.param(
        "diverge:authorities",
        "authorization_inconsistent",
        marks=pytest.mark.clause("4 inconsistent execution authorization"),
    ),
    pytest.param(
        "diverge:entities", "runtime_state_fragmented", marks=pytest.mark.clause("4 runtime state fragmentation")
    ),
    pytest.param(
        "diverge:attestations", "attestation_disagreement", marks=pytest.mark.clause("4 attestation disagreement")
    ),
    pytest.param("lineage", "lineage_inconsistent", marks=pytest.mark.clause("4 lineage inconsistency")),
]


@pytest.mark.parametrize(("lie", "expected"), DIVERGENCES)
def test_a_node_that_holds_another_state_denies_and_keeps_the_evidence(stage, lie, expected):
    scene = stage(lie)
    scene.tell()
    receipt = scene.honest[0].client.submit(scene.cluster.quarantine("somebody", reason="diverge"))
    eventually(lambda: scene.liar.status()["isolation"], scene.cluster.describe)
    assert reason(scene.liar) == expected
    # The evidence is a lease, which convinces whoever holds the genesis, and this node's own leaf.
    kept = eventually(lambda: evidence_on_disk(scene.liar), scene.cluster.describe)
    genesis = scene.cluster.genesis
    signed = Signed.decode(kept["received"], Kind.LEASE)
    lease = verify_lease(
        signed,
        genesis.electorate(),
        genesis.origin,
        bytes.fromhex(genesis.cluster_id),
        LeaseTiming.of(genesis),
        is_valid=verify,
    )
    assert lease.voters == set(HONEST)
    assert lease.probe.checkpoint.seq >= receipt.seq
    assert kept["own_leaf"]
    for node in scene.honest:
        assert node.check("anybody", at_least=receipt.certified_seq), "a quorum that agrees goes on"


@pytest.mark.clause("4 governance desynchronization")
def test_a_node_that_is_left_behind_denies_until_it_has_caught_up(stage):
    scene = stage("lag")
    scene.tell()
    receipt = scene.honest[0].client.submit(scene.cluster.revoke("somebody"))
    eventually(lambda: reason(scene.liar) == "governance_desynchronized", scene.cluster.describe)
    assert scene.liar.check("somebody").reason == "governance_desynchronized"
    assert scene.liar.status()["seq"] < receipt.seq
    scene.hush()
    eventually(lambda: scene.liar.check("anybody", at_least=receipt.certified_seq), scene.cluster.describe)
    assert scene.liar.check("somebody").reason == "revoked"


@pytest.mark.clause("4 unsigned synchronization transitions")
def test_a_state_that_the_leader_has_not_signed_is_nobodys(stage):
    scene = stage("unsigned", leads=True)
    scene.tell()
    for node in scene.honest:
        eventually(lambda node=node: reason(node) == "unsigned_transition", scene.cluster.describe)
    scene.cluster.wait_allow(*HONEST)
    assert scene.cluster.leader().id in HONEST, "the others have found a better leader"


@pytest.mark.clause("4 conflicting governance authority")
def test_a_voter_that_signs_two_states_counts_for_nothing(stage):
    scene = stage("equivocate")
    leader = scene.cluster.leader()
    (other,) = (node for node in scene.honest if node is not leader)
    assert leader is not scene.liar
    # What it signed before and what it signs now contradict each other.
    scene.tell()
    eventually(lambda: not scene.liar.check("anybody"), scene.cluster.describe)
    assert leader.check("anybody"), "two honest voters of three are a quorum"
    other.kill()
    eventually(lambda: reason(leader) == "authority_conflict", scene.cluster.describe)
    assert f"`{LIAR}` has signed two roots" in leader.check("anybody").message
    scene.cluster.start(other.id)
    eventually(lambda: leader.check("anybody"), scene.cluster.describe)


@pytest.mark.clause("4 unverifiable consensus quorum")
def test_a_certificate_that_no_quorum_has_signed_grants_nothing(stage):
    scene = stage("spoof", leads=True)
    scene.tell()
    for node in scene.honest:
        eventually(lambda node=node: reason(node) == "quorum_unverifiable", scene.cluster.describe)
    scene.cluster.wait_allow(*HONEST)
    assert scene.cluster.leader().id in HONEST


@pytest.mark.clause("4 topology partition ambiguity")
def test_a_node_that_cannot_tell_on_which_side_it_is_denies(whole):
    cut = whole.others(whole.leader())[0]
    whole.links.cut(cut.id)
    eventually(lambda: reason(cut) == "partition_ambiguous", whole.describe)
    whole.links.heal()
    whole.wait_allow()
