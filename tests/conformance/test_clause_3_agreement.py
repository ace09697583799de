"""RFC-EG-028 clauses 1, 3 and 5: real nodes agree on each part of the state and on every verdict, and go on agreeing
when nodes die and come back."""

from __future__ import annotations

import base64
import time
from typing import Any

import pytest
from conformance.watching import revoke, watched
from integration.cluster_harness import ACTION, TOOL, Cluster, eventually

from govraft.core.codec.canonical import pack_json
from govraft.core.codec.envelope import pae, seal
from govraft.core.codec.in_toto import STATEMENT_TYPE, encode_statement
from govraft.core.convergence.certificate import verify_certificate
from govraft.core.crypto.keys import verify
from govraft.core.lineage.leaf import Leaf
from govraft.core.lineage.tree import MerkleTree
from govraft.core.model.authority import Assignment, Role
from govraft.core.model.commands import Attest, AuthorityAssign, BoundarySet, EntityFields, EntityPut, GrantIssue

pytestmark = pytest.mark.cluster

PREDICATE = "https://spdx.dev/Document/v2.3"
HOUR_MS = 3_600_000

SECTIONS = [
    pytest.param("policies", marks=pytest.mark.clause("3 policy agreement")),
    pytest.param("authorities", marks=pytest.mark.clause("3 authorization consensus")),
    pytest.param("entities", marks=pytest.mark.clause("3 runtime state verification")),
    pytest.param("attestations", marks=pytest.mark.clause("3 attestation agreement")),
    pytest.param("audit", marks=pytest.mark.clause("3 audit consensus")),
    pytest.param("electorate", marks=pytest.mark.clause("3 trust convergence")),
    "grants",
    "boundaries",
]


@pytest.fixture(scope="module")
def governed(whole: Cluster) -> Cluster:
    """Something is in every part of the state that the tests ask about."""
    cluster, soon = whole, time.time_ns() // 1_000_000 + HOUR_MS
    roles = (Assignment(Role.ATTESTOR, "root"), Assignment(Role.OPERATOR, "root"))
    attestor = cluster.keys["operator-1"]
    payload = encode_statement(PREDICATE, {"hammer": "0" * 64}, {"clean": True})
    signature = (attestor.public_key().public_bytes_raw(), attestor.sign(pae(STATEMENT_TYPE, payload)))
    statement = base64.b64encode(seal(STATEMENT_TYPE, payload, [signature])).decode()
    commands: list[tuple[Any, tuple[str, ...]]] = [
        (AuthorityAssign(id="operator-1", assignments=roles, **cluster.header()), ("root-1", "root-2")),
        (EntityPut(entities=(EntityFields('Agent::"ann"', {}, ()),), **cluster.header()), ("operator-1",)),
        (
            Attest(statement=statement, entity=TOOL, expires=soon, supersedes=None, **cluster.header()),
            ("operator-1",),
        ),
        (BoundarySet(id="b", subject='Agent::"bounded"', level_max=1, **cluster.header()), ("operator-1",)),
        (
            GrantIssue(
                id="g",
                holder='Agent::"ann"',
                actions=(ACTION,),
                resources=(TOOL,),
                not_before=1,
                not_after_grant=soon,
                delegate=None,
                depth=0,
                **cluster.header(),
            ),
            ("operator-1",),
        ),
    ]
    for command, authors in commands:
        cluster.submit(cluster.seal(command, *authors))
    cluster.submit(cluster.quarantine("quarantined"))
    cluster.submit(cluster.revoke("revoked"))
    return cluster


