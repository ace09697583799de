"""One of three real nodes is compromised, and its keys with it: what it signs twice removes it, and what it forges,
replays and withholds gets nobody an allow."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conformance.conftest import HONEST, LIAR, Stage, stages
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from integration.cluster_harness import ACTION, TOOL, Cluster, Node, eventually

from govraft import Denied
from govraft.cli.main import run
from govraft.core.codec.canonical import pack_json
from govraft.core.codec.envelope import pae, seal
from govraft.core.evidence.equivocation import prove_equivocation
from govraft.core.evidence.permit_file import prove_permit
from govraft.core.model.commands import (
    BallotChoice,
    Command,
    MemberPromote,
    MemberRemove,
    PolicyPublish,
    ProposalOpen,
    ProposalVote,
    Revoke,
    TargetKind,
    encode_command,
    payload_type,
    proposal_digest,
)
from govraft.errors import GovraftError, RejectedError

pytestmark = pytest.mark.cluster

EVERYBODY = "permit (principal, action, resource);"


@pytest.fixture
def stage() -> Iterator[Callable[..., Stage]]:
    with stages() as make:
        yield make


@pytest.fixture
def govraft(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """The command line, as an operator of the cluster has it; the exit code, and the data that it printed."""

    def invoke(cluster: Cluster, *arguments: object) -> tuple[int, Any]:
        capsys.readouterr()
        code = run([*map(str, arguments), "--cluster", str(cluster.home), "-o", "json", "--timeout", "20"])
        printed = capsys.readouterr()
        return code, json.loads(printed.out) if printed.out.strip() else printed.err

    return invoke


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def key_of(node: Node) -> Ed25519PrivateKey:
    """What a thief of its disk has."""
    key = load_pem_private_key((node.home / f"{node.id}.key.pem").read_bytes(), None)
    assert isinstance(key, Ed25519PrivateKey)
    return key


def signed(command: Command, *keys: Ed25519PrivateKey) -> bytes:
    kind, payload = payload_type(command), encode_command(command)
    message = pae(kind, payload)
    return seal(kind, payload, [(key.public_key().public_bytes_raw(), key.sign(message)) for key in keys])


@pytest.mark.clause("10 governance desynchronization attacks")
@pytest.mark.clause("8 cryptographic member verification")
def test_what_a_node_signed_twice_removes_it(stage, govraft, tmp_path: Path) -> None:
    scene = stage("equivocate")
    cluster, file = scene.cluster, tmp_path / "evidence.json"
    leader = cluster.leader()
    assert leader is not scene.liar
    scene.tell()
    found = eventually(lambda: leader.client.read("evidence")["equivocations"], cluster.describe)
    assert [item["node"] for item in found] == [LIAR]
    # From the witness into a file, which convinces whoever holds the genesis, and from there into the cluster.
    assert run(["evidence", "export", LIAR, str(file), "--endpoint", leader.endpoint]) == 0
    proven = prove_equivocation(file.read_bytes(), cluster.genesis)
    assert proven.member.id == LIAR
    assert len(set(proven.roots)) == 2
    assert govraft(cluster, "verify", file, "--genesis", cluster.home / "genesis.json")[0] == 0
    code, receipt = govraft(cluster, "member", "evict", "--evidence", file)
    assert (code, receipt["evicted"]) == (0, LIAR), receipt
    # It goes on lying, to nobody: it denies, is not listened to, and has no voice.
    cluster.wait_allow(*HONEST)
    eventually(lambda: scene.liar.status()["standing"] == "revoked", cluster.describe)
    assert [item["id"] for item in leader.client.read("members")] == list(HONEST)
    revoked = leader.client.submit(cluster.revoke("eve"), timeout=10)
    for node in scene.honest:
        assert node.check("eve", at_least=revoked.certified_seq).reason == "revoked"
        assert node.check("ann")
        assert eventually(lambda node=node: LIAR not in node.status()["links"], cluster.describe)
    assert not scene.liar.check("ann")
    assert govraft(cluster, "member", "evict", "--evidence", file)[0] == 1


def test_a_file_that_convicts_nobody_evicts_nobody(stage, govraft, tmp_path: Path) -> None:
    scene = stage("equivocate")
    scene.tell()
    leader, file = scene.cluster.leader(), tmp_path / "evidence.json"
    found = eventually(lambda: leader.client.read("evidence")["equivocations"], scene.cluster.describe)
    assert run(["evidence", "export", LIAR, str(file), "--endpoint", leader.endpoint]) == 0
    fields = json.loads(file.read_text())
    for changed in ({"second": fields["first"]}, {"cluster": "0" * 64}, {"second": fields["second"][:-8] + "AAAAAAA="}):
        file.write_bytes(pack_json(fields | changed))
        code, said = govraft(scene.cluster, "member", "evict", "--evidence", file)
        assert (code, "\n" in said.strip()) == (1, False), said
    assert len(leader.client.read("members")) == 3
    assert found


def forgeries(cluster: Cluster) -> dict[str, Command]:
    """What a thief of a node's key would command, if he could."""
    header = cluster.header
    return {
        "revoke": Revoke(kind=TargetKind.SUBJECT, id='Agent::"ann"', reason="x", **header()),
        "publish": PolicyPublish(
            version=2, expected="0" * 64, schema=None, policies=(EVERYBODY,), removed=(), **header()
        ),
        "remove": MemberRemove(id="node-1", reason="x", **header()),
        "promote": MemberPromote(id=LIAR, **header()),
    }


