"""From handing in a signed command to knowing that no node can act on the state before it."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import replace

import world
from cluster import BenchCluster
from footprint import memory_rows
from machine import synced_commits
from report import Row, quantile, sampled

from govraft import AsyncClient
from govraft.core.model.commands import Quarantine, TargetKind

SUBMITTERS = 64
ONE_BY_ONE = 300
EACH_OF_MANY = 30
QUICK = 5
AIM_MS = 8.0


def measure(cluster: BenchCluster, quick: bool) -> list[Row]:  # noqa: FBT001 - all measurements have this shape
    """One submitter at the leader, one at a follower, and many at once. All are signed beforehand."""
    world.make_ready(cluster)
    leader = cluster.leader()
    follower = next(node for node in cluster.node_ids if node != leader)
    disk_ms = quantile(synced_commits(100), 0.5) / 1000
    count = ONE_BY_ONE // (QUICK if quick else 1)
    rows = []
    for case, node in (("leader", leader), ("follower", follower)):
        _one_by_one(cluster, node, count // 10)
        samples = _one_by_one(cluster, node, count)
        rows.append(_row(f"1 submitter at the {case}", samples, 1000 * len(samples) / sum(samples), disk_ms, aim=True))
    each = EACH_OF_MANY // (QUICK if quick else 1)
    samples, passed_s = asyncio.run(_many(cluster, [_commands(cluster, each) for _ in range(SUBMITTERS)]))
    rows.append(_row(f"{SUBMITTERS} submitters at all nodes", samples, len(samples) / passed_s, disk_ms, aim=False))
    return rows + memory_rows(cluster, "after writes")


def _row(case: str, samples: list[float], per_second: float, disk_ms: float, *, aim: bool) -> Row:
    row = sampled("propose → effective", case, "ms", samples, against=("synced commit", disk_ms))
    return replace(
        row,
        per_second=per_second,
        aim=f"≤ {AIM_MS:g} ms" if aim else "",
        met=row.p50 <= AIM_MS if aim else None,
    )


def _commands(cluster: BenchCluster, count: int) -> list[bytes]:
    return [
        cluster.build(
            Quarantine, kind=TargetKind.SUBJECT, id=f'Agent::"nobody-{secrets.token_hex(6)}"', reason="benchmark"
        )
        for _ in range(count)
    ]


def _one_by_one(cluster: BenchCluster, node: str, count: int) -> list[float]:
    samples = []
    for envelope in _commands(cluster, count):
        begin = time.perf_counter()
        cluster.submit(envelope, node)
        samples.append((time.perf_counter() - begin) * 1000)
    return samples


async def _many(cluster: BenchCluster, work: list[list[bytes]]) -> tuple[list[float], float]:
    nodes = cluster.node_ids
    clients = [AsyncClient(cluster.endpoint(node), timeout=30) for node in nodes]
    samples: list[float] = []

    async def submitter(client: AsyncClient, envelopes: list[bytes]) -> None:
        for envelope in envelopes:
            begin = time.perf_counter()
            await client.submit(envelope)
            samples.append((time.perf_counter() - begin) * 1000)

    try:
        begin = time.perf_counter()
        await asyncio.gather(*(submitter(clients[n % len(nodes)], envelopes) for n, envelopes in enumerate(work)))
        return samples, time.perf_counter() - begin
    finally:
        for client in clients:
            await client.close()