@pytest.mark.parametrize("section", SECTIONS)
def test_all_nodes_hold_the_section_that_a_quorum_certified(governed: Cluster, section: str) -> None:
    """Each node's own certificate, verified from the genesis alone, covers each node's own leaf."""
    governed.settled()
    digests = set()
    for node in governed.nodes.values():
        leaves = [leaf for leaf, _ in node.lineage()]
        tree = MerkleTree()
        for leaf in leaves:
            tree.append(leaf)
        note = node.client.read("certificate")["note"]
        genesis = governed.genesis
        checkpoint = verify_certificate(note, genesis.electorate(), genesis.origin, is_valid=verify)
        assert (checkpoint.seq, checkpoint.root) == (len(leaves), tree.root())
        digests.add(Leaf.decode(leaves[-1]).sections[section])
    assert len(digests) == 1
    assert digests != {bytes(32)}, "nothing would be easy to agree on"


@pytest.mark.clause("1 cryptographic governance convergence")
@pytest.mark.clause("1 immutable governance lineage")
@pytest.mark.clause("2 governance lineage")
@pytest.mark.clause("3 governance synchronization")
@pytest.mark.clause("2 reproducible")
def test_all_nodes_hold_one_lineage_and_a_replay_comes_to_the_same(governed: Cluster) -> None:
    applied = governed.verified_lineage()
    assert len(applied) > 8
    governed.submit(governed.quarantine("one-more"))
    assert [item.entry for item in governed.verified_lineage()][: len(applied)] == [item.entry for item in applied]


@pytest.mark.clause("1 distributed enforcement consistency")
@pytest.mark.clause("2 deterministic")
@pytest.mark.clause("3 enforcement consistency")
def test_one_request_on_one_state_has_one_verdict(governed: Cluster) -> None:
    seq = governed.settled()["seq"]
    requests: list[tuple[str, str, str, dict[str, Any]]] = [
        *((f'Agent::"{name}"', ACTION, TOOL, {}) for name in ("ann", "nobody", "quarantined", "revoked", "bounded")),
        ('Agent::"bounded"', ACTION, TOOL, {"level": 1}),
        ('Agent::"ann"', 'Action::"other"', TOOL, {}),
        ("nonsense", ACTION, TOOL, {}),
        ('Agent::"\\u{61}nn"', ACTION, TOOL, {}),
    ]
    seen = {}
    for request in requests:
        verdicts = set()
        for node in governed.nodes.values():
            verdict = node.client.check(*request[:3], request[3], at_least=seq)
            assert verdict.seq == seq or not verdict
            reason = "" if verdict else str(verdict.reason)
            verdicts.add(pack_json({"allow": bool(verdict), "policies": sorted(verdict.policies), "reason": reason}))
        assert len(verdicts) == 1, (request, verdicts)
        seen[request[0]] = verdicts.pop()
    assert len(set(seen.values())) >= 4


@pytest.mark.clause("1 operational governance continuity")
@pytest.mark.clause("5 failover")
def test_a_leader_that_is_killed_is_succeeded_without_a_stale_allow(governed: Cluster) -> None:
    old = governed.leader()
    rest = governed.others(old)
    eventually(lambda: all(node.check("failing-over") for node in rest), governed.describe)
    with watched("failing-over", rest) as watch:
        old.kill()
        seq, effective_at = revoke(governed, "failing-over", *rest)
        governed.wait_allow(*(node.id for node in rest))
    assert watch.asked
    assert not watch.stale(effective_at), "a stale allow"
    assert all(node.check("bystander", at_least=seq) for node in rest)
    governed.start(old.id)
    governed.wait_allow()
    assert old.check("failing-over", at_least=seq).reason == "revoked"
    governed.verified_lineage()


@pytest.mark.clause("5 runtime recovery")
def test_what_was_effective_is_there_after_all_nodes_were_killed(governed: Cluster) -> None:
    governed.submit(governed.revoke("gone"))
    before = governed.settled()
    for node in governed.nodes.values():
        node.kill()
    governed.start()
    after = governed.settled()
    assert (after["seq"], after["root"], after["state_root"]) == (before["seq"], before["root"], before["state_root"])
    for node in governed.nodes.values():
        assert node.check("gone").reason == "revoked"
        assert node.check("ann")
