"""From the death of the leader to the first allow under a new one, on each survivor.

Until their leases end, survivors may go on allowing: nothing has changed. What counts is when a survivor may allow
under the new leader, and for how long it denied in between.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import world
from cluster import BenchCluster
from report import Row, sampled

from govraft import Allow
from govraft.core.model.commands import Quarantine, TargetKind
from govraft.core.model.request import Request
from govraft.errors import AvailabilityError, GovraftError
from govraft.node.config import PROFILES

ROUNDS = 8
QUICK_ROUNDS = 3
LIMIT_S = 20.0
AIM_MS = 3_000.0
PAUSE_S = 0.002


@dataclass(slots=True)
class _Survivor:
    """What was seen of one node; seconds since the kill."""

    node: str
    term: int
    denied_s: float = 0.0
    denied_since: float | None = None
    back_at: float | None = None


def measure(cluster: BenchCluster, quick: bool) -> list[Row]:  # noqa: FBT001 - all measurements have this shape
    """Kill -9 the leader, watch the survivors, start the dead node again, wait until all may allow; some rounds."""
    world.make_ready(cluster)
    request = world.allowed_requests(cluster)[-1]
    back: list[float] = []
    denied: list[float] = []
    written: list[float] = []
    for _ in range(QUICK_ROUNDS if quick else ROUNDS):
        cluster.wait_until_standing()
        leader = cluster.leader()
        survivors = _watch(cluster, leader, request, written)
        back += [1000 * (seen.back_at or LIMIT_S) for seen in survivors]
        denied += [1000 * seen.denied_s for seen in survivors]
        cluster.start(leader)
    cluster.wait_until_standing()
    election_ms = float(PROFILES["lan"].election_max_ms)
    row = sampled("failover", "kill -9 of the leader → allow", "ms", back, against=("election time-out", election_ms))
    return [
        replace(row, aim=f"≤ {AIM_MS / 1000:g} s", met=max(back) <= AIM_MS),
        sampled("failover", "in which a survivor denied for", "ms", denied),
        sampled("failover", "kill -9 of the leader → command effective", "ms", written),
    ]


def _watch(cluster: BenchCluster, leader: str, request: Request, written: list[float]) -> list[_Survivor]:
    survivors = [
        _Survivor(node, int((cluster.status(node) or {}).get("term", 0))) for node in cluster.node_ids if node != leader
    ]
    envelope = cluster.build(
        Quarantine, kind=TargetKind.SUBJECT, id=f'Agent::"nobody-{time.time_ns()}"', reason="benchmark"
    )
    cluster.kill(leader)
    begin = time.monotonic()
    while any(seen.back_at is None for seen in survivors):
        for seen in survivors:
            _look(cluster, seen, request, begin)
        if time.monotonic() - begin > LIMIT_S:
            raise AvailabilityError(f"the survivors of `{leader}` do not allow after {LIMIT_S} s")
        time.sleep(PAUSE_S)
    _submit(cluster, survivors[0].node, envelope)
    written.append(1000 * (time.monotonic() - begin))
    return survivors


def _look(cluster: BenchCluster, seen: _Survivor, request: Request, begin: float) -> None:
    if seen.back_at is not None:
        return
    asked = time.monotonic() - begin
    verdict = cluster.clients[seen.node].check(request.principal, request.action, request.resource, request.context)
    now = time.monotonic() - begin
    if not isinstance(verdict, Allow):
        seen.denied_since = asked if seen.denied_since is None else seen.denied_since
        return
    if seen.denied_since is not None:
        seen.denied_s += now - seen.denied_since
        seen.denied_since = None
    status = cluster.status(seen.node) or {}
    if status.get("standing") == "allow" and int(status.get("term", 0)) > seen.term:
        seen.back_at = now


def _submit(cluster: BenchCluster, node: str, envelope: bytes) -> None:
    deadline = time.monotonic() + LIMIT_S
    while True:
        try:
            cluster.submit(envelope, node, retry=True)
        except GovraftError as error:
            if time.monotonic() > deadline:
                raise AvailabilityError(f"no command takes effect after a failover: {error}") from error
            time.sleep(0.05)
        else:
            return