@pytest.mark.clause("10 runtime authority fragmentation")
@pytest.mark.clause("7 no unsigned consensus reconciliation")
def test_a_node_key_commands_nothing_however_it_is_ordered(stage) -> None:
    """Handed in at every node, refused; ordered by the compromised node itself, as leader, refused by every machine."""
    scene = stage("reckless", leads=True)
    cluster, key = scene.cluster, key_of(scene.liar)
    before = cluster.settled()
    for name, command in forgeries(cluster).items():
        for node in cluster.nodes.values():
            with pytest.raises(RejectedError) as refused:
                node.client.submit(signed(command, key))
            assert refused.value.code == "threshold_unmet", name
    assert cluster.settled()["seq"] == before["seq"]
    scene.tell()
    quarantine = cluster.quarantine("bob")
    envelopes = [*(signed(command, key) for command in forgeries(cluster).values()), quarantine, quarantine]
    order(scene, *envelopes)
    applied = {item.envelope: item.outcome for item in cluster.verified_lineage()[before["seq"] - 1 :]}
    outcomes = [item.outcome for item in cluster.verified_lineage()[before["seq"] - 1 :]]
    assert outcomes == ["threshold_unmet"] * 4 + ["applied", "duplicate_command"], applied
    for node in scene.honest:
        eventually(lambda node=node: node.check("ann"), cluster.describe)
        assert node.check("bob").reason == "quarantined"


def order(scene: Stage, *envelopes: bytes) -> None:
    """Have the liar, as leader, put them into the log in this order."""
    for envelope in envelopes:
        seq = scene.honest[0].status()["seq"]
        with pytest.raises(GovraftError):  # Its answer is no receipt: the client does not believe it.
            scene.liar.client.submit(envelope, timeout=5, retry=True)
        eventually(lambda seq=seq: scene.honest[0].status()["seq"] > seq, scene.cluster.describe)


@pytest.mark.clause("8 replay-resistant governance voting")
def test_a_ballot_counts_once_and_only_for_whose_it_is(stage) -> None:
    """Two of the policy authorities must agree. One has; the compromised leader tries to make two of that."""
    scene = stage("reckless", leads=True)
    cluster, key = scene.cluster, key_of(scene.liar)
    client = scene.honest[0].client
    version = client.read("policies")["versions"][-1]
    body = {"version": version["version"], "digest": version["digest"], "domain": "root"}
    opened = ProposalOpen(
        **cluster.header(),
        command="policy.activate",
        body=body,
        author="policy-1",
        epoch=1,
        sequence=1,
        expires=now_ms() + 600_000,
    )
    client.submit(cluster.seal(opened, "policy-1"))
    digest = proposal_digest(opened)

    def ballot(voter: str, **fields: Any) -> ProposalVote:
        given = {"proposal": digest, "choice": BallotChoice.APPROVE, "epoch": 1, "sequence": 9} | fields
        return ProposalVote(**cluster.header(), voter=voter, **given)

    cast = cluster.seal(ballot("policy-1", sequence=2), "policy-1")
    client.submit(cast)
    seq = cluster.settled()["seq"]
    scene.tell()
    order(
        scene,
        cast,
        cluster.seal(ballot("policy-1", sequence=2), "policy-1"),
        cluster.seal(ballot("policy-1", sequence=3), "policy-1"),
        signed(ballot("policy-2"), key),
        cluster.seal(ballot("policy-2"), "policy-1"),
        cluster.seal(ballot(LIAR), "policy-1"),
        cluster.seal(ballot("policy-2", epoch=2), "policy-2"),
    )
    outcomes = [item.outcome for item in cluster.verified_lineage()[seq - 1 :]]
    assert outcomes[:3] == ["duplicate_command", "ballot_replayed", "applied"], outcomes
    assert set(outcomes[3:6]) <= {"threshold_unmet", "authority_unknown"}, outcomes
    assert outcomes[6] == "wrong_epoch"
    (proposal,) = client.read("proposals")
    assert proposal["status"] == "open", proposal


def test_what_one_voter_withholds_the_others_give(stage) -> None:
    """It takes part in Raft, and acks, certifies and signs nothing: two of three are a quorum, it is none."""
    scene = stage("mute")
    cluster = scene.cluster
    assert cluster.leader() is not scene.liar
    scene.tell()
    eventually(lambda: not scene.liar.check("ann"), cluster.describe)
    receipt = scene.honest[0].client.submit(cluster.revoke("eve"), timeout=10)
    cluster.wait_allow(*HONEST)
    for node in scene.honest:
        permit = node.client.authorize('Agent::"ann"', ACTION, TOOL, timeout=5.0)
        assert LIAR not in prove_permit(permit.file, cluster.genesis, at=now_ms()).voters
        assert node.check("eve", at_least=receipt.certified_seq).reason == "revoked"
    with pytest.raises(Denied):
        scene.liar.client.authorize('Agent::"ann"', ACTION, TOOL, timeout=0.5)
    # One more that is silent, and nobody allows.
    scene.honest[1].kill()
    eventually(lambda: not scene.honest[0].check("ann"), cluster.describe)
    with pytest.raises(Denied):
        scene.honest[0].client.authorize('Agent::"ann"', ACTION, TOOL, timeout=0.5)


@pytest.mark.clause("7 no soft-fail synchronization")
def test_a_silent_leader_lets_every_lease_run_out(stage) -> None:
    scene = stage("mute", leads=True)
    scene.tell()
    for node in scene.cluster.nodes.values():
        eventually(lambda node=node: not node.check("ann"), scene.cluster.describe)
    with pytest.raises(Denied):
        scene.honest[0].client.authorize('Agent::"ann"', ACTION, TOOL, timeout=0.5)
    scene.hush()
    scene.cluster.wait_allow()
