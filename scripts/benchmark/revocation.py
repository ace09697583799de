"""From revoking an agent to the first denial on each node."""

from __future__ import annotations

import time

import world
from cluster import BenchCluster
from machine import synced_commits
from report import Row, quantile, sampled

from govraft import Allow, Deny
from govraft.core.model.commands import Revoke, TargetKind
from govraft.core.model.request import Request
from govraft.errors import GovraftError

ROUNDS = 20
QUICK_ROUNDS = 5
LAG_LIMIT_S = 5.0


def measure(cluster: BenchCluster, quick: bool) -> list[Row]:  # noqa: FBT001 - all measurements have this shape
    """Each round revokes another agent that was allowed on every node, then asks every node until it denies."""
    world.make_ready(cluster)
    requests = world.allowed_requests(cluster)[: QUICK_ROUNDS if quick else ROUNDS]
    if not requests:
        raise GovraftError("no request is allowed that could be revoked", code="bench_empty")
    effective: list[float] = []
    lags: list[float] = []
    late = 0
    for number, request in enumerate(requests):
        for node in cluster.node_ids:
            _ask(cluster, node, request)
        envelope = cluster.build(Revoke, kind=TargetKind.SUBJECT, id=request.principal, reason="benchmark")
        begin = time.perf_counter()
        cluster.submit(envelope, cluster.node_ids[number % len(cluster.node_ids)])
        done = time.perf_counter()
        effective.append((done - begin) * 1000)
        for node in cluster.node_ids:
            lag, asked = _until_denied(cluster, node, request)
            lags.append(lag)
            late += asked > 1
    disk_ms = quantile(synced_commits(40, pause_s=0.02), 0.5) / 1000
    first = sampled("revocation", "submit → effective", "ms", effective, against=("synced commit", disk_ms))
    second = sampled("revocation", "effective → first deny, each node", "ms", lags)
    return [
        first,
        second,
        Row("revocation", "nodes that allowed once more", "nodes", late, aim="0", met=late == 0),
    ]


def _ask(cluster: BenchCluster, node: str, request: Request) -> Allow | Deny:
    return cluster.clients[node].check(request.principal, request.action, request.resource, request.context)


def _until_denied(cluster: BenchCluster, node: str, request: Request) -> tuple[float, int]:
    """Milliseconds until the node denies because of the mark, and how often it was asked."""
    begin = time.perf_counter()
    for asked in range(1, 1_000_000):
        verdict = _ask(cluster, node, request)
        passed = time.perf_counter() - begin
        if isinstance(verdict, Deny) and verdict.reason.value == "revoked":
            return passed * 1000, asked
        if passed > LAG_LIMIT_S:
            break
    raise GovraftError(f"`{node}` does not deny what is revoked", code="bench_not_revoked")
