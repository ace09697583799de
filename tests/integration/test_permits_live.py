"""Permits, receipts and signed denials of real processes, verified by somebody who holds nothing but the genesis."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from integration.cluster_harness import ACTION, TOOL, Cluster, Node, eventually

from govraft import AsyncClient, Denied
from govraft.cli.main import run
from govraft.core.evidence.denial import prove_denial
from govraft.core.evidence.permit_file import prove_permit
from govraft.core.evidence.receipt import encode_receipt_file, prove_receipt
from govraft.core.model.request import Request
from govraft.errors import RejectedError

pytestmark = pytest.mark.cluster


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def permitted(node: Node, *request: Any, **wanted: Any) -> Any:
    """A permit; on a busy host a lease may be over just now."""
    return eventually(lambda: node.client.authorize(*request, **wanted), f"a permit of {node.id}")


@pytest.mark.clause("2 execution permissions")
@pytest.mark.clause("2 independently verifiable")
@pytest.mark.clause("6 authorization convergence proofs")
@pytest.mark.clause("8 topology-independent validation")
def test_a_permit_of_any_node_verifies_from_the_genesis_alone(cluster: Cluster) -> None:
    for node in cluster.nodes.values():
        began = time.perf_counter()
        permit = permitted(node, 'Agent::"ann"', ACTION, TOOL, {}, ttl=60, audience="gateway")
        took_ms = (time.perf_counter() - began) * 1000
        request = Request('Agent::"ann"', ACTION, TOOL, {})
        proven = prove_permit(permit.file, cluster.genesis, at=now_ms(), request=request, audience="gateway")
        print(f"{node.id}: permit of {len(permit.file)} bytes in {took_ms:.1f} ms")
        assert proven.statement == permit.statement
        assert len(proven.voters) >= 2


@pytest.mark.clause("2 execution permissions")
def test_a_revoked_agent_gets_no_permit_anywhere(cluster: Cluster) -> None:
    node = cluster.nodes["node-1"]
    assert permitted(node, 'Agent::"eve"', ACTION, TOOL).statement.seq > 1
    began = now_ms()
    envelope = cluster.revoke("eve")
    answer = node.client.submit(envelope)
    for place in cluster.nodes.values():
        with pytest.raises(Denied) as denied:
            place.client.authorize('Agent::"eve"', ACTION, TOOL)
        assert denied.value.verdict.reason == "revoked"
        statement = prove_denial(denied.value.denial, cluster.genesis)
        assert (statement.node, statement.reason.value) == (place.id, "revoked")
    fields = encode_receipt_file(answer, cluster=cluster.genesis.cluster_id, envelope=envelope)
    proven = prove_receipt(json.dumps(fields).encode(), cluster.genesis)
    assert (proven.command, proven.payload["id"]) == ("revoke", 'Agent::"eve"')
    skew = cluster.genesis.clock_skew_max_ms
    assert began <= proven.nodes_until <= now_ms() + 1_000 + skew


def test_a_single_use_permit_works_once_in_the_whole_cluster(cluster: Cluster) -> None:
    first, second = cluster.nodes["node-1"], cluster.nodes["node-2"]
    permit = permitted(first, 'Agent::"ann"', ACTION, TOOL, single_use=True)
    redeemed = second.client.redeem(permit.file)
    assert redeemed.receipt.certified_seq >= redeemed.receipt.seq
    for node in cluster.nodes.values():
        with pytest.raises(RejectedError) as refused:
            node.client.redeem(permit.file)
        assert refused.value.code == "permit_used"


def test_a_cut_off_node_makes_no_permit(cluster: Cluster) -> None:
    cluster.links.cut("node-3")
    node = cluster.nodes["node-3"]

    def refused() -> bool:
        with pytest.raises(Denied):
            node.client.authorize('Agent::"ann"', ACTION, TOOL, timeout=1.0)
        return True

    assert refused()
    cluster.links.heal()
    eventually(lambda: node.check("ann"), cluster.describe)


def test_many_at_once(cluster: Cluster) -> None:
    async def ask() -> list[object]:
        async with AsyncClient(cluster.nodes["node-2"].endpoint) as client:
            waits = (client.authorize('Agent::"ann"', ACTION, TOOL, timeout=10.0) for _ in range(16))
            return await asyncio.gather(*waits, return_exceptions=True)

    found = asyncio.run(ask())
    assert not [item for item in found if isinstance(item, Exception)]
    assert len({item.id for item in found}) == 16


def test_the_command_line(cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    genesis = tmp_path / "genesis.json"
    genesis.write_bytes(cluster.genesis.encode())
    endpoint = ("--endpoint", cluster.nodes["node-1"].endpoint)

    def govraft(*arguments: object) -> tuple[int, str, str]:
        code = run([str(item) for item in arguments])
        return code, *capsys.readouterr()

    code, out, err = govraft("authorize", 'Agent::"ann"', ACTION, TOOL, "--single-use", "--ttl", 60, *endpoint)
    assert (code, err) == (0, "")
    (tmp_path / "permit.json").write_text(out)
    code, out, _ = govraft("verify", tmp_path / "permit.json", "--genesis", genesis, "-o", "json")
    assert code == 0
    assert json.loads(out)["kind"] == "permit"
    receipt = tmp_path / "receipt.json"
    code, out, err = govraft("permit", "redeem", tmp_path / "permit.json", "--receipt", receipt, *endpoint)
    assert code == 0, err
    assert govraft("permit", "redeem", tmp_path / "permit.json", *endpoint)[0] == 1
    code, out, _ = govraft("verify", receipt, "--genesis", genesis, "-o", "json")
    assert (code, json.loads(out)["command"]) == (0, "permit.redeem")
    spoiled = (tmp_path / "permit.json").read_text().replace('"payload":"ey', '"payload":"fy')
    (tmp_path / "spoiled.json").write_text(spoiled)
    assert govraft("verify", tmp_path / "spoiled.json", "--genesis", genesis)[0] == 1
    denial = tmp_path / "denial.json"
    code, out, err = govraft("authorize", 'Agent::"ann"', 'Action::"x"', TOOL, "--denial", denial, *endpoint)
    assert (code, out) == (2, ""), err
    code, out, _ = govraft("verify", denial, "--genesis", genesis, "-o", "json")
    assert (code, json.loads(out)["reason"]) == (0, "request_invalid")
    code, out, err = govraft("check", 'Agent::"ann"', 'Action::"x"', TOOL, "--signed", denial, *endpoint)
    assert (code, err) == (2, "")
    assert govraft("verify", denial, "--genesis", genesis)[0] == 0
    code, out, _ = govraft("lineage", "prove", 1, "--consistency", 2, *endpoint)
    assert code == 0
    (tmp_path / "proof.json").write_text(out)
    code, out, _ = govraft("verify", tmp_path / "proof.json", "--genesis", genesis, "-o", "json")
    assert (code, json.loads(out)["earlier_seq"], json.loads(out)["leaf"]["seq"]) == (0, 2, 1)
    code, out, _ = govraft("evidence", "list", "-o", "json", *endpoint)
    assert (code, json.loads(out)) == (0, [])
    assert govraft("evidence", "export", "node-2", tmp_path / "e.json", *endpoint)[0] == 2
